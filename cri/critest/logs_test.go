package critest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

// logged starts a container with a log and returns its ID and the log's path.
func (w *world) logged(command ...string) (id, path string) {
	w.t.Helper()
	pod := podConfig("web")
	pod.LogDirectory = w.t.TempDir()
	sandbox, err := w.client.RunPodSandbox(context.Background(), pod, "")
	require.NoError(w.t, err)
	config := containerConfig("app", command...)
	config.LogPath = "app/0.log"
	id, err = w.client.CreateContainer(context.Background(), sandbox, config, pod)
	require.NoError(w.t, err)
	require.NoError(w.t, w.client.StartContainer(context.Background(), id))
	return id, filepath.Join(pod.LogDirectory, "app", "0.log")
}

// read is the text of a log, without the times.
func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	var text strings.Builder
	for line := range strings.Lines(string(content)) {
		_, rest, _ := strings.Cut(line, " ")
		text.WriteString(rest)
	}
	return text.String()
}

func withLogs(script ...critest.Script) critest.Config {
	cfg := node(script...)
	cfg.WriteLogs = true
	return cfg
}

func TestLinesAreInTheLogWhenTheirTimeHasCome(t *testing.T) {
	run := critest.Run{Duration: 10 * time.Second, Logs: []critest.Log{
		{Text: "start"},
		{At: 5 * time.Second, Text: "oops\nbadly", Stderr: true},
		{At: 20 * time.Second, Text: "never"},
		{At: 10 * time.Second, Text: "end", Unfinished: true},
	}}
	inBubble(t, withLogs(runs(run)), func(t *testing.T, w *world) {
		_, path := w.logged()
		time.Sleep(time.Second)
		require.Equal(t, "stdout F start\n", read(t, path))
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(string(content), "2000-01-01T00:00:00Z stdout"), "in UTC: %s", content)
		time.Sleep(time.Minute)
		require.Equal(t, "stdout F start\nstderr F oops\nstderr F badly\nstdout P end\n", read(t, path))
	})
}

func TestLinesThatRepeat(t *testing.T) {
	run := critest.Run{Duration: 10 * time.Second, Logs: []critest.Log{{At: time.Second, Text: "tick", Every: 4 * time.Second}}}
	inBubble(t, withLogs(runs(run)), func(t *testing.T, w *world) {
		_, path := w.logged()
		time.Sleep(time.Hour)
		require.Equal(t, strings.Repeat("stdout F tick\n", 3), read(t, path))
	})
}

func TestLastWordsAfterSIGTERM(t *testing.T) {
	run := critest.Run{
		Logs: []critest.Log{{Text: "tick", Every: time.Second}},
		Term: critest.Term{After: 3 * time.Second, Logs: []critest.Log{{At: 2 * time.Second, Text: "bye"}}},
	}
	inBubble(t, withLogs(runs(run)), func(t *testing.T, w *world) {
		id, path := w.logged()
		time.Sleep(1500 * time.Millisecond)
		require.NoError(t, w.client.StopContainer(context.Background(), id, 10))
		require.Equal(t, "stdout F tick\nstdout F tick\nstdout F bye\n", read(t, path))
	})
}

func TestLongLineIsInParts(t *testing.T) {
	run := critest.Run{Logs: []critest.Log{{Text: strings.Repeat("x", 40_000)}}}
	inBubble(t, withLogs(runs(run)), func(t *testing.T, w *world) {
		_, path := w.logged()
		time.Sleep(time.Second)
		lines := strings.Split(strings.TrimSpace(read(t, path)), "\n")
		require.Len(t, lines, 3)
		require.Equal(t, "stdout P "+strings.Repeat("x", 16384), lines[0])
		require.Equal(t, "stdout F "+strings.Repeat("x", 40_000-2*16384), lines[2])
	})
}

func TestLogThatIsRenamedIsLeftWhenReopened(t *testing.T) {
	run := critest.Run{Logs: []critest.Log{{Text: "tick", Every: time.Second}}}
	inBubble(t, withLogs(runs(run)), func(t *testing.T, w *world) {
		id, path := w.logged()
		require.NoError(t, os.Rename(path, path+".old"))
		time.Sleep(1500 * time.Millisecond)
		require.Equal(t, "stdout F tick\nstdout F tick\n", read(t, path+".old"))
		require.NoError(t, w.client.ReopenContainerLog(context.Background(), id))
		time.Sleep(time.Second)
		require.Equal(t, "stdout F tick\n", read(t, path))

		require.NoError(t, w.Exit(id, 0))
		require.ErrorContains(t, w.client.ReopenContainerLog(context.Background(), id), "container is not running")
	})
}

func TestWhatIsWrittenWhileTheRuntimeIsAwayIsLost(t *testing.T) {
	run := critest.Run{Logs: []critest.Log{{Text: "one"}, {At: 2 * time.Second, Text: "two"}, {At: 5 * time.Second, Text: "three"}}}
	inBubble(t, withLogs(runs(run)), func(t *testing.T, w *world) {
		_, path := w.logged()
		time.Sleep(time.Second)
		w.Restart(3 * time.Second)
		time.Sleep(time.Minute)
		require.Equal(t, "stdout F one\nstdout F three\n", read(t, path))
	})
}

func TestNoLogUnlessAskedFor(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		_, path := w.logged("echo", "hi")
		time.Sleep(time.Second)
		require.NoFileExists(t, path)
	})
}

func TestLogOfASimulatedCommand(t *testing.T) {
	inBubble(t, withLogs(), func(t *testing.T, w *world) {
		_, path := w.logged("sh", "-c", `echo starting; while true; do echo "now: $(date)"; sleep 2; done`)
		time.Sleep(3 * time.Second)
		require.Equal(t, "stdout F starting\nstdout F now: Sat Jan  1 00:00:00 UTC 2000\nstdout F now: Sat Jan  1 00:00:02 UTC 2000\n", read(t, path))
	})
}

func TestStartFailsWhereTheLogCannotBe(t *testing.T) {
	inBubble(t, withLogs(), func(t *testing.T, w *world) {
		pod := podConfig("web")
		pod.LogDirectory = filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(pod.LogDirectory, nil, 0o600))
		config := containerConfig("app")
		config.LogPath = "0.log"
		id, err := w.client.CreateContainer(context.Background(), w.sandbox("web"), config, pod)
		require.NoError(t, err)
		require.ErrorContains(t, w.client.StartContainer(context.Background(), id), "failed to create container loggers")
		require.Equal(t, "128 StartError after 0s", w.end(id))
	})
}

func TestTerminationMessageIsInTheFileMountedForIt(t *testing.T) {
	for name, path := range map[string]string{"default": "", "own": "/tmp/last-words"} {
		t.Run(name, func(t *testing.T) {
			run := critest.Run{Duration: time.Second, TerminationMessage: "no disk"}
			inBubble(t, node(runs(run)), func(t *testing.T, w *world) {
				file := filepath.Join(t.TempDir(), "message")
				require.NoError(t, os.WriteFile(file, []byte("longer than the message"), 0o600))
				config := containerConfig("app")
				mountedAt := "/dev/termination-log"
				if path != "" {
					mountedAt = path
					config.Annotations = map[string]string{cri.AnnotationTerminationMessagePath: path}
				}
				config.Mounts = []*runtimeapi.Mount{{ContainerPath: "/other", HostPath: "/nowhere"}, {ContainerPath: mountedAt, HostPath: file}}
				id := w.create(w.sandbox("web"), config)
				require.NoError(t, w.client.StartContainer(context.Background(), id))
				time.Sleep(time.Minute)
				content, err := os.ReadFile(file)
				require.NoError(t, err)
				require.Equal(t, "no disk", string(content))
			})
		})
	}
}
