package conformance

import (
	"testing"
	"time"

	internalapi "k8s.io/cri-api/pkg/apis"
)

// Target is a CRI runtime that is to be held to the expectations.
type Target struct {
	// Image is an image that is present and has a Unix shell as /bin/sh. Required.
	Image string
	// DisposableImage is another one that is present, and that the suite removes. Required.
	DisposableImage string
	// MissingImage is a well-formed name of an image that is not present and that cannot be pulled. Required.
	MissingImage string
	// Connect returns the runtime for one expectation: the same for all, or a fresh one for each. What it returns must
	// be usable until the test t has ended. Required.
	Connect func(t *testing.T) Runtime
	// Isolate runs one expectation, by calling it once with the t it got or with one made of it. Default: just calls
	// it. A runtime in memory passes synctest.Test.
	Isolate func(t *testing.T, expectation func(t *testing.T))
}

// Runtime is one runtime as the suite uses it.
type Runtime struct {
	// Runtime and Images are clients of the two services. They reconnect by themselves after a Restart. Required.
	Runtime internalapi.RuntimeService
	Images  internalapi.ImageManagerService
	// LogDir is a folder in which the runtime writes container logs and finds the folders to mount. Required.
	LogDir string
	// Restart takes the runtime's daemon down for a while, while containers go on, and blocks until it serves again.
	// Expectations about it are skipped when it is nil.
	Restart func(away time.Duration)
	// Reboot takes the whole host down, with its containers, and blocks until the runtime serves again. Expectations
	// about it are skipped when it is nil.
	Reboot func()
	// ScriptContainer tells a runtime that runs no real processes what the container with this name is to do. It is
	// called before the container is created. Nil for a runtime that runs Program.Command.
	ScriptContainer func(container string, program Program)
	// ScriptExec is the same for a command executed in that container.
	ScriptExec func(container string, command []string, program Program)
}

// expectation is one behaviour that an agent relies on. The name says which.
type expectation struct {
	name  string
	check func(s *subject)
}

// Run holds the target to every expectation, one after the other. It blocks until the last one has ended.
func Run(t *testing.T, target Target) {
	isolate := target.Isolate
	if isolate == nil {
		isolate = func(t *testing.T, expectation func(t *testing.T)) { expectation(t) }
	}
	for _, chapter := range [][]expectation{
		runtimeExpectations(),
		sandboxExpectations(),
		containerExpectations(),
		stopExpectations(),
		execExpectations(),
		logExpectations(),
		imageExpectations(),
		eventExpectations(),
		restartExpectations(),
	} {
		for _, e := range chapter {
			t.Run(e.name, func(t *testing.T) {
				isolate(t, func(t *testing.T) { e.check(newSubject(t, target)) })
			})
		}
	}
}
