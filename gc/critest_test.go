package gc_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/gc"
)

// A pod crashes every two minutes for an hour, and its sandbox with it once; then
// it is deleted. The node holds no more of it in the end than after the first
// crash, and at last nothing.
func TestAnHourOfCrashesLeavesOneDeadContainer(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		rt := critest.Start(t, critest.Config{
			WriteLogs: true,
			Images:    []critest.Image{{Name: "app"}},
			Scripts:   []critest.Script{{Runs: []critest.Run{{Duration: time.Minute, ExitCode: 1}}}},
		})
		pod := &crashingPod{t: t, client: rt.Client(t), pod: podOf("crashing"), image: "app", logRoot: dir}
		var gone atomic.Bool
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- gc.NewContainers(pod.client, gc.ContainersConfig{
				Removed: func(types.UID) bool { return gone.Load() }, PodLogs: dir, ContainerLogs: filepath.Join(dir, "links"),
			}).Run(ctx)
		}()

		for attempt := range 2 {
			pod.runSandbox(attempt)
			for crash := range 15 {
				pod.crash(15*attempt + crash)
			}
			pod.stopSandbox()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{"container 29", "sandbox 1", "app/29.log"}, pod.left())

		gone.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Empty(t, pod.left())
		assert.NoDirExists(t, pod.logs())

		cancel()
		require.NoError(t, <-done)
	})
}

// crashingPod does what an agent does for a pod.
type crashingPod struct {
	t       *testing.T
	client  *cri.Client
	pod     *corev1.Pod
	image   string
	logRoot string

	sandboxID string
	sandbox   *runtimeapi.PodSandboxConfig
}

func (p *crashingPod) logs() string {
	return crilog.PodDirectory(p.logRoot, p.pod.Namespace, p.pod.Name, p.pod.UID)
}

func (p *crashingPod) runSandbox(attempt int) {
	p.sandbox = &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{
			Name: p.pod.Name, Namespace: p.pod.Namespace, Uid: string(p.pod.UID), Attempt: uint32(attempt),
		},
		Labels:       cri.SandboxLabels(p.pod),
		LogDirectory: p.logs(),
	}
	var err error
	p.sandboxID, err = p.client.RunPodSandbox(p.t.Context(), p.sandbox, "")
	require.NoError(p.t, err)
}

func (p *crashingPod) stopSandbox() {
	require.NoError(p.t, p.client.StopPodSandbox(p.t.Context(), p.sandboxID))
}

// crash runs a container and waits until it has ended.
func (p *crashingPod) crash(restarts int) {
	path := crilog.ContainerPath("app", restarts)
	require.NoError(p.t, os.MkdirAll(filepath.Dir(filepath.Join(p.logs(), path)), 0o755))
	id, err := p.client.CreateContainer(p.t.Context(), p.sandboxID, &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: "app", Attempt: uint32(restarts)},
		Image:       &runtimeapi.ImageSpec{Image: p.image},
		Labels:      cri.ContainerLabels(p.pod, "app"),
		Annotations: cri.ContainerAnnotations(p.pod, &corev1.Container{Name: "app"}, restarts),
		LogPath:     path,
	}, p.sandbox)
	require.NoError(p.t, err)
	require.NoError(p.t, p.client.StartContainer(p.t.Context(), id))
	time.Sleep(2 * time.Minute)
	synctest.Wait()
}

// left names the containers, sandboxes and log files that there are.
func (p *crashingPod) left() []string {
	var left []string
	containers, err := p.client.ListContainers(p.t.Context(), nil)
	require.NoError(p.t, err)
	for _, c := range containers {
		left = append(left, fmt.Sprint("container ", c.GetMetadata().GetAttempt()))
	}
	sandboxes, err := p.client.ListPodSandbox(p.t.Context(), nil)
	require.NoError(p.t, err)
	for _, s := range sandboxes {
		left = append(left, fmt.Sprint("sandbox ", s.GetMetadata().GetAttempt()))
	}
	files, err := filepath.Glob(filepath.Join(p.logs(), "app", "*"))
	require.NoError(p.t, err)
	for _, file := range files {
		left = append(left, "app/"+filepath.Base(file))
	}
	return left
}
