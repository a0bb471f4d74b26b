package podsync

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

const reasonOOMKilled = "OOMKilled"

// succeeded reports whether the container has done its work. Its exit code says
// so; but an init container that ran out of memory has not done it, whatever its
// exit code, as the rest of the pod relies on it.
func succeeded(pod *corev1.Pod, spec *corev1.Container, c *cri.Container) bool {
	return c.Exited() && c.GetExitCode() == 0 && !(c.GetReason() == reasonOOMKilled && isInit(pod, spec))
}

// isInit reports whether the container is an init container, be it a sidecar.
func isInit(pod *corev1.Pod, spec *corev1.Container) bool {
	return slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == spec.Name })
}

// shouldRestart reports whether a container that does not run any more is to
// run again: by its own rules, else by its own policy, else by the pod's. One that
// a probe has had ended has failed, whatever its exit code is. A pod that is being
// deleted restarts nothing.
func (p *planner) shouldRestart(spec *corev1.Container, c *cri.Container) bool {
	if p.pod.DeletionTimestamp != nil {
		return false
	}
	if ruleAction(spec, c) != "" || p.sick[c.GetId()] {
		return true
	}
	switch policyOf(p.pod, spec) {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return !succeeded(p.pod, spec, c)
	default:
		return true
	}
}

// policyOf is the restart policy of a container. An init container is run until
// it has succeeded, unless the pod says Never.
func policyOf(pod *corev1.Pod, spec *corev1.Container) corev1.RestartPolicy {
	if spec.RestartPolicy != nil {
		return corev1.RestartPolicy(*spec.RestartPolicy)
	}
	return pod.Spec.RestartPolicy
}

// ruleAction is what the container's restart rules ask for, empty if it has not ended or
// none matches its exit.
func ruleAction(spec *corev1.Container, c *cri.Container) corev1.ContainerRestartRuleAction {
	if !c.Exited() {
		return ""
	}
	return cri.RestartRule(spec, c.GetExitCode())
}
