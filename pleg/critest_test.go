package pleg_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/pleg"
)

// runPod starts a pod of one container through the CRI, as an agent would. Its
// UID is its name.
func runPod(t testing.TB, client *cri.Client, name string) (sandboxID, containerID string) {
	t.Helper()
	ctx := t.Context()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "ns", Uid: name},
		Labels:   cri.SandboxLabels(pod),
	}
	sandboxID, err := client.RunPodSandbox(ctx, config, "")
	require.NoError(t, err)
	containerID, err = client.CreateContainer(ctx, sandboxID, &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: "app"},
		Image:       &runtimeapi.ImageSpec{Image: "app"},
		Labels:      cri.ContainerLabels(pod, "app"),
		Annotations: cri.ContainerAnnotations(pod, &pod.Spec.Containers[0], 0),
	}, config)
	require.NoError(t, err)
	require.NoError(t, client.StartContainer(ctx, containerID))
	return sandboxID, containerID
}

func startCritest(t *testing.T, profile ...critest.Profile) (*critest.Runtime, *cri.Client) {
	cfg := critest.Config{Images: []critest.Image{{Name: "app"}}}
	if len(profile) > 0 {
		cfg.Profile = profile[0]
	}
	runtime := critest.Start(t, cfg)
	return runtime, runtime.Client(t)
}

func TestOverGRPCAPodIsFollowedFromStartToRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, client := startCritest(t, critest.Containerd16)
		g, told := start(t, client, pleg.Config{})
		time.Sleep(500 * time.Millisecond)

		sandboxID, containerID := runPod(t, client, "web")
		time.Sleep(time.Second)
		assert.Equal(t, []types.UID{"web"}, told.take())
		got := state(t, g, "web", time.Time{})
		require.NotNil(t, got.Newest("app"))
		assert.True(t, got.Newest("app").Running())
		assert.Equal(t, sandboxID, got.Newest("app").SandboxID)
		assert.Len(t, got.IPs, 1)

		require.NoError(t, runtime.Exit(containerID, 7))
		time.Sleep(time.Second)
		assert.Equal(t, []types.UID{"web"}, told.take())
		assert.EqualValues(t, 7, state(t, g, "web", time.Time{}).Newest("app").ExitCode)

		ips := got.IPs
		require.NoError(t, client.StopPodSandbox(t.Context(), sandboxID))
		got = state(t, g, "web", time.Now())
		assert.Empty(t, got.ReadySandboxes())
		assert.Equal(t, ips, got.IPs)

		require.NoError(t, client.RemovePodSandbox(t.Context(), sandboxID))
		got = state(t, g, "web", time.Now())
		assert.Empty(t, got.Sandboxes)
		assert.Empty(t, got.Containers)
		pods, err := g.Pods(t.Context(), time.Now())
		require.NoError(t, err)
		assert.Empty(t, pods)
	})
}

func TestOverGRPCAnIdleNodeCostsTwoListsASecondOrWithEventsEachTenSeconds(t *testing.T) {
	for profile, lists := range map[critest.Profile]int{critest.Containerd16: 60, critest.Newest: 6} {
		synctest.Test(t, func(t *testing.T) {
			runtime, client := startCritest(t, profile)
			for i := range 30 {
				runPod(t, client, fmt.Sprint("pod-", i))
			}
			start(t, client, pleg.Config{})
			time.Sleep(500 * time.Millisecond)
			assert.Equal(t, 60, runtime.Count("PodSandboxStatus", "ContainerStatus"))

			runtime.ResetCalls()
			time.Sleep(time.Minute)
			assert.Zero(t, runtime.Count("PodSandboxStatus", "ContainerStatus"))
			assert.Equal(t, lists, runtime.Count("ListPodSandbox", "StreamPodSandboxes"))
			assert.Equal(t, lists, runtime.Count("ListContainers", "StreamContainers"))
		})
	}
}

func TestOverGRPCARuntimeThatRestartsIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, client := startCritest(t)
		_, containerID := runPod(t, client, "web")
		g, told := start(t, client, pleg.Config{HealthyFor: 20 * time.Second})
		_ = state(t, g, "web", time.Now())
		told.take()

		runtime.Restart(time.Minute)
		time.Sleep(30 * time.Second)
		require.Error(t, g.Healthy())
		assert.NotNil(t, state(t, g, "web", time.Time{}).Newest("app"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := g.State(ctx, "web", time.Now())
		require.ErrorIs(t, err, context.DeadlineExceeded)

		got := state(t, g, "web", time.Now())
		assert.Equal(t, containerID, got.Newest("app").Id)
		require.NoError(t, g.Healthy())
		assert.Empty(t, told.take(), "nothing happened to the pod")

		runtime.Reboot(critest.RebootOptions{Down: time.Minute})
		time.Sleep(2 * time.Minute)
		assert.Equal(t, []types.UID{"web"}, told.take())
		assert.Empty(t, state(t, g, "web", time.Time{}).Running())
	})
}

func TestOverGRPCAHangingStatusHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, client := startCritest(t, critest.Containerd16)
		runPod(t, client, "well")
		_, sickID := runPod(t, client, "sick")
		heal := runtime.Inject(critest.Fault{Method: "ContainerStatus", Hang: true, Match: func(call critest.Call) bool {
			return call.ID == sickID
		}})
		begin := time.Now()
		g, _ := start(t, client, pleg.Config{InspectTimeout: 10 * time.Second})

		assert.True(t, state(t, g, "well", begin).Newest("app").Running())
		assert.Zero(t, time.Since(begin))
		_, err := g.State(t.Context(), "sick", begin)
		require.ErrorContains(t, err, sickID)
		assert.Equal(t, 10*time.Second, time.Since(begin))

		heal()
		time.Sleep(12 * time.Second)
		assert.True(t, state(t, g, "sick", time.Time{}).Newest("app").Running())
	})
}
