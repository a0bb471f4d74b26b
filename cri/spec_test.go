package cri_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

func TestAPodIsStaticWhenItIsNotedToComeFromElsewhereThanAnAPIServer(t *testing.T) {
	for source, static := range map[string]bool{"file": true, "http": true, "": true, "api": false} {
		pod := &corev1.Pod{}
		pod.Annotations = map[string]string{"kubernetes.io/config.source": source}
		assert.Equal(t, static, cri.IsStatic(pod), source)
	}
	assert.False(t, cri.IsStatic(&corev1.Pod{}))
}

func TestASidecarIsAnInitContainerThatIsAlwaysRestarted(t *testing.T) {
	always, never := corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever
	assert.True(t, cri.IsSidecar(&corev1.Container{RestartPolicy: &always}))
	assert.False(t, cri.IsSidecar(&corev1.Container{RestartPolicy: &never}))
	assert.False(t, cri.IsSidecar(&corev1.Container{}))
}

func TestTheFirstRestartRuleThatMatchesCounts(t *testing.T) {
	rule := func(action corev1.ContainerRestartRuleAction, op corev1.ContainerRestartRuleOnExitCodesOperator, codes ...int32) corev1.ContainerRestartRule {
		return corev1.ContainerRestartRule{Action: action, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: op, Values: codes}}
	}
	const in, notIn = corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn
	const one, all = corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers
	never := corev1.ContainerRestartPolicyNever
	container := &corev1.Container{RestartPolicy: &never, RestartPolicyRules: []corev1.ContainerRestartRule{
		{Action: all}, rule(all, "Near", 42), rule(one, in, 42, 43), rule(all, notIn, 0, 1, 42),
	}}
	for code, want := range map[int32]corev1.ContainerRestartRuleAction{0: "", 1: "", 42: one, 43: one, 44: all} {
		assert.Equal(t, want, cri.RestartRule(container, code), code)
	}
	container.RestartPolicy = nil
	assert.Empty(t, cri.RestartRule(container, 42), "rules need a policy of the container's own")
}
