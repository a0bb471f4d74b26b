package conformance

import (
	"errors"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/cri"
)

func execExpectations() []expectation {
	return []expectation{
		{"a command gives its output", execOutput},
		{"a command gives its exit code and its output", execExitCode},
		{"a command that takes too long is ended", execTimeout},
		{"a missing command is an error, not an exit code", execMissing},
		{"a command needs a running container", execNotRunning},
		{"a command ends with its container", execContainerEnds},
	}
}

// inContainer is a running container in which commands are executed.
const inContainer = "app"

func (s *subject) execIn(container string, program Program, timeout time.Duration) (stdout, stderr string, err error) {
	command := program.Command()
	if s.given.ScriptExec != nil {
		s.given.ScriptExec(inContainer, command, program)
	}
	out, errs, err := s.rt.ExecSync(s.ctx, container, command, timeout)
	return string(out), string(errs), err
}

func execOutput(s *subject) {
	app := s.start(s.runPod("exec"), inContainer, Program{Lasts: Forever})
	for _, timeout := range []time.Duration{0, 10 * time.Second} {
		stdout, stderr, err := s.execIn(app, Program{Out: "to stdout\n", Err: "to stderr"}, timeout)
		require.NoError(s.t, err)
		assert.Equal(s.t, "to stdout\n", stdout)
		assert.Equal(s.t, "to stderr", stderr)
	}
}

func execExitCode(s *subject) {
	app := s.start(s.runPod("exec"), inContainer, Program{Lasts: Forever})
	stdout, stderr, err := s.execIn(app, Program{Out: "one", Err: "two", ExitCode: 7}, 0)
	var exit *cri.ExitError
	require.ErrorAs(s.t, err, &exit)
	assert.Equal(s.t, 7, exit.Code)
	assert.Equal(s.t, "one", stdout)
	assert.Equal(s.t, "two", stderr)
}

func execTimeout(s *subject) {
	app := s.start(s.runPod("exec"), inContainer, Program{Lasts: Forever})
	before := time.Now()
	_, _, err := s.execIn(app, Program{Out: "lost", Lasts: 30 * time.Second}, time.Second)
	require.ErrorIs(s.t, err, cri.ErrExecTimeout)
	assert.GreaterOrEqual(s.t, time.Since(before), time.Second)
	assert.Less(s.t, time.Since(before), 10*time.Second)
}

func execMissing(s *subject) {
	app := s.start(s.runPod("exec"), inContainer, Program{Lasts: Forever})
	_, _, err := s.execIn(app, Program{Missing: true}, 0)
	require.ErrorContains(s.t, err, missingProgram)
	var exit *cri.ExitError
	assert.NotErrorAs(s.t, err, &exit)
}

// The code for an exited container is NotFound in containerd 1.6, Unknown in newer ones.
func execNotRunning(s *subject) {
	p := s.runPod("exec")
	for _, app := range []string{s.create(p, inContainer, Program{}), s.finished(p, "exited", Program{})} {
		_, _, err := s.execIn(app, Program{}, time.Second)
		require.Error(s.t, err)
		var exit *cri.ExitError
		assert.NotErrorAs(s.t, err, &exit)
		assert.NotErrorIs(s.t, err, cri.ErrExecTimeout)
	}
}

// It has the exit code of a killed process, or no code at all when the container was gone before the command had begun.
func execContainerEnds(s *subject) {
	app := s.start(s.runPod("exec"), inContainer, Program{Lasts: Forever})
	stopped := make(chan error, 1)
	go func() {
		time.Sleep(time.Second)
		stopped <- s.rt.StopContainer(s.ctx, app, 0)
	}()
	before := time.Now()
	_, _, err := s.execIn(app, Program{Lasts: 30 * time.Second}, 20*time.Second)
	require.Error(s.t, err)
	assert.Less(s.t, time.Since(before), 10*time.Second)
	var exit *cri.ExitError
	if errors.As(err, &exit) {
		assert.Equal(s.t, 137, exit.Code)
	}
	require.NoError(s.t, <-stopped)
}
