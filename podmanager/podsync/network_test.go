package podsync_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
)

func TestAPodWaitsForTheNetworkUnlessItUsesTheHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		s.runtime.SetCondition(runtimeapi.NetworkReady, false, "NetworkPluginNotReady", "cni plugin not initialized")
		const notReady = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:cni plugin not initialized"
		pod, syncer := podOf("a", "b"), s.syncer()
		result, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err, "a wait is no failure")
		assert.Equal(t, time.Now().Add(time.Second), result.RetryAt)
		assert.Empty(t, s.changes())
		assert.Equal(t, []string{"Warning NetworkNotReady web: network is not ready: " + notReady}, s.events)
		assert.Equal(t, corev1.ContainerStateWaiting{Reason: "ContainerCreating", Message: notReady}, s.last().Waiting["b"])

		onHost := podOf("a")
		onHost.UID, onHost.Name, onHost.Spec.HostNetwork = "uid-2", "host", true
		_, err = syncer.Sync(t.Context(), onHost)
		require.NoError(t, err)
		assert.Len(t, s.state(onHost).Running(), 1)

		s.runtime.SetCondition(runtimeapi.NetworkReady, true, "", "")
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Len(t, s.state(pod).Running(), 2)
	})
}

func TestARuntimeThatDoesNotTellOfItsNetworkIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		s.runtime.Inject(critest.Fault{Method: "Status", Times: 1, Err: status.Error(codes.Internal, "busy")})
		_, err := s.syncer().Sync(t.Context(), podOf("a"))
		require.ErrorContains(t, err, "busy")
		assert.Empty(t, s.changes())
		assert.Equal(t, "busy", s.last().Waiting["a"].Message)
	})
}

func TestTheNetworkIsAskedForOnlyWhenASandboxIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, 1, s.runtime.Count("Status"))

		s.runtime.SetCondition(runtimeapi.NetworkReady, false, "NetworkPluginNotReady", "gone")
		require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "a"), 1))
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Len(t, s.state(pod).Running(), 1, "it restarts in the sandbox that it has")
		assert.Equal(t, 1, s.runtime.Count("Status"))
	})
}
