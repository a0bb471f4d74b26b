package podsync

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

const reasonOOMKilled = "OOMKilled"

// isSidecar reports whether an init container is a sidecar: one that is to run
// for the pod's whole life (KEP-753).
func isSidecar(container *corev1.Container) bool {
	return container.RestartPolicy != nil && *container.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

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
// run again: by its own rules, else by its own policy, else by the pod's.
// A pod that is being deleted restarts nothing.
func shouldRestart(pod *corev1.Pod, spec *corev1.Container, c *cri.Container) bool {
	if pod.DeletionTimestamp != nil {
		return false
	}
	if spec.RestartPolicy != nil && c.Exited() && ruleMatches(spec.RestartPolicyRules, c.GetExitCode()) {
		return true
	}
	switch policyOf(pod, spec) {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return !succeeded(pod, spec, c)
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

func ruleMatches(rules []corev1.ContainerRestartRule, exitCode int32) bool {
	for _, rule := range rules {
		if rule.ExitCodes == nil || rule.Action != corev1.ContainerRestartRuleActionRestart {
			continue
		}
		listed := slices.Contains(rule.ExitCodes.Values, exitCode)
		switch rule.ExitCodes.Operator {
		case corev1.ContainerRestartRuleOnExitCodesOpIn:
			if listed {
				return true
			}
		case corev1.ContainerRestartRuleOnExitCodesOpNotIn:
			if !listed {
				return true
			}
		}
	}
	return false
}
