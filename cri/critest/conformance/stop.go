package conformance

import (
	"context"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

func stopExpectations() []expectation {
	return []expectation{
		{"a container that heeds SIGTERM ends by itself, within its grace", stopHeeds},
		{"a container that ignores SIGTERM is killed when its grace is over", stopIgnores},
		{"a container without grace is killed at once", stopAtOnce},
		{"a container in its grace is running", stopRunningMeanwhile},
		{"a second stop shortens the grace of the first", stopShortened},
		{"a stop that its caller gives up does not kill", stopGivenUp},
		{"stopping an exited container changes nothing", stopExited},
		{"stopping a created container changes nothing", stopCreated},
		{"a container is removed in any state", removeAnyState},
		{"a removed container's stop is no error or not found", stopRemoved},
	}
}

const (
	// shortGrace is the shortest grace that CRI knows, in seconds.
	shortGrace = int64(1)
	// longGrace is one that a test does not sit out.
	longGrace = int64(30)
)

func stopHeeds(s *subject) {
	p := s.runPod("heeds")
	for name, code := range map[string]int{"clean": 0, "dirty": 42} {
		// What it prints says that it is ready for the signal.
		program := Program{Out: "ready\n", Lasts: Forever, OnTerm: true, TermCode: code}
		app := s.start(p, name, program)
		s.awaitLog(s.status(app).GetLogPath(), "ready")
		before := time.Now()
		require.NoError(s.t, s.rt.StopContainer(s.ctx, app, longGrace))
		assert.Less(s.t, time.Since(before), 10*time.Second)
		reason := map[int]string{0: "Completed", 42: "Error"}[code]
		s.requireEnd(app, int32(code), reason)
	}
}

func stopIgnores(s *subject) {
	app := s.start(s.runPod("ignores"), "app", Program{Lasts: Forever})
	before := time.Now()
	require.NoError(s.t, s.rt.StopContainer(s.ctx, app, shortGrace))
	assert.GreaterOrEqual(s.t, time.Since(before), time.Second)
	s.requireEnd(app, 137, "Error")
}

func stopAtOnce(s *subject) {
	app := s.start(s.runPod("now"), "app", Program{Lasts: Forever, OnTerm: true})
	require.NoError(s.t, s.rt.StopContainer(s.ctx, app, 0))
	s.requireEnd(app, 137, "Error")
}

func stopRunningMeanwhile(s *subject) {
	app := s.start(s.runPod("meanwhile"), "app", Program{Lasts: Forever})
	stopped := s.stopInBackground(app, 2*shortGrace)
	time.Sleep(time.Second)
	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_RUNNING, s.state(app))
	require.NoError(s.t, <-stopped)
}

func (s *subject) stopInBackground(container string, grace int64) <-chan error {
	stopped := make(chan error, 1)
	go func() { stopped <- s.rt.StopContainer(s.ctx, container, grace) }()
	return stopped
}

func stopShortened(s *subject) {
	app := s.start(s.runPod("shortened"), "app", Program{Lasts: Forever})
	before := time.Now()
	first := s.stopInBackground(app, longGrace)
	time.Sleep(300 * time.Millisecond)
	require.NoError(s.t, s.rt.StopContainer(s.ctx, app, 0))
	require.NoError(s.t, <-first)
	assert.Less(s.t, time.Since(before), 10*time.Second)
	s.requireEnd(app, 137, "Error")
}

// The grace is counted by the call, not by the runtime. An agent that is restarted within it has to stop again.
func stopGivenUp(s *subject) {
	app := s.start(s.runPod("givenup"), "app", Program{Lasts: Forever})
	ctx, cancel := context.WithTimeout(s.ctx, 300*time.Millisecond)
	defer cancel()
	require.Error(s.t, s.rt.StopContainer(ctx, app, shortGrace))
	time.Sleep(1500 * time.Millisecond)
	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_RUNNING, s.state(app))
	require.NoError(s.t, s.rt.StopContainer(s.ctx, app, 0))
	s.requireEnd(app, 137, "Error")
}

func stopExited(s *subject) {
	app := s.finished(s.runPod("exited"), "app", Program{ExitCode: 3})
	before := s.status(app)
	require.NoError(s.t, s.rt.StopContainer(s.ctx, app, longGrace))
	assert.Equal(s.t, before.String(), s.status(app).String())
}

func stopCreated(s *subject) {
	app := s.create(s.runPod("created"), "app", Program{Lasts: Forever})
	require.NoError(s.t, s.rt.StopContainer(s.ctx, app, longGrace))
	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_CREATED, s.state(app))
	require.NoError(s.t, s.rt.StartContainer(s.ctx, app))
	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_RUNNING, s.state(app))
}

func removeAnyState(s *subject) {
	p := s.runPod("removed")
	for _, app := range []string{
		s.create(p, "created", Program{}),
		s.start(p, "running", Program{Lasts: Forever}),
		s.finished(p, "exited", Program{}),
	} {
		require.NoError(s.t, s.rt.RemoveContainer(s.ctx, app))
		_, err := s.rt.ContainerStatus(s.ctx, app, false)
		assert.True(s.t, cri.IsNotFound(err), "%v", err)
	}
	assert.Empty(s.t, s.containers(&runtimeapi.ContainerFilter{PodSandboxId: p.id}))
}

// As for what was never there: containerd 1.6 answers NotFound, newer ones succeed.
func stopRemoved(s *subject) {
	app := s.finished(s.runPod("removed"), "app", Program{})
	require.NoError(s.t, s.rt.RemoveContainer(s.ctx, app))
	err := s.rt.StopContainer(s.ctx, app, shortGrace)
	assert.True(s.t, err == nil || cri.IsNotFound(err), "%v", err)
}
