package critest_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

func TestSandboxHasAnAddressUntilItIsStopped(t *testing.T) {
	cfg := critest.Config{PodCIDR: netip.MustParsePrefix("10.1.2.0/30")}
	inBubble(t, cfg, func(t *testing.T, w *world) {
		first, second := w.sandbox("one"), w.sandbox("two")
		require.Equal(t, "10.1.2.2", w.sandboxStatus(first).Network.Ip)
		require.Equal(t, "10.1.2.3", w.sandboxStatus(second).Network.Ip)
		_, err := w.client.RunPodSandbox(context.Background(), podConfig("three"), "")
		require.ErrorContains(t, err, "no IP addresses available")

		require.NoError(t, w.client.StopPodSandbox(context.Background(), first))
		require.NotNil(t, w.sandboxStatus(first).Network)
		require.Empty(t, w.sandboxStatus(first).Network.Ip)
		require.Equal(t, "10.1.2.2", w.sandboxStatus(w.sandbox("three")).Network.Ip)
	})
}

func TestSandboxOnTheHostNetworkHasNoAddress(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		config := podConfig("web")
		config.Linux = &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_CONTAINER},
		}}
		w.SetCondition(runtimeapi.NetworkReady, false, "NetworkPluginNotReady", "cni plugin not initialized")
		id, err := w.client.RunPodSandbox(context.Background(), config, "")
		require.NoError(t, err)
		got := w.sandboxStatus(id)
		require.Empty(t, got.Network.Ip)
		require.True(t, cri.NetworkFits(got, true))
		require.Equal(t, runtimeapi.NamespaceMode_CONTAINER, got.Linux.Namespaces.Options.Pid)

		_, err = w.client.RunPodSandbox(context.Background(), podConfig("other"), "")
		require.ErrorContains(t, err, "cni plugin not initialized")
		w.SetCondition(runtimeapi.NetworkReady, true, "", "")
		w.sandbox("other")
	})
}

func TestSandboxNameIsTakenUntilTheSandboxIsRemoved(t *testing.T) {
	for profile, code := range map[critest.Profile]codes.Code{
		critest.Newest:       codes.FailedPrecondition,
		critest.Containerd16: codes.Unknown,
	} {
		inBubble(t, critest.Config{Profile: profile}, func(t *testing.T, w *world) {
			ctx := context.Background()
			id := w.sandbox("web")
			require.NoError(t, w.client.StopPodSandbox(ctx, id))
			_, err := w.client.RunPodSandbox(ctx, podConfig("web"), "")
			require.Equal(t, code, status.Code(err))
			require.ErrorContains(t, err, `name "web_default_web-uid_0" is reserved for "`+id+`"`)

			next := podConfig("web")
			next.Metadata.Attempt = 1
			second, err := w.client.RunPodSandbox(ctx, next, "")
			require.NoError(t, err)
			require.Equal(t, second, w.SandboxID("web"))
			require.NoError(t, w.client.RemovePodSandbox(ctx, id))
			w.sandbox("web")
		})
	}
}

func TestStopPodSandboxKillsTheContainers(t *testing.T) {
	inBubble(t, node(runs(critest.Run{Term: critest.Term{ExitCode: 3}})), func(t *testing.T, w *world) {
		sandbox := w.sandbox("web")
		app := w.start(sandbox, "app")
		waiting := w.create(sandbox, containerConfig("waiting"))
		time.Sleep(time.Second)
		require.NoError(t, w.client.StopPodSandbox(context.Background(), sandbox))
		require.NoError(t, w.client.StopPodSandbox(context.Background(), sandbox), "again")
		require.Equal(t, "137 Error after 1s", w.end(app))
		require.Equal(t, created, w.end(waiting))
		require.Equal(t, runtimeapi.PodSandboxState_SANDBOX_NOTREADY, w.sandboxStatus(sandbox).State)
	})
}

func TestRemovePodSandboxRemovesTheContainers(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		sandbox := w.sandbox("web")
		app := w.start(sandbox, "app")
		require.NoError(t, w.client.RemovePodSandbox(context.Background(), sandbox))
		require.NoError(t, w.client.RemovePodSandbox(context.Background(), sandbox), "again")
		_, err := w.client.ContainerStatus(context.Background(), app, false)
		require.True(t, cri.IsNotFound(err))
		_, err = w.client.PodSandboxStatus(context.Background(), sandbox, false)
		require.True(t, cri.IsNotFound(err))
	})
}

func TestSandboxThatIsNotReadyTakesContainersOnlyInNewerRuntimes(t *testing.T) {
	for profile, code := range map[critest.Profile]codes.Code{
		critest.Containerd21: codes.OK,
		critest.Containerd16: codes.NotFound,
	} {
		cfg := node()
		cfg.Profile = profile
		inBubble(t, cfg, func(t *testing.T, w *world) {
			sandbox := w.sandbox("web")
			require.NoError(t, w.client.StopPodSandbox(context.Background(), sandbox))
			_, err := w.client.CreateContainer(context.Background(), sandbox, containerConfig("app"), podConfig("web"))
			require.Equal(t, code, status.Code(err))
		})
	}
}

func TestRunPodSandboxRefusals(t *testing.T) {
	inBubble(t, critest.Config{RuntimeHandlers: []string{"kata"}}, func(t *testing.T, w *world) {
		_, err := w.client.RunPodSandbox(context.Background(), &runtimeapi.PodSandboxConfig{}, "")
		require.ErrorContains(t, err, "sandbox config must include metadata")
		_, err = w.client.RunPodSandbox(context.Background(), podConfig("web"), "runc")
		require.ErrorContains(t, err, `no runtime for "runc" is configured`)

		host := podConfig("web")
		host.Hostname = "web"
		host.Linux = &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE},
		}}
		_, err = w.client.RunPodSandbox(context.Background(), host, "")
		require.ErrorContains(t, err, "unable to set hostname")

		id, err := w.client.RunPodSandbox(context.Background(), podConfig("web"), "kata")
		require.NoError(t, err, "the name is free after a failure")
		require.Equal(t, "kata", w.sandboxStatus(id).RuntimeHandler)
	})
}

func TestCallsForUnknownSandboxes(t *testing.T) {
	for profile, stop := range map[critest.Profile]codes.Code{
		critest.Newest:       codes.OK,
		critest.Containerd16: codes.NotFound,
	} {
		inBubble(t, critest.Config{Profile: profile}, func(t *testing.T, w *world) {
			ctx := context.Background()
			_, err := w.client.PodSandboxStatus(ctx, "nope", false)
			require.Equal(t, codes.NotFound, status.Code(err))
			_, err = w.client.PodSandboxStats(ctx, "nope")
			require.Equal(t, codes.NotFound, status.Code(err))
			_, err = w.client.PortForward(ctx, &runtimeapi.PortForwardRequest{PodSandboxId: "nope"})
			require.Equal(t, codes.NotFound, status.Code(err))
			require.NoError(t, w.client.RemovePodSandbox(ctx, "nope"))
			require.Equal(t, stop, status.Code(w.client.StopPodSandbox(ctx, "nope")))
			require.Equal(t, codes.Unknown, status.Code(w.client.StopPodSandbox(ctx, "")))
		})
	}
}

func TestListPodSandboxFilters(t *testing.T) {
	for _, profile := range []critest.Profile{critest.Newest, critest.Containerd16} {
		inBubble(t, critest.Config{Profile: profile}, func(t *testing.T, w *world) {
			web, db := w.sandbox("web"), w.sandbox("db")
			require.NoError(t, w.client.StopPodSandbox(context.Background(), db))
			ready := &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY}
			for name, test := range map[string]struct {
				filter *runtimeapi.PodSandboxFilter
				want   []string
			}{
				"none":  {nil, []string{web, db}},
				"id":    {&runtimeapi.PodSandboxFilter{Id: db[:20]}, []string{db}},
				"state": {&runtimeapi.PodSandboxFilter{State: ready}, []string{web}},
				"label": {&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{cri.LabelPodUID: "db-uid"}}, []string{db}},
				"both":  {&runtimeapi.PodSandboxFilter{State: ready, LabelSelector: map[string]string{cri.LabelPodUID: "db-uid"}}, nil},
			} {
				listed, err := w.client.ListPodSandbox(context.Background(), test.filter)
				require.NoError(t, err)
				var ids []string
				for _, sb := range listed {
					ids = append(ids, sb.Id)
				}
				require.ElementsMatch(t, test.want, ids, name)
			}
		})
	}
}
