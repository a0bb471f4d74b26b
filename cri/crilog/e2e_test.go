//go:build e2e && linux

package crilog_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
	"github.com/edged-project/edged/cri/critest/containerd"
)

// hundredMegabytes writes a million numbered lines, 100 MB with what the runtime adds,
// in bursts as a program that has something to say.
const hundredMegabytes = `awk 'BEGIN { while (i < 1000000) { printf "%052d\n", i++; if (i % 10000 == 0) { fflush(); system("sleep 0.1") } } }'`

// A container that writes 100 MB is held to its limits, and who follows its log hears
// every line of it.
func TestALogOf100MBIsHeldToItsLimits(t *testing.T) {
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) {
			client, err := cri.Dial(t.Context(), containerd.Start(t, version).Endpoint(), cri.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close(context.Background()) })
			logs := t.TempDir()
			id := startScript(t, client, logs, hundredMegabytes)
			path := filepath.Join(crilog.PodDirectory(logs, "shop", "web", "uid-1"), crilog.ContainerPath("app", 0))

			const maxSize, maxFiles = 4 << 20, 10
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			rotator := crilog.NewRotator(client, crilog.RotatorConfig{PodLogs: logs, MaxSize: maxSize, MaxFiles: maxFiles, Period: 100 * time.Millisecond})
			rotated := make(chan error, 1)
			go func() { rotated <- rotator.Run(ctx) }()
			running := func(ctx context.Context) (bool, error) {
				response, err := client.ContainerStatus(ctx, id, false)
				return response.GetStatus().GetState() == runtimeapi.ContainerState_CONTAINER_RUNNING, err
			}
			heard := &counter{}
			read := make(chan error, 1)
			go func() { read <- crilog.Read(ctx, path, crilog.Options{Follow: true, Running: running}, heard, nil) }()

			var largest int64
			var most int
			for reading := true; reading; {
				select {
				case err := <-read:
					require.NoError(t, err)
					reading = false
				case <-time.After(50 * time.Millisecond):
				}
				size, files := sizeOf(t, filepath.Dir(path))
				largest, most = max(largest, size), max(most, files)
			}
			cancel()
			require.NoError(t, <-rotated)

			assert.Equal(t, 1_000_000, heard.next, "lines in order")
			assert.Empty(t, heard.wrong)
			assert.LessOrEqual(t, most, maxFiles+1, "with one that is being compressed")
			assert.Less(t, largest, int64(60<<20), "of 100 MB")
			t.Logf("at most %d MiB in %d files", largest>>20, most)
		})
	}
}

func TestADeletedLogIsMadeAgainOnContainerd(t *testing.T) {
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) {
			client, err := cri.Dial(t.Context(), containerd.Start(t, version).Endpoint(), cri.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close(context.Background()) })
			logs := t.TempDir()
			startScript(t, client, logs, "while true; do echo tick; sleep 0.1; done")
			path := filepath.Join(crilog.PodDirectory(logs, "shop", "web", "uid-1"), crilog.ContainerPath("app", 0))
			rotator := crilog.NewRotator(client, crilog.RotatorConfig{PodLogs: logs})
			for range 2 {
				_, err := rotator.Rotate(t.Context())
				require.NoError(t, err)
				require.Eventually(t, func() bool {
					info, err := os.Stat(path)
					return err == nil && info.Size() > 0
				}, 10*time.Second, 50*time.Millisecond)
				require.NoError(t, os.RemoveAll(filepath.Dir(path)))
			}
		})
	}
}

// counter checks that numbered lines come one after the other.
type counter struct {
	rest  []byte
	next  int
	wrong string // the first line that was not expected
}

func (c *counter) Write(p []byte) (int, error) {
	c.rest = append(c.rest, p...)
	for {
		line, rest, found := bytes.Cut(c.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		number := 0
		for _, digit := range bytes.TrimSpace(line) {
			number = number*10 + int(digit-'0')
		}
		if number != c.next && c.wrong == "" {
			c.wrong = string(line)
		}
		c.next++
		c.rest = rest
	}
}

func sizeOf(t *testing.T, dir string) (size int64, files int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // renamed or removed just now
			return nil
		case err != nil || entry.IsDir():
			return err
		}
		if info, err := entry.Info(); err == nil {
			size, files = size+info.Size(), files+1
		}
		return nil
	})
	require.NoError(t, err)
	return size, files
}

func startScript(t *testing.T, client *cri.Client, logs, script string) string {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid-1"}}
	return startContainer(t, client, logs, pod, &runtimeapi.ImageSpec{Image: containerd.Busybox}, "sh", "-c", script)
}
