package critest_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/cri/critest/conformance"
)

// The profiles have to differ only where the suite lets runtimes differ.
var profiles = map[string]critest.Profile{
	"newest":         critest.Newest,
	"containerd 2.1": critest.Containerd21,
	"containerd 1.6": critest.Containerd16,
}

func TestConformanceInABubble(t *testing.T) {
	for name, profile := range profiles {
		t.Run(name, func(t *testing.T) {
			conformance.Run(t, target(synctest.Test, func(t *testing.T) conformance.Runtime {
				rt := critest.Start(t, conforming(profile))
				return scripted(rt, connected(t, rt, rt.Client(t)))
			}))
		})
	}
}

// Here nothing but the commands themselves says what the containers do.
func TestConformanceOfSimulatedCommands(t *testing.T) {
	conformance.Run(t, target(synctest.Test, func(t *testing.T) conformance.Runtime {
		rt := critest.Start(t, conforming(critest.Newest))
		simulated := connected(t, rt, rt.Client(t))
		unscripted := scripted(rt, simulated)
		simulated.ScriptContainer = func(container string, p conformance.Program) {
			if p.Missing || p == (conformance.Program{}) { // the suite may leave out the command of the latter
				unscripted.ScriptContainer(container, p)
			}
		}
		simulated.ScriptExec = func(container string, command []string, p conformance.Program) {
			if p.Missing {
				unscripted.ScriptExec(container, command, p)
			}
		}
		return simulated
	}))
}

func TestConformanceOverAUnixSocket(t *testing.T) {
	t.Parallel() // it mostly waits, in real time
	inRealTime := func(t *testing.T, expectation func(t *testing.T)) { expectation(t) }
	conformance.Run(t, target(inRealTime, func(t *testing.T) conformance.Runtime {
		rt := critest.Start(t, conforming(critest.Newest))
		client, err := cri.Dial(t.Context(), serve(t, rt), cri.Config{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, client.Close(context.Background())) })
		return scripted(rt, connected(t, rt, client))
	}))
}

const (
	conformingImage = "registry.test/busybox:1"
	disposableImage = "registry.test/busybox:2"
)

func target(isolate func(*testing.T, func(*testing.T)), connect func(*testing.T) conformance.Runtime) conformance.Target {
	return conformance.Target{
		Image:           conformingImage,
		DisposableImage: disposableImage,
		MissingImage:    "registry.test/missing:1",
		Isolate:         isolate,
		Connect:         connect,
	}
}

func conforming(profile critest.Profile) critest.Config {
	return critest.Config{
		Profile:      profile,
		Images:       []critest.Image{{Name: conformingImage}, {Name: disposableImage}},
		RegistryOnly: true,
		WriteLogs:    true,
	}
}

// connected is the runtime for one expectation. A sandbox takes a while, as the
// suite has it that a subscription is in force by the time that one is there.
func connected(t *testing.T, rt *critest.Runtime, client *cri.Client) conformance.Runtime {
	rt.Inject(critest.Fault{Method: "RunPodSandbox", Delay: 10 * time.Millisecond})
	return conformance.Runtime{
		Runtime: client,
		Images:  client,
		LogDir:  t.TempDir(),
		Restart: func(away time.Duration) {
			rt.Restart(away)
			time.Sleep(away)
		},
		Reboot: func() { rt.Reboot(critest.RebootOptions{}) },
	}
}

// scripted has the runtime imitate what the suite's programs do.
func scripted(rt *critest.Runtime, given conformance.Runtime) conformance.Runtime {
	given.ScriptContainer = func(container string, p conformance.Program) {
		rt.AddScript(critest.Script{Container: container, Runs: []critest.Run{runOf(p)}})
	}
	given.ScriptExec = func(container string, command []string, p conformance.Program) {
		run := runOf(p)
		rt.AddExec(critest.ExecScript{
			Container: container,
			Command:   strings.Join(command, " "),
			Results: []critest.ExecResult{{
				Stdout: p.Out, Stderr: p.Err, ExitCode: run.ExitCode,
				Delay: run.Duration, Hang: run.Duration == 0, FailStart: run.FailStart,
			}},
		})
	}
	return given
}

func runOf(p conformance.Program) critest.Run {
	run := critest.Run{
		Duration: max(p.Lasts, time.Millisecond),
		ExitCode: int32(p.ExitCode),
		Term:     critest.Term{Ignore: !p.OnTerm, ExitCode: int32(p.TermCode)},
	}
	if p.Lasts == conformance.Forever {
		run.Duration = 0
	}
	if p.Missing {
		run.FailStart = `exec: "/no/such/program": stat /no/such/program: no such file or directory`
	}
	if p.Out != "" {
		text, finished := strings.CutSuffix(p.Out, "\n")
		run.Logs = append(run.Logs, critest.Log{Text: text, Unfinished: !finished})
	}
	if p.Err != "" {
		text, finished := strings.CutSuffix(p.Err, "\n")
		run.Logs = append(run.Logs, critest.Log{Text: text, Unfinished: !finished, Stderr: true})
	}
	if p.Every > 0 {
		run.Logs = append(run.Logs, critest.Log{Text: conformance.Tick, Every: p.Every})
	}
	return run
}

// serve serves the runtime on a unix socket until the test ends, and returns
// the endpoint.
func serve(t *testing.T, rt *critest.Runtime) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cri.sock")
	listener, err := net.Listen("unix", path)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- rt.Serve(listener) }()
	t.Cleanup(func() {
		rt.Close()
		require.NoError(t, errors.Join(<-served))
	})
	return path
}
