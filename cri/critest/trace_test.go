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

func TestTraceTellsWhatWasCalled(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		w.ResetCalls()
		id := w.app()
		require.NoError(t, w.client.StopContainer(context.Background(), id, 1))
		require.NoError(t, w.client.RemoveContainer(context.Background(), id))
		require.Error(t, w.client.StartContainer(context.Background(), id))
		_, err := w.pull("nginx", nil)
		require.NoError(t, err)
		require.NoError(t, w.client.RemovePodSandbox(context.Background(), w.SandboxID("web")))

		require.Equal(t, "RunPodSandbox web; CreateContainer web/app; StartContainer web/app; "+
			"StopContainer web/app; RemoveContainer web/app; StartContainer "+id+": NotFound; "+
			"PullImage nginx; RemovePodSandbox web", w.Calls().Changes().String())
		require.Equal(t, "PodSandboxStatus web", w.Calls("PodSandboxStatus").String())
		require.Equal(t, 2, w.Count("StartContainer"))
		require.Equal(t, 9, w.Count())

		call := w.Calls("CreateContainer")[0]
		require.Equal(t, "default", call.Namespace)
		require.Equal(t, "web-uid", call.UID)
		require.Equal(t, "app", call.Image)
		require.Equal(t, time.Now(), call.Time)
		require.True(t, call.Done)
		require.Equal(t, "app", call.Request.(*runtimeapi.CreateContainerRequest).Config.Metadata.Name)
	})
}

func TestTraceHoldsCallsThatAreUnderWay(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		w.Inject(critest.Fault{Method: "Status", Delay: time.Minute})
		go func() { _, _ = w.client.Status(context.Background(), false) }()
		synctest.Wait()
		require.False(t, w.Calls("Status")[0].Done)
		time.Sleep(time.Hour)
		require.True(t, w.Calls("Status")[0].Done)
	})
}

func TestTraceKeepsTheNewestCallsAndCountsAll(t *testing.T) {
	inBubble(t, critest.Config{TraceLimit: 3}, func(t *testing.T, w *world) {
		for i := range 10 {
			_, err := w.client.ContainerStatus(context.Background(), string(rune('a'+i)), false)
			require.True(t, cri.IsNotFound(err))
		}
		require.Equal(t, "ContainerStatus h: NotFound; ContainerStatus i: NotFound; ContainerStatus j: NotFound", w.Calls().String())
		require.Equal(t, 10, w.Count("ContainerStatus"))
	})
	inBubble(t, critest.Config{TraceLimit: -1}, func(t *testing.T, w *world) {
		require.Empty(t, w.Calls())
		require.Equal(t, 1, w.Count("Version"))
	})
}
