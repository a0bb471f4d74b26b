// Package conformance states what a node agent relies on from a CRI runtime, as a suite of tests.
//
// The same suite runs against critest's runtime in memory and against real containerd 1.6 and 2.1. Where these differ
// from the suite the fake is wrong; where the real ones differ from each other the suite allows those differences and
// no others, and says so beside the check. It is also for whoever writes a runtime, or a client of one, of their own.
//
//	func TestRuntime(t *testing.T) {
//		conformance.Run(t, conformance.Target{
//			Image:           "registry.example/busybox:1",
//			DisposableImage: "registry.example/busybox:2",
//			MissingImage:    "127.0.0.1:1/missing:1",
//			Connect: func(t *testing.T) conformance.Runtime {
//				client, err := cri.Dial(t.Context(), endpoint, cri.Config{})
//				require.NoError(t, err)
//				return conformance.Runtime{Runtime: client, Images: client, LogDir: t.TempDir()}
//			},
//		})
//	}
//
// Each expectation is a subtest of its own that cleans up after itself, so one alone can be run by name. It never needs
// real time: a runtime in a testing/synctest bubble passes it in virtual time, see Target.Isolate.
//
// It does not test streaming (what is behind the URLs of Exec, Attach and PortForward), security contexts, or what
// container runtimes owe each other; for those there is critest of the cri-tools project.
package conformance
