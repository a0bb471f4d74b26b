package statusmgr

import (
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// volumeMounts are the container's mounts as its spec has them, and whether
// what is mounted below a read-only one is read-only too (KEP-3857). That may be
// left to what the runtime can do, which then shows in its mounts.
func volumeMounts(c container, mounted []*runtimeapi.Mount) []corev1.VolumeMountStatus {
	var statuses []corev1.VolumeMountStatus
	for i := range c.VolumeMounts {
		mount := &c.VolumeMounts[i]
		status := corev1.VolumeMountStatus{Name: mount.Name, MountPath: mount.MountPath, ReadOnly: mount.ReadOnly}
		if mount.ReadOnly {
			status.RecursiveReadOnly = new(recursiveReadOnly(mount, mounted))
		}
		statuses = append(statuses, status)
	}
	return statuses
}

func recursiveReadOnly(mount *corev1.VolumeMount, mounted []*runtimeapi.Mount) corev1.RecursiveReadOnlyMode {
	if mount.RecursiveReadOnly == nil || *mount.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return corev1.RecursiveReadOnlyDisabled
	}
	if *mount.RecursiveReadOnly == corev1.RecursiveReadOnlyEnabled {
		return corev1.RecursiveReadOnlyEnabled
	}
	for _, m := range mounted {
		if m.GetContainerPath() == mount.MountPath && m.GetRecursiveReadOnly() {
			return corev1.RecursiveReadOnlyEnabled
		}
	}
	return corev1.RecursiveReadOnlyDisabled
}
