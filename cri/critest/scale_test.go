package critest_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
)

func TestThousandPodsNeedNoGoroutineEach(t *testing.T) {
	script := runs(critest.Run{Duration: time.Hour, ExitCode: 1})
	inBubble(t, node(script), func(t *testing.T, w *world) {
		before := runtime.NumGoroutine()
		for i := range 1000 {
			name := fmt.Sprint("web-", i)
			sandbox, err := w.client.RunPodSandbox(context.Background(), podConfig(name), "")
			require.NoError(t, err)
			for _, container := range []string{"app", "sidecar"} {
				id, err := w.client.CreateContainer(context.Background(), sandbox, containerConfig(container), podConfig(name))
				require.NoError(t, err)
				require.NoError(t, w.client.StartContainer(context.Background(), id))
			}
		}
		require.Less(t, runtime.NumGoroutine(), before+50)

		time.Sleep(2 * time.Hour)
		exited, err := w.client.ListContainers(context.Background(), &runtimeapi.ContainerFilter{
			State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_EXITED},
		})
		require.NoError(t, err)
		require.Len(t, exited, 2000)
	})
}
