package podsync

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// ended is a container that ended with a code and left a message and a log.
func ended(t *testing.T, code int32, policy corev1.TerminationMessagePolicy, message string) *cri.Container {
	t.Helper()
	dir := t.TempDir()
	file, log := filepath.Join(dir, "message"), filepath.Join(dir, "0.log")
	require.NoError(t, os.WriteFile(file, []byte(message), 0o600))
	require.NoError(t, os.WriteFile(log, []byte("2026-01-02T03:04:05Z stderr F it broke\n"), 0o600))
	return &cri.Container{ContainerStatus: &runtimeapi.ContainerStatus{
		Id: "abc", State: runtimeapi.ContainerState_CONTAINER_EXITED, ExitCode: code, LogPath: log,
		Mounts: []*runtimeapi.Mount{{ContainerPath: "/dev/termination-log", HostPath: file}},
		Annotations: map[string]string{
			cri.AnnotationTerminationMessagePath:   "/dev/termination-log",
			cri.AnnotationTerminationMessagePolicy: string(policy),
		},
	}}
}

func TestTerminationMessages(t *testing.T) {
	const fromFile, fallBack = corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError
	for _, row := range []struct {
		name    string
		given   *cri.Container
		spoil   func(*cri.Container)
		message string
	}{
		{"the file", ended(t, 1, fromFile, "no disk"), nil, "no disk"},
		{"the file of one that succeeded", ended(t, 0, fromFile, "all done"), nil, "all done"},
		{"the end of a long file", ended(t, 1, fromFile, strings.Repeat("x", 5000)+"end"), nil, strings.Repeat("x", 4093) + "end"},
		{"an empty file", ended(t, 1, fromFile, ""), nil, ""},
		{"the log instead of an empty file", ended(t, 1, fallBack, ""), nil, "it broke\n"},
		{"the file before the log", ended(t, 1, fallBack, "no disk"), nil, "no disk"},
		{"no log of one that succeeded", ended(t, 0, fallBack, ""), nil, ""},
		{"no log of one that could not run", ended(t, 128, fallBack, ""), func(c *cri.Container) { c.Reason = "ContainerCannotRun" }, ""},
		{"a file that is gone", ended(t, 1, fromFile, "x"), func(c *cri.Container) { c.Mounts[0].HostPath += "-gone" }, ""},
		{"a runtime that tells no mounts", ended(t, 1, fromFile, "x"), func(c *cri.Container) { c.Mounts = nil }, ""},
		{"a path written otherwise", ended(t, 1, fromFile, "no disk"), func(c *cri.Container) { c.Mounts[0].ContainerPath = "/dev//termination-log/" }, "no disk"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.spoil != nil {
				row.spoil(row.given)
			}
			assert.Equal(t, row.message, terminationMessage(row.given))
		})
	}
	t.Run("a file that cannot be read", func(t *testing.T) {
		c := ended(t, 1, fromFile, "x")
		c.Mounts[0].HostPath = t.TempDir()
		assert.Contains(t, terminationMessage(c), "Error on reading termination log: ")
	})
	t.Run("a pipe to which nobody writes", func(t *testing.T) {
		c := ended(t, 1, fromFile, "x")
		c.Mounts[0].HostPath += "-pipe"
		require.NoError(t, syscall.Mkfifo(c.Mounts[0].HostPath, 0o600))
		assert.Contains(t, terminationMessage(c), "Error on reading termination log: ")
	})
	t.Run("a log that cannot be read", func(t *testing.T) {
		c := ended(t, 1, fallBack, "")
		c.LogPath = t.TempDir()
		assert.Contains(t, terminationMessage(c), "Error reading termination message from logs: ")
	})
}

func TestAMessageIsReadOnceAndForgottenWithItsContainer(t *testing.T) {
	c := ended(t, 1, corev1.TerminationMessageReadFile, "first")
	state := &cri.PodState{Containers: []*cri.Container{c}}
	known := messages(state, nil)
	require.Equal(t, map[string]string{"abc": "first"}, known)

	require.NoError(t, os.WriteFile(c.Mounts[0].HostPath, []byte("second"), 0o600))
	assert.Equal(t, known, messages(state, known))
	assert.Empty(t, messages(&cri.PodState{}, known))
	c.State = runtimeapi.ContainerState_CONTAINER_RUNNING
	assert.Empty(t, messages(state, nil), "one that runs has not said its last word")
}
