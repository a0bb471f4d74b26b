package eviction

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

// limited reports whether the pod has a limit of what it may have on disk, so that
// it has to be measured.
func limited(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if sizeLimit(&pod.Spec.Volumes[i]) > 0 {
			return true
		}
	}
	for _, c := range podContainers(pod) {
		if storageLimit(c) > 0 {
			return true
		}
	}
	return false
}

// overLimit says which limit of its own the pod exceeds, "" if it does not (Kubernetes
// docs, "Local ephemeral storage"): that of a volume, of all containers together, if
// each has one, or of one container.
func overLimit(pod *corev1.Pod, usage Usage) string {
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if limit := sizeLimit(volume); limit > 0 && usage.Volumes[volume.Name].Bytes > limit {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", volume.Name, volume.EmptyDir.SizeLimit.String())
		}
	}
	if limit := podLimit(pod); limit > 0 && usage.total().Bytes > limit {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", written(NodeFsAvailable, limit))
	}
	for _, c := range podContainers(pod) {
		used := usage.Containers[c.Name]
		if limit := storageLimit(c); limit > 0 && used.Layer.Bytes+used.Logs.Bytes > limit {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ",
				c.Name, c.Resources.Limits.StorageEphemeral().String())
		}
	}
	return ""
}

// podLimit is what all containers together may have on disk, 0 if one of them has no
// limit. Sidecars run beside the others; of the init containers that run before them
// the largest counts.
func podLimit(pod *corev1.Pod) int64 {
	var total, start int64
	for i, c := range podContainers(pod) {
		limit := storageLimit(c)
		switch {
		case i < len(pod.Spec.InitContainers) && !cri.IsSidecar(c):
			start = max(start, total+limit)
		case limit == 0:
			return 0
		default:
			total += limit
		}
	}
	return max(total, start)
}

// podContainers are the init containers and then the others.
func podContainers(pod *corev1.Pod) []*corev1.Container {
	var all []*corev1.Container
	for i := range pod.Spec.InitContainers {
		all = append(all, &pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		all = append(all, &pod.Spec.Containers[i])
	}
	return all
}

func storageLimit(c *corev1.Container) int64 { return c.Resources.Limits.StorageEphemeral().Value() }

// sizeLimit is that of an emptyDir on disk, 0 if there is none.
func sizeLimit(volume *corev1.Volume) int64 {
	if volume.EmptyDir == nil || volume.EmptyDir.SizeLimit == nil || volume.EmptyDir.Medium != corev1.StorageMediumDefault {
		return 0
	}
	return volume.EmptyDir.SizeLimit.Value()
}
