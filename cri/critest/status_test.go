package critest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

func TestStatusVersionAndConfiguration(t *testing.T) {
	cfg := node()
	cfg.Name, cfg.Version = "mine", "2.3.4"
	inBubble(t, cfg, func(t *testing.T, w *world) {
		require.Equal(t, "mine", w.client.RuntimeName())
		w.SetCondition(runtimeapi.RuntimeReady, false, "Broken", "it is")
		w.SetCondition("Own", true, "", "")
		answer, err := w.client.Status(context.Background(), false)
		require.NoError(t, err)
		require.Len(t, answer.Status.Conditions, 3)
		require.Equal(t, "Broken", answer.Status.Conditions[0].Reason)

		config, err := w.client.RuntimeConfig(context.Background())
		require.NoError(t, err)
		require.Equal(t, runtimeapi.CgroupDriver_CGROUPFS, config.Linux.CgroupDriver)
		require.NoError(t, w.client.UpdateRuntimeConfig(context.Background(), &runtimeapi.RuntimeConfig{}))
		require.Error(t, w.client.UpdateRuntimeConfig(context.Background(), &runtimeapi.RuntimeConfig{
			NetworkConfig: &runtimeapi.NetworkConfig{PodCidr: "10.1.0.0/16, nonsense"},
		}))
	})
}

func TestProfilesLackCalls(t *testing.T) {
	for profile, want := range map[critest.Profile]map[string]codes.Code{
		critest.Newest:       {"StreamContainers": codes.OK, "RuntimeConfig": codes.OK, "ListMetricDescriptors": codes.OK},
		critest.Containerd21: {"StreamContainers": codes.Unimplemented, "RuntimeConfig": codes.OK, "ListMetricDescriptors": codes.Unimplemented},
		critest.Containerd16: {"StreamContainers": codes.Unimplemented, "RuntimeConfig": codes.Unimplemented, "ListMetricDescriptors": codes.Unimplemented},
	} {
		inBubble(t, critest.Config{Profile: profile}, func(t *testing.T, w *world) {
			_, err := w.client.ListContainers(context.Background(), nil)
			require.NoError(t, err)
			require.Equal(t, want["StreamContainers"], status.Code(w.Calls("StreamContainers")[0].Err))
			_, err = w.client.RuntimeConfig(context.Background())
			require.Equal(t, want["RuntimeConfig"], status.Code(err))
			_, err = w.client.ListMetricDescriptors(context.Background())
			require.Equal(t, want["ListMetricDescriptors"], status.Code(err))
			require.True(t, cri.IsUnimplemented(w.client.CheckpointContainer(context.Background(), &runtimeapi.CheckpointContainerRequest{ContainerId: "nope"})))
		})
	}
}
