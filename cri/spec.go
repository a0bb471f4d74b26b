package cri

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// IsStatic reports whether the pod is a static one: an agent has it from elsewhere than
// an API server, such as a folder, and has noted so. It is pure.
func IsStatic(pod *corev1.Pod) bool {
	source, noted := pod.Annotations[annotationConfigSource]
	return noted && source != "api"
}

// IsSidecar reports whether an init container is a sidecar: one that runs beside the
// regular containers, for the pod's whole life (KEP-753). It is pure.
func IsSidecar(init *corev1.Container) bool {
	return init.RestartPolicy != nil && *init.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// RestartRule is what the first of the container's restart rules that matches the exit
// code asks for, empty if none does. Rules without a policy of the container's own are
// ignored (KEP-5307). It is pure.
func RestartRule(container *corev1.Container, exitCode int32) corev1.ContainerRestartRuleAction {
	if container.RestartPolicy == nil {
		return ""
	}
	for _, rule := range container.RestartPolicyRules {
		if rule.ExitCodes != nil && exitMatches(rule.ExitCodes, exitCode) {
			return rule.Action
		}
	}
	return ""
}

func exitMatches(codes *corev1.ContainerRestartRuleOnExitCodes, exitCode int32) bool {
	listed := slices.Contains(codes.Values, exitCode)
	switch codes.Operator {
	case corev1.ContainerRestartRuleOnExitCodesOpIn:
		return listed
	case corev1.ContainerRestartRuleOnExitCodesOpNotIn:
		return !listed
	default:
		return false
	}
}
