package critest_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a runtime and a client of it.
type world struct {
	*critest.Runtime
	t      *testing.T
	client *cri.Client
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, cfg critest.Config, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rt := critest.Start(t, cfg)
		test(t, &world{Runtime: rt, t: t, client: rt.Client(t)})
	})
}

// node is a configuration with the image that the tests' containers are of.
func node(scripts ...critest.Script) critest.Config {
	return critest.Config{Images: []critest.Image{{Name: "app"}}, Scripts: scripts}
}

func runs(runs ...critest.Run) critest.Script { return critest.Script{Runs: runs} }

func podConfig(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name + "-uid"},
		Labels:   map[string]string{cri.LabelPodUID: name + "-uid"},
	}
}

func containerConfig(name string, command ...string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name},
		Image:    &runtimeapi.ImageSpec{Image: "app"},
		Command:  command,
		Labels:   map[string]string{cri.LabelContainerName: name},
	}
}

func (w *world) sandbox(name string) string {
	w.t.Helper()
	id, err := w.client.RunPodSandbox(context.Background(), podConfig(name), "")
	require.NoError(w.t, err)
	return id
}

func (w *world) create(sandboxID string, config *runtimeapi.ContainerConfig) string {
	w.t.Helper()
	status, err := w.client.PodSandboxStatus(context.Background(), sandboxID, false)
	require.NoError(w.t, err)
	id, err := w.client.CreateContainer(context.Background(), sandboxID, config, &runtimeapi.PodSandboxConfig{Metadata: status.Status.Metadata})
	require.NoError(w.t, err)
	return id
}

// start runs a new container of that name in the sandbox.
func (w *world) start(sandboxID, name string, command ...string) string {
	w.t.Helper()
	id := w.create(sandboxID, containerConfig(name, command...))
	require.NoError(w.t, w.client.StartContainer(context.Background(), id))
	return id
}

// restart runs the next container of a name whose predecessor has ended.
func (w *world) restart(sandboxID, name string, attempt uint32) string {
	w.t.Helper()
	config := containerConfig(name)
	config.Metadata.Attempt = attempt
	id := w.create(sandboxID, config)
	require.NoError(w.t, w.client.StartContainer(context.Background(), id))
	return id
}

// app runs a pod "web" with one container "app".
func (w *world) app(command ...string) string {
	w.t.Helper()
	return w.start(w.sandbox("web"), "app", command...)
}

func (w *world) status(containerID string) *runtimeapi.ContainerStatus {
	w.t.Helper()
	response, err := w.client.ContainerStatus(context.Background(), containerID, false)
	require.NoError(w.t, err)
	return response.Status
}

// end describes how a container ended, or its state.
func (w *world) end(containerID string) string {
	w.t.Helper()
	status := w.status(containerID)
	if status.State != runtimeapi.ContainerState_CONTAINER_EXITED {
		return status.State.String()
	}
	ran := time.Duration(status.FinishedAt - status.StartedAt)
	if status.StartedAt == 0 {
		ran = 0
	}
	return fmt.Sprintf("%d %s after %s", status.ExitCode, status.Reason, ran)
}

func (w *world) sandboxStatus(id string) *runtimeapi.PodSandboxStatus {
	w.t.Helper()
	response, err := w.client.PodSandboxStatus(context.Background(), id, false)
	require.NoError(w.t, err)
	return response.Status
}
