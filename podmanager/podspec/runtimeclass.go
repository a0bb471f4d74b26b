package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// RuntimeHandler is the runtime's handler for the class that the pod names, by the
// handlers of the classes: "" for a pod that names none, which is the runtime's
// default. It fails for a class that handlers does not have, as Sandbox does.
func RuntimeHandler(pod *corev1.Pod, handlers map[string]string) (string, error) {
	class := deref(pod.Spec.RuntimeClassName)
	if class == "" {
		return "", nil
	}
	handler, known := handlers[class]
	if !known {
		return "", &Error{Reason: ReasonSandboxConfig, Err: fmt.Errorf("runtimeclass.node.k8s.io %q not found", class)}
	}
	return handler, nil
}
