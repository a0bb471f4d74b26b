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

func TestExecGivesOneResultPerExecutionAndRepeatsTheLast(t *testing.T) {
	cfg := node()
	cfg.Execs = []critest.ExecScript{{Container: "app", Results: []critest.ExecResult{
		{Stdout: "ok", Stderr: "hm"}, {ExitCode: 1, Delay: 3 * time.Second},
	}}}
	inBubble(t, cfg, func(t *testing.T, w *world) {
		id := w.app()
		stdout, stderr, err := w.client.ExecSync(context.Background(), id, []string{"check"}, time.Minute)
		require.NoError(t, err)
		require.Equal(t, "ok", string(stdout))
		require.Equal(t, "hm", string(stderr))
		for range 2 {
			begin := time.Now()
			_, _, err = w.client.ExecSync(context.Background(), id, []string{"check"}, time.Minute)
			var exit *cri.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, 1, exit.Code)
			require.Equal(t, 3*time.Second, time.Since(begin))
		}
	})
}

func TestExecScriptIsForItsCommand(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		w.AddExec(critest.ExecScript{Results: []critest.ExecResult{{Stdout: "any"}}})
		w.AddExec(critest.ExecScript{Command: "cat /etc/hosts", Results: []critest.ExecResult{{Stdout: "hosts"}}})
		w.AddExec(critest.ExecScript{Container: "other", Results: []critest.ExecResult{{Stdout: "other"}}})
		id := w.app()
		for want, command := range map[string][]string{"hosts": {"cat", "/etc/hosts"}, "any": {"cat"}} {
			stdout, _, err := w.client.ExecSync(context.Background(), id, command, 0)
			require.NoError(t, err)
			require.Equal(t, want, string(stdout))
		}
	})
}

func TestExecBeyondItsTimeoutIsDeadlineExceeded(t *testing.T) {
	for name, result := range map[string]critest.ExecResult{
		"hangs":                  {Hang: true},
		"is too slow":            {Delay: time.Minute, Stdout: "late"},
		"ends with its timeout":  {Delay: 2 * time.Second},
		"is hung and slow alike": {Hang: true, Delay: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := node()
			cfg.Execs = []critest.ExecScript{{Results: []critest.ExecResult{result}}}
			inBubble(t, cfg, func(t *testing.T, w *world) {
				id := w.app()
				begin := time.Now()
				_, _, err := w.client.ExecSync(context.Background(), id, []string{"check"}, 2*time.Second)
				require.ErrorIs(t, err, cri.ErrExecTimeout)
				require.ErrorContains(t, err, "timeout 2s exceeded")
				require.Equal(t, 2*time.Second, time.Since(begin))
			})
		})
	}
}

func TestExecWithoutATimeoutEndsWithItsCallerOrContainer(t *testing.T) {
	cfg := node()
	cfg.Execs = []critest.ExecScript{{Results: []critest.ExecResult{{Hang: true}}}}
	inBubble(t, cfg, func(t *testing.T, w *world) {
		id := w.app()
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		_, _, err := w.client.ExecSync(ctx, id, []string{"check"}, 0)
		require.Equal(t, codes.DeadlineExceeded, status.Code(err))

		time.AfterFunc(time.Minute, func() { _ = w.Exit(id, 0) })
		_, _, err = w.client.ExecSync(context.Background(), id, []string{"check"}, 0)
		var exit *cri.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, 137, exit.Code)
	})
}

func TestExecOfWhatCannotBeStarted(t *testing.T) {
	cfg := node()
	cfg.Execs = []critest.ExecScript{{Results: []critest.ExecResult{{FailStart: "no such file"}}}}
	inBubble(t, cfg, func(t *testing.T, w *world) {
		_, _, err := w.client.ExecSync(context.Background(), w.app(), []string{"check"}, 0)
		require.Equal(t, codes.Unknown, status.Code(err))
		require.ErrorContains(t, err, "no such file")
	})
}

func TestExecSimulatesShellDemos(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		id := w.app()
		stdout, stderr, err := w.client.ExecSync(context.Background(), id, []string{"sh", "-c", "echo one; echo two >&2; sleep 2; exit 3"}, time.Minute)
		var exit *cri.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, 3, exit.Code)
		require.Equal(t, "one\n", string(stdout))
		require.Equal(t, "two\n", string(stderr))

		stdout, _, err = w.client.ExecSync(context.Background(), id, []string{"date"}, time.Minute)
		require.NoError(t, err)
		require.Equal(t, "Sat Jan  1 00:00:02 UTC 2000\n", string(stdout))

		_, _, err = w.client.ExecSync(context.Background(), id, []string{"sleep", "infinity"}, time.Minute)
		require.ErrorIs(t, err, cri.ErrExecTimeout)
		_, _, err = w.client.ExecSync(context.Background(), id, []string{"curl", "localhost"}, time.Minute)
		require.NoError(t, err)
	})
}

func TestStreamsAreAtTheStreamingURL(t *testing.T) {
	cfg := node()
	cfg.StreamingURL = "http://127.0.0.1:1/"
	inBubble(t, cfg, func(t *testing.T, w *world) {
		id := w.app()
		exec, err := w.client.Exec(context.Background(), &runtimeapi.ExecRequest{ContainerId: id, Stdout: true})
		require.NoError(t, err)
		require.Equal(t, "http://127.0.0.1:1/exec/"+id, exec.Url)
		attach, err := w.client.Attach(context.Background(), &runtimeapi.AttachRequest{ContainerId: id, Stdout: true})
		require.NoError(t, err)
		require.Equal(t, "http://127.0.0.1:1/attach/"+id, attach.Url)
		forward, err := w.client.PortForward(context.Background(), &runtimeapi.PortForwardRequest{PodSandboxId: w.SandboxID("web")})
		require.NoError(t, err)
		require.Equal(t, "http://127.0.0.1:1/portforward/"+w.SandboxID("web"), forward.Url)
	})
	inBubble(t, node(), func(t *testing.T, w *world) {
		_, err := w.client.Exec(context.Background(), &runtimeapi.ExecRequest{ContainerId: w.app(), Stdout: true})
		require.True(t, cri.IsUnimplemented(err))
	})
}
