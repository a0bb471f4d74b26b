package volume

import (
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// containers returns every container of the pod: init, regular, ephemeral.
func containers(pod *corev1.Pod) []*corev1.Container {
	var all []*corev1.Container
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			all = append(all, &list[i])
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		all = append(all, (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return all
}

// groupOf returns the group to which the pod's volumes belong, nil if there is none.
func groupOf(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// userOf returns the user as whom every container of the pod runs, nil if there is
// none that they share and the spec names.
func userOf(pod *corev1.Pod) *int64 {
	var shared *int64
	for _, c := range containers(pod) {
		user := runAsUser(pod, c)
		if user == nil || shared != nil && *user != *shared {
			return nil
		}
		shared = user
	}
	return shared
}

func runAsUser(pod *corev1.Pod, c *corev1.Container) *int64 {
	if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
		return c.SecurityContext.RunAsUser
	}
	if pod.Spec.SecurityContext != nil {
		return pod.Spec.SecurityContext.RunAsUser
	}
	return nil
}

// memoryLimit is the most memory that the pod can use, in bytes: its own limit, or else
// what its containers sum up to, 0 if one of them has no limit.
func memoryLimit(pod *corev1.Pod) int64 {
	if pod.Spec.Resources != nil && pod.Spec.Resources.Limits.Memory().Value() > 0 {
		return pod.Spec.Resources.Limits.Memory().Value()
	}
	limit := func(c *corev1.Container) int64 { return c.Resources.Limits.Memory().Value() }
	var sidecars, peak, sum int64
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if limit(c) <= 0 {
			return 0
		}
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars += limit(c)
			continue
		}
		peak = max(peak, sidecars+limit(c))
	}
	for i := range pod.Spec.Containers {
		if limit(&pod.Spec.Containers[i]) <= 0 {
			return 0
		}
		sum += limit(&pod.Spec.Containers[i])
	}
	return max(peak, sidecars+sum)
}

// nestedIn returns the directories of a volume onto which a container mounts other
// volumes, relative to the volume. The runtime could not make them in a volume that
// is read-only.
func nestedIn(pod *corev1.Pod, volume string) []string {
	var nested []string
	for _, c := range containers(pod) {
		for _, outer := range c.VolumeMounts {
			if outer.Name != volume || outer.SubPath != "" || outer.SubPathExpr != "" {
				continue
			}
			for _, inner := range c.VolumeMounts {
				below, inside := strings.CutPrefix(path.Clean(inner.MountPath), strings.TrimSuffix(path.Clean(outer.MountPath), "/")+"/")
				if inside && inner.Name != volume {
					nested = append(nested, below)
				}
			}
		}
	}
	return nested
}
