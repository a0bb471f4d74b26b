package critest_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

// awaitRuntime waits until the runtime answers, and returns how long that took.
func (w *world) awaitRuntime() time.Duration {
	begin := time.Now()
	for {
		if _, err := w.client.Status(context.Background(), false); err == nil {
			return time.Since(begin)
		}
		time.Sleep(time.Second)
	}
}

func TestRestartKeepsContainersAndDropsCalls(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		id := w.app()
		w.Inject(critest.Fault{Method: "PullImage", Hang: true})
		pulled := make(chan error)
		go func() {
			_, err := w.pull("nginx", nil)
			pulled <- err
		}()
		synctest.Wait()
		w.Restart(0)
		require.Equal(t, codes.Unavailable, status.Code(<-pulled))
		require.Less(t, w.awaitRuntime(), 5*time.Second)
		require.Equal(t, running, w.end(id))
		require.NotEmpty(t, w.sandboxStatus(w.SandboxID("web")).Network.Ip)
	})
}

func TestRuntimeThatIsAwayCannotBeReached(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		w.Restart(time.Minute)
		_, err := w.client.Status(context.Background(), false)
		require.Equal(t, codes.Unavailable, status.Code(err))
		_, err = w.DialContext(context.Background(), "")
		require.Error(t, err)
		require.GreaterOrEqual(t, w.awaitRuntime(), time.Minute)
	})
}

func TestEndWhileTheRuntimeIsAway(t *testing.T) {
	for profile, want := range map[critest.Profile]string{
		critest.Containerd16: "3 Error after 10s",
		critest.Containerd21: "255 Unknown after 1m5s",
		critest.Newest:       "255 Unknown after 1m5s",
	} {
		cfg := node(critest.Script{Container: "app", Runs: []critest.Run{{Duration: 10 * time.Second, ExitCode: 3}}})
		cfg.Profile = profile
		inBubble(t, cfg, func(t *testing.T, w *world) {
			id := w.app()
			other := w.start(w.SandboxID("web"), "other")
			time.Sleep(5 * time.Second)
			w.Restart(time.Minute)
			time.Sleep(time.Minute)
			w.awaitRuntime()
			require.Equal(t, want, w.end(id))
			require.Equal(t, running, w.end(other))
		})
	}
}

func TestRestartInTheMiddleOfAStartLeavesTheContainerCreated(t *testing.T) {
	inBubble(t, node(runs(critest.Run{StartDelay: time.Minute})), func(t *testing.T, w *world) {
		id := w.create(w.sandbox("web"), containerConfig("app"))
		started := make(chan error)
		go func() { started <- w.client.StartContainer(context.Background(), id) }()
		synctest.Wait()
		w.Restart(0)
		require.Equal(t, codes.Unavailable, status.Code(<-started))
		w.awaitRuntime()
		require.Equal(t, created, w.end(id))
	})
}

func TestRebootEndsEverything(t *testing.T) {
	inBubble(t, node(critest.Script{Container: "job", Runs: []critest.Run{{Duration: time.Second}}}), func(t *testing.T, w *world) {
		id := w.app()
		sandbox := w.SandboxID("web")
		waiting := w.create(sandbox, containerConfig("waiting"))
		job := w.start(sandbox, "job")
		time.Sleep(10 * time.Second)
		w.Reboot(critest.RebootOptions{Down: time.Minute})
		time.Sleep(time.Minute)
		w.awaitRuntime()

		require.Equal(t, "255 Unknown after 1m10s", w.end(id))
		require.Equal(t, "255 Unknown after 0s", w.end(waiting))
		require.Equal(t, "0 Completed after 1s", w.end(job))
		got := w.sandboxStatus(sandbox)
		require.Equal(t, runtimeapi.PodSandboxState_SANDBOX_NOTREADY, got.State)
		require.Empty(t, got.Network.Ip)
		require.NotNil(t, w.image("app"))

		require.NoError(t, w.client.RemovePodSandbox(context.Background(), sandbox))
		w.app()
	})
}

func TestRebootThatWipes(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		w.app()
		_, err := w.pull("nginx", nil)
		require.NoError(t, err)
		w.Reboot(critest.RebootOptions{Wipe: true})
		w.awaitRuntime()
		listed, err := w.client.ListPodSandbox(context.Background(), nil)
		require.NoError(t, err)
		require.Empty(t, listed)
		require.Nil(t, w.image("nginx"))
		require.NotNil(t, w.image("app"))
		require.Equal(t, running, w.end(w.app()))
	})
}

func TestRestartWhileAwayOnlyMovesTheReturn(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		id := w.app()
		w.Reboot(critest.RebootOptions{Down: time.Minute})
		w.Restart(time.Hour)
		require.GreaterOrEqual(t, w.awaitRuntime(), time.Hour)
		require.Equal(t, int32(255), w.status(id).ExitCode)
		w.Restart(time.Hour)
		w.Close()
		w.Restart(0)
		_, err := w.DialContext(context.Background(), "")
		require.Error(t, err)
	})
}

func TestServeOnAUnixSocket(t *testing.T) {
	rt := critest.New(critest.Config{Images: []critest.Image{{Name: "app"}}})
	path := filepath.Join(t.TempDir(), "cri.sock")
	lis, err := net.Listen("unix", path)
	require.NoError(t, err)
	served := make(chan error)
	go func() { served <- rt.Serve(lis) }()

	client, err := cri.Dial(context.Background(), path, cri.Config{})
	require.NoError(t, err)
	id, err := client.RunPodSandbox(context.Background(), podConfig("web"), "")
	require.NoError(t, err)

	rt.Restart(0)
	require.Eventually(t, func() bool {
		status, err := client.PodSandboxStatus(context.Background(), id, false)
		return err == nil && status.Status.State == runtimeapi.PodSandboxState_SANDBOX_READY
	}, 10*time.Second, 10*time.Millisecond)

	require.NoError(t, client.Close(context.Background()))
	rt.Close()
	rt.Close()
	require.NoError(t, <-served)
	_, err = os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	late, err := net.Listen("unix", path)
	require.NoError(t, err)
	require.Error(t, rt.Serve(late), "after Close")
}

var errListener = errors.New("broken")

type brokenListener struct{ net.Listener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errListener }
func (brokenListener) Close() error              { return nil }

func TestServeReturnsTheErrorOfItsListener(t *testing.T) {
	rt := critest.Start(t, critest.Config{})
	require.ErrorIs(t, rt.Serve(brokenListener{}), errListener)
}

func TestDialFailsAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := critest.New(critest.Config{})
		rt.Close()
		_, err := rt.Dial(context.Background(), cri.Config{})
		require.ErrorContains(t, err, "dial critest")
	})
}
