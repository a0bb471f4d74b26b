package conformance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// patience bounds the wait for something that is to happen soon.
	patience = 20 * time.Second
	// beat is the pause between two looks at it.
	beat = 20 * time.Millisecond

	namespace = "conformance"
)

// subject is a runtime during one expectation, with shorthands for what most of them do.
type subject struct {
	t       *testing.T
	ctx     context.Context
	target  Target
	rt      internalapi.RuntimeService
	images  internalapi.ImageManagerService
	given   Runtime
	started time.Time // before anything was made
}

// newSubject connects. The sandboxes that are made in the namespace are removed when the test ends.
func newSubject(t *testing.T, target Target) *subject {
	given := target.Connect(t)
	s := &subject{t: t, ctx: context.Background(), target: target, given: given, rt: given.Runtime, images: given.Images, started: time.Now()}
	t.Cleanup(s.removePods)
	return s
}

// removePods tries until it succeeds: containerd fails to remove the sandbox of a container that ends that moment.
func (s *subject) removePods() {
	s.await("the removal of the sandboxes", func() bool {
		sandboxes, err := s.rt.ListPodSandbox(s.ctx, nil)
		for _, sandbox := range sandboxes {
			if sandbox.GetMetadata().GetNamespace() == namespace {
				err = errors.Join(err, s.rt.RemovePodSandbox(s.ctx, sandbox.GetId()))
			}
		}
		return err == nil
	})
}

// pod is a sandbox that runs, with the config that it was made of.
type pod struct {
	id     string
	config *runtimeapi.PodSandboxConfig
}

// podConfig is a pod with a network of its own. Its log folder exists.
func (s *subject) podConfig(name string) *runtimeapi.PodSandboxConfig {
	logs := filepath.Join(s.given.LogDir, name)
	require.NoError(s.t, os.MkdirAll(logs, 0o755))
	return &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: name, Namespace: namespace, Uid: "uid-of-" + name, Attempt: 1},
		Hostname:     name,
		LogDirectory: logs,
		Labels:       map[string]string{"pod": name},
		Annotations:  map[string]string{"example.org/note": "of " + name},
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
}

func (s *subject) run(config *runtimeapi.PodSandboxConfig) pod {
	s.t.Helper()
	id, err := s.rt.RunPodSandbox(s.ctx, config, "")
	require.NoError(s.t, err)
	require.NotEmpty(s.t, id)
	return pod{id: id, config: config}
}

// runPod is a pod as podConfig has it.
func (s *subject) runPod(name string) pod {
	s.t.Helper()
	return s.run(s.podConfig(name))
}

// containerConfig is a container that does as the program says.
func (s *subject) containerConfig(name string, program Program) *runtimeapi.ContainerConfig {
	if s.given.ScriptContainer != nil {
		s.given.ScriptContainer(name, program)
	}
	return &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: name, Attempt: 1},
		Image:       &runtimeapi.ImageSpec{Image: s.target.Image, UserSpecifiedImage: s.target.Image},
		Command:     program.Command(),
		Labels:      map[string]string{"container": name},
		Annotations: map[string]string{"example.org/note": "of " + name},
		LogPath:     name + ".log",
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: &runtimeapi.LinuxContainerResources{CpuShares: 100},
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
			},
		},
	}
}

func (s *subject) createFrom(p pod, config *runtimeapi.ContainerConfig) string {
	s.t.Helper()
	id, err := s.rt.CreateContainer(s.ctx, p.id, config, p.config)
	require.NoError(s.t, err)
	require.NotEmpty(s.t, id)
	return id
}

func (s *subject) create(p pod, name string, program Program) string {
	s.t.Helper()
	return s.createFrom(p, s.containerConfig(name, program))
}

// start creates a container and starts it.
func (s *subject) start(p pod, name string, program Program) string {
	s.t.Helper()
	id := s.create(p, name, program)
	require.NoError(s.t, s.rt.StartContainer(s.ctx, id))
	return id
}

// finished starts a container and waits for its end.
func (s *subject) finished(p pod, name string, program Program) string {
	s.t.Helper()
	id := s.start(p, name, program)
	s.awaitState(id, runtimeapi.ContainerState_CONTAINER_EXITED)
	return id
}

func (s *subject) status(container string) *runtimeapi.ContainerStatus {
	s.t.Helper()
	answer, err := s.rt.ContainerStatus(s.ctx, container, false)
	require.NoError(s.t, err)
	return answer.GetStatus()
}

func (s *subject) state(container string) runtimeapi.ContainerState {
	s.t.Helper()
	return s.status(container).GetState()
}

func (s *subject) sandboxStatus(sandbox string) *runtimeapi.PodSandboxStatus {
	s.t.Helper()
	answer, err := s.rt.PodSandboxStatus(s.ctx, sandbox, false)
	require.NoError(s.t, err)
	return answer.GetStatus()
}

// sandboxes are the IDs that a filter finds.
func (s *subject) sandboxes(filter *runtimeapi.PodSandboxFilter) []string {
	s.t.Helper()
	items, err := s.rt.ListPodSandbox(s.ctx, filter)
	require.NoError(s.t, err)
	ids := []string{}
	for _, item := range items {
		ids = append(ids, item.GetId())
	}
	return ids
}

// containers are the IDs that a filter finds.
func (s *subject) containers(filter *runtimeapi.ContainerFilter) []string {
	s.t.Helper()
	items, err := s.rt.ListContainers(s.ctx, filter)
	require.NoError(s.t, err)
	ids := []string{}
	for _, item := range items {
		ids = append(ids, item.GetId())
	}
	return ids
}

func (s *subject) awaitState(container string, state runtimeapi.ContainerState) *runtimeapi.ContainerStatus {
	s.t.Helper()
	s.await(state.String(), func() bool { return s.state(container) == state })
	return s.status(container)
}

// await looks again and again until what is awaited has come.
func (s *subject) await(what string, come func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !come(); time.Sleep(beat) {
		require.True(s.t, time.Now().Before(deadline), "waited in vain: %s", what)
	}
}

// requireEnd holds an ended container to how it ended.
func (s *subject) requireEnd(container string, exitCode int32, reason string) {
	s.t.Helper()
	status := s.status(container)
	require.Equal(s.t, runtimeapi.ContainerState_CONTAINER_EXITED, status.GetState())
	require.Equal(s.t, exitCode, status.GetExitCode())
	require.Equal(s.t, reason, status.GetReason())
	require.Positive(s.t, status.GetFinishedAt())
}

// requireNow holds a time of CRI, in nanoseconds, to lie between the start of the expectation and now.
func (s *subject) requireNow(nanoseconds int64) {
	s.t.Helper()
	at := time.Unix(0, nanoseconds)
	require.False(s.t, at.Before(s.started), "%v is before %v", at, s.started)
	require.False(s.t, at.After(time.Now()), "%v has not come", at)
}
