package critest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

func TestStatsHaveNumbersOfWhatRuns(t *testing.T) {
	inBubble(t, node(critest.Script{Container: "job", Runs: []critest.Run{{Duration: time.Second}}}), func(t *testing.T, w *world) {
		ctx := context.Background()
		pod := podConfig("web")
		pod.Linux = &runtimeapi.LinuxPodSandboxConfig{CgroupParent: "/pods/web"}
		sandbox, err := w.client.RunPodSandbox(ctx, pod, "")
		require.NoError(t, err)
		app, job := w.start(sandbox, "app"), w.start(sandbox, "job")
		require.NoError(t, w.SetUsage(app, critest.Usage{CPU: 500_000_000, Memory: 1 << 20, Disk: 7, Processes: 3}))
		time.Sleep(10 * time.Second)

		stats, err := w.client.ContainerStats(ctx, app)
		require.NoError(t, err)
		require.Equal(t, uint64(5*time.Second), stats.Cpu.UsageCoreNanoSeconds.Value)
		require.Equal(t, uint64(1<<20), stats.Memory.WorkingSetBytes.Value)
		require.Equal(t, uint64(7), stats.WritableLayer.UsedBytes.Value)
		_, err = w.client.ContainerStats(ctx, job)
		require.ErrorContains(t, err, "unexpected metrics response")

		listed, err := w.client.ListContainerStats(ctx, nil)
		require.NoError(t, err)
		require.Len(t, listed, 2)
		for _, stats := range listed {
			require.Equal(t, stats.Attributes.Id == app, stats.Cpu != nil)
		}
		podStats, err := w.client.ListPodSandboxStats(ctx, nil)
		require.NoError(t, err)
		require.Len(t, podStats[0].Linux.Containers, 2)
		require.Equal(t, uint64(3), podStats[0].Linux.Process.ProcessCount.Value)

		metrics, err := w.client.ListPodSandboxMetrics(ctx)
		require.NoError(t, err)
		require.Equal(t, uint64(5), metrics[0].ContainerMetrics[0].Metrics[0].Value.Value)
		descriptors, err := w.client.ListMetricDescriptors(ctx)
		require.NoError(t, err)
		require.Equal(t, metrics[0].ContainerMetrics[0].Metrics[0].Name, descriptors[0].Name)

		require.NoError(t, w.SetUsage(app, critest.Usage{}))
		time.Sleep(time.Hour)
		stats, err = w.client.ContainerStats(ctx, app)
		require.NoError(t, err)
		require.Equal(t, uint64(5*time.Second), stats.Cpu.UsageCoreNanoSeconds.Value, "what was used stays used")
		require.True(t, cri.IsNotFound(w.SetUsage("nope", critest.Usage{})))
	})
}

func TestListsAlsoComeInOnePiece(t *testing.T) {
	cfg := node()
	cfg.Profile = critest.Containerd16
	inBubble(t, cfg, func(t *testing.T, w *world) {
		id := w.app()
		w.create(w.SandboxID("web"), containerConfig("waiting"))
		stats, err := w.client.ListContainerStats(context.Background(), nil)
		require.NoError(t, err)
		require.Len(t, stats, 1, "of what runs only")
		require.Equal(t, id, stats[0].Attributes.Id)
		_, err = w.client.ListPodSandboxStats(context.Background(), nil)
		require.ErrorContains(t, err, "cgroupPath is empty")
		_, err = w.client.UpdatePodSandboxResources(context.Background(), &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: w.SandboxID("web")})
		require.True(t, cri.IsUnimplemented(err))
	})
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		_, err := w.client.UpdatePodSandboxResources(context.Background(), &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: w.sandbox("web")})
		require.NoError(t, err)
		_, err = w.client.UpdatePodSandboxResources(context.Background(), &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: "nope"})
		require.True(t, cri.IsNotFound(err))
	})
}

func TestSandboxStatsNeedACgroupAndAReadySandbox(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		ctx := context.Background()
		id := w.sandbox("web")
		_, err := w.client.PodSandboxStats(ctx, id)
		require.ErrorContains(t, err, "cgroupPath is empty")
		_, err = w.client.ListPodSandboxStats(ctx, nil)
		require.ErrorContains(t, err, "cgroupPath is empty")
		require.NoError(t, w.client.StopPodSandbox(ctx, id))
		_, err = w.client.PodSandboxStats(ctx, id)
		require.Equal(t, codes.Unavailable, status.Code(err))
		listed, err := w.client.ListPodSandboxStats(ctx, nil)
		require.NoError(t, err)
		require.Empty(t, listed)
	})
}
