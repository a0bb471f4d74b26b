package podspec

import (
	corev1 "k8s.io/api/core/v1"
)

// QOSClass is the pod's quality of service class (Kubernetes docs, "Pod Quality
// of Service Classes"), of its spec alone. Ephemeral containers do not count.
func QOSClass(pod *corev1.Pod) corev1.PodQOSClass {
	var class corev1.PodQOSClass
	for _, c := range longLived(pod) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			class = mergeClass(class, resourceClass(c.Resources, name))
		}
	}
	if class == "" {
		return corev1.PodQOSBestEffort
	}
	return class
}

// resourceClass is the class of a container that has only this resource.
func resourceClass(resources corev1.ResourceRequirements, name corev1.ResourceName) corev1.PodQOSClass {
	request, limit := resources.Requests[name], resources.Limits[name]
	switch {
	case !bounded(request), !bounded(limit), !request.Equal(limit):
		return corev1.PodQOSBurstable
	case request.IsZero():
		return corev1.PodQOSBestEffort
	}
	return corev1.PodQOSGuaranteed
}

// mergeClass keeps a class only while all agree on it.
func mergeClass(a, b corev1.PodQOSClass) corev1.PodQOSClass {
	if a == "" || a == b {
		return b
	}
	return corev1.PodQOSBurstable
}
