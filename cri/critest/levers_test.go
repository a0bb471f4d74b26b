package critest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

const unknown = "CONTAINER_UNKNOWN"

func TestExitAndOOMKill(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		sandbox := w.sandbox("web")
		app, sidecar := w.start(sandbox, "app"), w.start(sandbox, "sidecar")
		time.Sleep(time.Second)
		require.NoError(t, w.Exit(app, 3))
		require.NoError(t, w.OOMKill(sidecar))
		require.Equal(t, "3 Error after 1s", w.end(app))
		require.Equal(t, "137 OOMKilled after 1s", w.end(sidecar))
		require.ErrorContains(t, w.Exit(app, 0), "CONTAINER_EXITED")
		require.True(t, cri.IsNotFound(w.Exit("nope", 0)))
	})
}

func TestVanishLeavesNoTrace(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		id := w.app()
		l := w.listen()
		l.heard()
		before := len(l.events)
		require.NoError(t, w.Vanish(id))
		_, err := w.client.ContainerStatus(context.Background(), id, false)
		require.True(t, cri.IsNotFound(err))
		l.heard()
		require.Len(t, l.events, before)
		require.Empty(t, w.ContainerID("web", "app"))
		require.True(t, cri.IsNotFound(w.Vanish(id)))
		w.start(w.SandboxID("web"), "app")
	})
}

func TestVanishEndsTheStopThatWaits(t *testing.T) {
	inBubble(t, node(runs(critest.Run{Term: critest.Term{Ignore: true}})), func(t *testing.T, w *world) {
		id := w.app()
		stopped := make(chan error)
		begin := time.Now()
		go func() { stopped <- w.client.StopContainer(context.Background(), id, 60) }()
		synctest.Wait()
		require.NoError(t, w.VanishSandbox(w.SandboxID("web")))
		require.NoError(t, <-stopped)
		require.Zero(t, time.Since(begin))
		require.Empty(t, w.SandboxID("web"))
	})
}

func TestUnknownContainerEndsWhenStopped(t *testing.T) {
	inBubble(t, node(runs(critest.Run{Duration: time.Minute})), func(t *testing.T, w *world) {
		sandbox := w.sandbox("web")
		app, job := w.start(sandbox, "app"), w.start(sandbox, "job")
		require.NoError(t, w.SetUnknown(app))
		time.Sleep(time.Hour)
		require.NoError(t, w.SetUnknown(job), "also of one that has ended")
		require.Equal(t, unknown, w.end(app))
		require.Equal(t, unknown, w.end(job))
		require.NoError(t, w.client.StopContainer(context.Background(), app, 10))
		require.Equal(t, "255 Error after 1h0m0s", w.end(app))
		require.NoError(t, w.client.RemoveContainer(context.Background(), job))
	})
}

func TestSandboxWhoseProcessDies(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		id := w.app()
		sandbox := w.SandboxID("web")
		require.NoError(t, w.KillSandbox(sandbox))
		got := w.sandboxStatus(sandbox)
		require.Equal(t, runtimeapi.PodSandboxState_SANDBOX_NOTREADY, got.State)
		require.NotEmpty(t, got.Network.Ip)
		require.Equal(t, running, w.end(id))
		require.True(t, cri.IsNotFound(w.KillSandbox("nope")))
	})
}

func TestSandboxIPs(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		id := w.sandbox("web")
		require.NoError(t, w.SetSandboxIPs(id, "10.0.0.1", "fd00::1"))
		require.Equal(t, []string{"10.0.0.1", "fd00::1"}, cri.SandboxIPs(w.sandboxStatus(id)))
		require.NoError(t, w.SetSandboxIPs(id))
		require.Empty(t, cri.SandboxIPs(w.sandboxStatus(id)))
	})
}
