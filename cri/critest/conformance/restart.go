package conformance

import (
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func restartExpectations() []expectation {
	return []expectation{
		{"a restart of the runtime changes neither sandboxes nor containers", restartKeeps},
		{"containers go on, and are used, after a restart of the runtime", restartGoesOn},
		{"a container that ended while the runtime was away has ended", restartEndedMeanwhile},
		{"events end with the runtime and come again after its restart", restartEvents},
		{"a reboot ends everything and forgets nothing", rebootEnds},
		{"a pod runs again after a reboot", rebootRunsAgain},
	}
}

// restart takes the runtime away and waits until its client has it again.
func (s *subject) restart(away time.Duration) {
	s.t.Helper()
	if s.given.Restart == nil {
		s.t.Skip("the runtime cannot be restarted")
	}
	s.given.Restart(away)
	s.awaitService()
}

func (s *subject) reboot() {
	s.t.Helper()
	if s.given.Reboot == nil {
		s.t.Skip("the host cannot be rebooted")
	}
	s.given.Reboot()
	s.awaitService()
}

func (s *subject) awaitService() {
	s.t.Helper()
	s.await("the runtime after its restart", func() bool {
		_, err := s.rt.Status(s.ctx, false)
		return err == nil
	})
}

func restartKeeps(s *subject) {
	ready, notReady := s.runPod("ready"), s.runPod("notready")
	containers := []string{
		s.create(ready, "created", Program{}),
		s.start(ready, "running", Program{Lasts: Forever}),
		s.finished(ready, "exited", Program{ExitCode: 3}),
		s.start(notReady, "killed", Program{Lasts: Forever}),
	}
	require.NoError(s.t, s.rt.StopPodSandbox(s.ctx, notReady.id))
	before := s.all(containers, ready.id, notReady.id)
	s.restart(100 * time.Millisecond)
	assert.Equal(s.t, before, s.all(containers, ready.id, notReady.id))
	assert.Subset(s.t, s.containers(nil), containers)
}

// all are the statuses of containers and sandboxes, to be compared.
func (s *subject) all(containers []string, sandboxes ...string) []string {
	s.t.Helper()
	var all []string
	for _, id := range containers {
		all = append(all, s.status(id).String())
	}
	for _, id := range sandboxes {
		all = append(all, s.sandboxStatus(id).String())
	}
	return all
}

func restartGoesOn(s *subject) {
	p := s.runPod("goeson")
	created := s.create(p, "created", Program{Lasts: Forever})
	running := s.start(p, inContainer, Program{Lasts: Forever, OnTerm: true, TermCode: 42})
	s.restart(100 * time.Millisecond)

	require.NoError(s.t, s.rt.StartContainer(s.ctx, created))
	stdout, _, err := s.execIn(running, Program{Out: "here"}, 0)
	require.NoError(s.t, err)
	assert.Equal(s.t, "here", stdout)
	require.NoError(s.t, s.rt.StopContainer(s.ctx, running, longGrace))
	s.requireEnd(running, 42, "Error")
	s.create(p, "new", Program{})
}

// containerd 1.6 knows the exit code then; newer ones have lost it, and say 255 and Unknown.
func restartEndedMeanwhile(s *subject) {
	p := s.runPod("meanwhile")
	app := s.start(p, "app", Program{Lasts: 500 * time.Millisecond, ExitCode: 3})
	s.restart(1500 * time.Millisecond)
	status := s.awaitState(app, runtimeapi.ContainerState_CONTAINER_EXITED)
	if status.GetReason() == "Unknown" {
		s.requireEnd(app, 255, "Unknown")
	} else {
		s.requireEnd(app, 3, "Error")
	}
	assert.Equal(s.t, runtimeapi.PodSandboxState_SANDBOX_READY, s.sandboxStatus(p.id).GetState())
}

func restartEvents(s *subject) {
	before := s.record()
	p := s.runPod("events")
	app := s.start(p, "app", Program{Lasts: Forever})
	s.restart(100 * time.Millisecond)
	<-before.ended
	require.Error(s.t, before.err)

	after := s.record()
	require.NoError(s.t, s.rt.StopContainer(s.ctx, app, 0))
	s.await("an event after the restart", func() bool {
		events := after.of(app)
		return len(events) > 0 && events[len(events)-1].GetContainerEventType() == stoppedEvent
	})
}

func rebootEnds(s *subject) {
	ready := s.runPod("ready")
	host := s.podConfig("host")
	host.Hostname = ""
	host.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_NODE
	inHost := s.run(host)
	running := s.start(ready, "running", Program{Lasts: Forever})
	exited := s.finished(ready, "exited", Program{ExitCode: 3})
	exitedBefore, runningBefore := s.status(exited).String(), s.status(running)
	s.reboot()

	for _, p := range []pod{ready, inHost} {
		status := s.sandboxStatus(p.id)
		assert.Equal(s.t, runtimeapi.PodSandboxState_SANDBOX_NOTREADY, status.GetState())
		assert.Equal(s.t, p.config.Metadata.String(), status.GetMetadata().String())
		assert.Empty(s.t, status.GetNetwork().GetIp())
	}
	s.requireEnd(running, 255, "Unknown")
	assert.Equal(s.t, runningBefore.GetStartedAt(), s.status(running).GetStartedAt())
	assert.Equal(s.t, exitedBefore, s.status(exited).String())
	assert.NotNil(s.t, s.image(s.target.Image))
}

func rebootRunsAgain(s *subject) {
	p := s.runPod("again")
	app := s.start(p, "app", Program{Lasts: Forever})
	s.reboot()

	require.NoError(s.t, s.rt.StopContainer(s.ctx, app, shortGrace))
	require.NoError(s.t, s.rt.StopPodSandbox(s.ctx, p.id))
	config := s.podConfig("again")
	config.Metadata.Attempt++
	next := s.run(config)
	assert.NotEmpty(s.t, s.sandboxStatus(next.id).GetNetwork().GetIp())
	require.NoError(s.t, s.rt.RemovePodSandbox(s.ctx, p.id))
	s.requireGone(p, app)
	s.requireEnd(s.finished(next, "app", Program{}), 0, "Completed")
}
