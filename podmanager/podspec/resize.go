package podspec

import (
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Resources returns the resources that Container would give the container: what
// a running one is to be resized to when its spec has changed (KEP-1287). Errors
// are *Error.
func Resources(pod *corev1.Pod, container *corev1.Container, opts ContainerOptions) (*runtimeapi.LinuxContainerResources, error) {
	resources, err := containerResources(pod, locate(pod, container), opts)
	if err != nil {
		return nil, &Error{Reason: ReasonContainerConfig, Err: err}
	}
	return resources, nil
}
