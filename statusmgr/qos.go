package statusmgr

import corev1 "k8s.io/api/core/v1"

// qosClass is the pod's class of service by what it asks for of CPU and memory,
// the only resources that count: Guaranteed if each container has limits for
// both that equal its requests, BestEffort if nothing is asked for, else
// Burstable. Resources of the pod as a whole (KEP-2837), if there are any, are
// asked instead of the containers'.
func qosClass(pod *corev1.Pod) corev1.PodQOSClass {
	all := qosResources(pod)
	guaranteed, asked := len(all) > 0, false
	for i := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, limited := all[i].Limits[name]
			request, requested := all[i].Requests[name]
			limited = limited && limit.Sign() > 0
			asked = asked || limited || request.Sign() > 0
			// A missing request is the limit, by the API's defaults; one of zero is not.
			guaranteed = guaranteed && limited && (!requested || request.Cmp(limit) == 0)
		}
	}
	switch {
	case !asked:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	default:
		return corev1.PodQOSBurstable
	}
}

func qosResources(pod *corev1.Pod) []corev1.ResourceRequirements {
	if whole := pod.Spec.Resources; whole != nil && (len(whole.Requests) > 0 || len(whole.Limits) > 0) {
		return []corev1.ResourceRequirements{*whole}
	}
	var all []corev1.ResourceRequirements
	for i := range pod.Spec.InitContainers {
		all = append(all, pod.Spec.InitContainers[i].Resources)
	}
	for i := range pod.Spec.Containers {
		all = append(all, pod.Spec.Containers[i].Resources)
	}
	return all
}
