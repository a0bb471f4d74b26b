package podspec

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/edged-project/edged/cri"
)

// The reasons of an Error, as the kubelet spells them.
const (
	// ReasonContainerConfig: a container cannot be configured.
	ReasonContainerConfig = "CreateContainerConfigError"
	// ReasonSandboxConfig: the sandbox cannot be configured.
	ReasonSandboxConfig = "ConfigPodSandboxError"
	// ReasonSysctlForbidden: the pod asks for a sysctl that it may not set.
	ReasonSysctlForbidden = "SysctlForbidden"
)

// Error says why a pod's sandbox or container cannot be configured. The same
// pod with the same options fails again.
type Error struct {
	// Reason is one of the Reason constants.
	Reason string
	// Err is what the user is told; it names the field where there is one.
	Err error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// WaitingReason is the reason for the container status of the waiting container.
func (e *Error) WaitingReason() string { return e.Reason }

// Complete does to a pod from elsewhere what an API server does on create: it
// applies the defaults in place, then validates. It is idempotent. The pod must
// not be shared, as it is changed even when there are errors.
//
// Each error names the path of its field and never holds the value of an
// environment variable. The syntax of image names is not checked: the pull
// reports it as InvalidImageName.
func Complete(pod *corev1.Pod) field.ErrorList {
	SetDefaults(pod)
	return Validate(pod)
}

// kind is the list of the pod's spec that a container is in.
type kind string

const (
	regular   kind = "containers"
	initial   kind = "initContainers"
	ephemeral kind = "ephemeralContainers"
)

// located is a container and its place in the pod.
type located struct {
	*corev1.Container
	kind kind
	path *field.Path
}

// sidecar reports whether the container is an init container that keeps
// running beside the regular ones (Kubernetes: restartable init container).
func (c located) sidecar() bool {
	return c.kind == initial && cri.IsSidecar(c.Container)
}

var specPath = field.NewPath("spec")

// containers returns every container of the pod: init, regular, ephemeral.
func containers(spec *corev1.PodSpec) []located {
	var all []located
	add := func(k kind, i int, c *corev1.Container) {
		all = append(all, located{Container: c, kind: k, path: specPath.Child(string(k)).Index(i)})
	}
	for i := range spec.InitContainers {
		add(initial, i, &spec.InitContainers[i])
	}
	for i := range spec.Containers {
		add(regular, i, &spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		add(ephemeral, i, (*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return all
}

// locate finds the place of a container by its name. A container that is not
// in the pod is taken for a regular one, with a path that names it.
func locate(pod *corev1.Pod, container *corev1.Container) located {
	for _, c := range containers(&pod.Spec) {
		if c.Name == container.Name {
			return located{Container: container, kind: c.kind, path: c.path}
		}
	}
	return located{Container: container, kind: regular, path: specPath.Child(string(regular)).Key(container.Name)}
}

// deref is the value that p points to, the zero value when it is nil.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
