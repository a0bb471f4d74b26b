package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Reference names the pod in an event, or, when container is not nil, that
// container of it, in the form that kubectl describe knows:
// "spec.containers{app}".
func Reference(pod *corev1.Pod, container *corev1.Container) *corev1.ObjectReference {
	reference := &corev1.ObjectReference{
		APIVersion:      "v1",
		Kind:            "Pod",
		Namespace:       pod.Namespace,
		Name:            pod.Name,
		UID:             pod.UID,
		ResourceVersion: pod.ResourceVersion,
	}
	if container != nil {
		reference.FieldPath = fmt.Sprintf("spec.%s{%s}", locate(pod, container).kind, container.Name)
	}
	return reference
}
