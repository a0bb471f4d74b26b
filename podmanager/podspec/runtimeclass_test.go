package podspec_test

import (
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestRuntimeHandlers(t *testing.T) {
	handlers := map[string]string{"sandboxed": "kata", "plain": ""}
	for name, row := range map[string]struct {
		class *string
		want  string
	}{
		"none":          {nil, ""},
		"empty":         {ptr(""), ""},
		"known":         {ptr("sandboxed"), "kata"},
		"of no handler": {ptr("plain"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(spec(func(s *corev1.PodSpec) { s.RuntimeClassName = row.class }))
			handler, err := podspec.RuntimeHandler(pod, handlers)
			require.NoError(t, err)
			assert.Equal(t, row.want, handler)
			sandbox(t, pod, podspec.SandboxOptions{RuntimeHandlers: handlers})
		})
	}
}

func TestAnUnknownRuntimeClassMakesNoSandbox(t *testing.T) {
	pod := newPod(spec(func(s *corev1.PodSpec) { s.RuntimeClassName = ptr("kata") }))
	_, err := podspec.RuntimeHandler(pod, nil)
	assert.Equal(t, `runtimeclass.node.k8s.io "kata" not found`, requireReason(t, err, podspec.ReasonSandboxConfig))
	_, err = podspec.Sandbox(pod, podspec.SandboxOptions{})
	assert.Equal(t, `runtimeclass.node.k8s.io "kata" not found`, requireReason(t, err, podspec.ReasonSandboxConfig))
}
