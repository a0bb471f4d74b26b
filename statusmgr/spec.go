package statusmgr

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

// role is the part that a container plays in its pod.
type role int

const (
	regular   role = iota
	initOnce       // an init container that runs to completion
	sidecar        // an init container with the restart policy Always (KEP-753)
	ephemeral      // added to the running pod for debugging; counts for nothing
)

// container is a container of the spec, of any role.
type container struct {
	*corev1.Container
	role role
}

func regularContainers(pod *corev1.Pod) []container {
	containers := make([]container, len(pod.Spec.Containers))
	for i := range pod.Spec.Containers {
		containers[i] = container{&pod.Spec.Containers[i], regular}
	}
	return containers
}

func initContainers(pod *corev1.Pod) []container {
	containers := make([]container, len(pod.Spec.InitContainers))
	for i := range pod.Spec.InitContainers {
		spec := &pod.Spec.InitContainers[i]
		containers[i] = container{spec, initOnce}
		if cri.IsSidecar(spec) {
			containers[i].role = sidecar
		}
	}
	return containers
}

func ephemeralContainers(pod *corev1.Pod) []container {
	containers := make([]container, len(pod.Spec.EphemeralContainers))
	for i := range pod.Spec.EphemeralContainers {
		spec := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		containers[i] = container{&spec, ephemeral}
	}
	return containers
}

// reasonOOMKilled is what runtimes say of a container that ran out of memory.
const reasonOOMKilled = "OOMKilled"

// hasFailed reports whether the container ended in a failure: its exit code says
// so; but an init container that ran out of memory has failed whatever its exit
// code, as the rest of the pod relies on it.
func hasFailed(c container, ended *corev1.ContainerStateTerminated) bool {
	return ended.ExitCode != 0 || c.role == initOnce && ended.Reason == reasonOOMKilled
}

// mayRestart reports whether the container is run again after it ended like
// this: by the first of its rules that matches, else by its own policy, else by
// the pod's.
func mayRestart(pod *corev1.Pod, c container, ended *corev1.ContainerStateTerminated) bool {
	if c.role == ephemeral || c.role == initOnce && !hasFailed(c, ended) {
		return false
	}
	if cri.RestartRule(c.Container, ended.ExitCode) != "" { // whether it asks for one alone or for all
		return true
	}
	policy := pod.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return hasFailed(c, ended)
	default:
		return true
	}
}
