// Package critest is a container runtime in memory. It serves the real CRI v1
// over real gRPC, so that whatever talks to containerd talks to it: the agent
// under test, the kubelet's own client, crictl.
//
// Inside a testing/synctest bubble it serves an in-memory connection, and a
// test of ten hours of crash-looping takes milliseconds:
//
//	synctest.Test(t, func(t *testing.T) {
//		rt := critest.Start(t, critest.Config{Scripts: []critest.Script{{
//			Container: "app",
//			Runs:      []critest.Run{{Duration: 3 * time.Second, ExitCode: 1}, {}}, // fails once, then runs for ever
//		}}})
//		startMyAgent(t, rt.Client(t))
//		time.Sleep(time.Hour)
//		require.Equal(t, 1, rt.Count("RunPodSandbox"))
//	})
//
// Outside of a bubble Serve takes any net.Listener, a unix socket for one, and
// Dial gives a program its own runtime without a socket.
//
// What happens is scripted: how containers run and end (Script), what commands
// answer (ExecScript), what the registry holds (RemoteImage), which calls fail,
// hang or are slow (Fault), which events are lost, doubled or late
// (ScriptEvents). The world can be hit from outside: Exit, OOMKill, Vanish,
// SetUnknown, KillSandbox, VanishSandbox, Restart of the runtime, Reboot of the
// host. Every call is in the trace (Calls, Count). A container that no script
// is for is simulated from its command when that is a shell demo such as
// `sh -c "echo hi; sleep 3; exit 1"`, and runs for ever otherwise.
//
// Guarantees: it answers as containerd does, in states, codes, names and
// reasons (the same suite, critest/conformance, runs against both); Profile
// says as which containerd. No goroutine per container or pod: thousands are
// cheap. After Close no goroutine is left. A Runtime used in a bubble must be
// made in it.
//
// It does not run anything, mount anything or have a network: pod addresses are
// only numbers, Exec, Attach and PortForward hand out Config.StreamingURL, and all
// that it writes are container logs and missing folders to mount (Config.WriteLogs),
// and termination messages. Checkpoints are Unimplemented.
package critest
