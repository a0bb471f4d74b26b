package podsync_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edged-project/edged/cri/critest"
)

func withMemory(pod *corev1.Pod, limit string) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit)},
	}
	return pod
}

func TestChangedResourcesAreGivenToTheRunningContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := withMemory(podOf("a", "b"), "64Mi"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		s.changes()

		larger := withMemory(pod, "128Mi")
		for range 3 {
			_, err = syncer.Sync(t.Context(), larger)
			require.NoError(t, err)
		}
		assert.Equal(t, "UpdateContainerResources web/a", s.changes(), "once, and nothing else")
		resources := s.state(pod).Newest("a").GetResources().GetLinux()
		assert.Equal(t, int64(128<<20), resources.GetMemoryLimitInBytes())
		assert.Equal(t, int64(102), resources.GetCpuShares())
		assert.Contains(t, s.events, "Normal ResizeCompleted spec.containers{a}: Pod resize completed: container a")
	})
}

func TestAContainerThatWantsToBeRestartedForAResizeIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := withMemory(podOf("a", "b"), "64Mi"), s.syncer()
		pod.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{
			ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer,
		}}
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		s.changes()
		_, err = syncer.Sync(t.Context(), withMemory(pod, "128Mi"))
		require.NoError(t, err)
		assert.Equal(t, "StopContainer web/a; PullImage a; CreateContainer web/a; StartContainer web/a", s.changes())
		assert.Contains(t, s.events, "Normal Killing spec.containers{a}: Container a resize requires restart")
	})
}

func TestAResizeThatFailsIsToldAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := withMemory(podOf("a"), "64Mi"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		s.runtime.Inject(critest.Fault{Method: "UpdateContainerResources", Times: 1, Err: status.Error(codes.Unknown, "in use")})
		smaller := withMemory(pod, "32Mi")
		_, err = syncer.Sync(t.Context(), smaller)
		require.ErrorContains(t, err, `resize container "a"`)
		assert.Contains(t, s.events, "Warning ResizeError spec.containers{a}: Pod resize error: in use")
		assert.Len(t, s.state(pod).Running(), 1)
		_, err = syncer.Sync(t.Context(), smaller)
		require.NoError(t, err)
		assert.Equal(t, int64(32<<20), s.state(pod).Newest("a").GetResources().GetLinux().GetMemoryLimitInBytes())
	})
}

func TestAResizeThatIsRefusedKeepsNoOtherContainerFromStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := withMemory(podOf("a", "b"), "64Mi"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		require.NoError(t, s.runtime.SetUsage(s.runtime.ContainerID("web", "a"), critest.Usage{Memory: 48 << 20}))
		require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "b"), 1))
		s.changes()

		_, err = syncer.Sync(t.Context(), withMemory(pod, "32Mi"))
		require.ErrorContains(t, err, `resize container "a"`)
		assert.Equal(t, "PullImage b; CreateContainer web/b; StartContainer web/b", s.changes())
	})
}
