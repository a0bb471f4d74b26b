package critest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edged-project/edged/cri/critest"
)

var errExhausted = status.Error(codes.ResourceExhausted, "too many")

func TestFaultFailsTheNextCallsOfAMethod(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		w.Inject(critest.Fault{Method: "PullImage", Times: 2, Err: errExhausted})
		for range 2 {
			_, err := w.pull("nginx", nil)
			require.Equal(t, codes.ResourceExhausted, status.Code(err))
			require.ErrorContains(t, err, "too many")
		}
		_, err := w.pull("nginx", nil)
		require.NoError(t, err)
	})
}

func TestFaultWithoutTimesLastsUntilItIsRemoved(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		remove := w.Inject(critest.Fault{Err: errExhausted})
		for range 5 {
			_, err := w.client.Status(context.Background(), false)
			require.Equal(t, codes.ResourceExhausted, status.Code(err))
			_, err = w.client.ListContainers(context.Background(), nil)
			require.Equal(t, codes.ResourceExhausted, status.Code(err), "streams as well")
		}
		remove()
		_, err := w.client.Status(context.Background(), false)
		require.NoError(t, err)
	})
}

func TestFaultHitsTheCallsThatMatch(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		w.Inject(critest.Fault{
			Method: "StopContainer",
			Match:  func(call critest.Call) bool { return call.Pod == "web" && call.Container == "app" },
			Times:  1,
			Err:    errExhausted,
		})
		web, db := w.sandbox("web"), w.sandbox("db")
		app, sidecar, other := w.start(web, "app"), w.start(web, "sidecar"), w.start(db, "app")
		require.NoError(t, w.client.StopContainer(context.Background(), sidecar, 1))
		require.NoError(t, w.client.StopContainer(context.Background(), other, 1))
		require.Error(t, w.client.StopContainer(context.Background(), app, 1))
		require.Equal(t, running, w.end(app))
		require.NoError(t, w.client.StopContainer(context.Background(), app, 1))
	})
}

func TestFaultAfterTheWorkLeavesItDone(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		w.Inject(critest.Fault{Method: "RunPodSandbox", Times: 1, After: true, Err: status.Error(codes.Unavailable, "connection lost")})
		_, err := w.client.RunPodSandbox(context.Background(), podConfig("web"), "")
		require.Equal(t, codes.Unavailable, status.Code(err))
		require.NotEmpty(t, w.SandboxID("web"))
		_, err = w.client.RunPodSandbox(context.Background(), podConfig("web"), "")
		require.ErrorContains(t, err, "is reserved for")
	})
}

func TestFaultDelaysAndHangs(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		w.Inject(critest.Fault{Method: "Status", Times: 1, Delay: 7 * time.Second})
		begin := time.Now()
		_, err := w.client.Status(context.Background(), false)
		require.NoError(t, err)
		require.Equal(t, 7*time.Second, time.Since(begin))

		w.Inject(critest.Fault{Method: "Status", Times: 1, Hang: true})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err = w.client.Status(ctx, false)
		require.Equal(t, codes.DeadlineExceeded, status.Code(err))
	})
}

func TestFaultsAddUp(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		w.Inject(critest.Fault{Delay: time.Second})
		w.Inject(critest.Fault{Method: "Status", Delay: time.Second})
		w.Inject(critest.Fault{Method: "Status", Err: errExhausted})
		w.Inject(critest.Fault{Method: "Status", Err: status.Error(codes.Internal, "not seen")})
		begin := time.Now()
		_, err := w.client.Status(context.Background(), false)
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		require.Equal(t, 2*time.Second, time.Since(begin))
	})
}
