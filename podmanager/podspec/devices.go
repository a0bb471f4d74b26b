package podspec

import (
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What a process may do with a device: make its node, read it, write to it.
const (
	deviceAccess   = "mrw"
	deviceReadOnly = "r"
)

// devices are the block volumes that the container has as devices.
func devices(pod *corev1.Pod, c located, opts ContainerOptions) ([]*runtimeapi.Device, error) {
	sources := volumeSources(pod)
	var list []*runtimeapi.Device
	for i, wanted := range c.VolumeDevices {
		if !path.IsAbs(wanted.DevicePath) {
			return nil, fmt.Errorf("%s: must be an absolute path", c.path.Child("volumeDevices").Index(i).Child("devicePath"))
		}
		hostPath := opts.Devices[wanted.Name]
		if hostPath == "" {
			return nil, fmt.Errorf("cannot find volume %q to pass into container %q", wanted.Name, c.Name)
		}
		access := deviceAccess
		if readOnlyVolume(sources[wanted.Name]) {
			access = deviceReadOnly
		}
		list = append(list, &runtimeapi.Device{HostPath: hostPath, ContainerPath: wanted.DevicePath, Permissions: access})
	}
	return list, nil
}

// volumeSources are the pod's volumes by name.
func volumeSources(pod *corev1.Pod) map[string]*corev1.VolumeSource {
	sources := make(map[string]*corev1.VolumeSource, len(pod.Spec.Volumes))
	for i := range pod.Spec.Volumes {
		sources[pod.Spec.Volumes[i].Name] = &pod.Spec.Volumes[i].VolumeSource
	}
	return sources
}
