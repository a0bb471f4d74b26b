package podspec_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// newPod is a valid pod with one container, before defaulting.
func newPod(change ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: types.UID("uid-1")},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "nginx:1.27"}}},
	}
	for _, c := range change {
		c(pod)
	}
	return pod
}

// completePod is newPod with defaults, which must be valid.
func completePod(t *testing.T, change ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod := newPod(change...)
	require.Empty(t, podspec.Complete(pod))
	return pod
}

// app changes the first container.
func app(change func(*corev1.Container)) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { change(&pod.Spec.Containers[0]) }
}

func spec(change func(*corev1.PodSpec)) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { change(&pod.Spec) }
}

func options(change ...func(*podspec.ContainerOptions)) podspec.ContainerOptions {
	opts := podspec.ContainerOptions{Image: &runtimeapi.Image{Id: "sha256:abc"}}
	for _, c := range change {
		c(&opts)
	}
	return opts
}

func container(t *testing.T, pod *corev1.Pod, opts podspec.ContainerOptions) *runtimeapi.ContainerConfig {
	t.Helper()
	config, err := podspec.Container(pod, &pod.Spec.Containers[0], opts)
	require.NoError(t, err)
	return config
}

func sandbox(t *testing.T, pod *corev1.Pod, opts podspec.SandboxOptions) *runtimeapi.PodSandboxConfig {
	t.Helper()
	config, err := podspec.Sandbox(pod, opts)
	require.NoError(t, err)
	return config
}

// requireReason requires an *podspec.Error with the reason and returns its text.
func requireReason(t *testing.T, err error, reason string) string {
	t.Helper()
	require.Error(t, err)
	var waiting interface{ WaitingReason() string }
	require.ErrorAs(t, err, &waiting)
	require.Equal(t, reason, waiting.WaitingReason())
	var own *podspec.Error
	require.True(t, errors.As(err, &own))
	require.Equal(t, own.Err.Error(), err.Error())
	return err.Error()
}

// fields are the paths of the errors, each once.
func fields(errs field.ErrorList) []string {
	paths := []string{}
	for _, err := range errs {
		paths = append(paths, err.Field)
	}
	return slices.Compact(paths)
}

func list(pairs ...string) corev1.ResourceList {
	resources := corev1.ResourceList{}
	for i := 0; i+1 < len(pairs); i += 2 {
		resources[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return resources
}

func ptr[T any](value T) *T { return &value }
