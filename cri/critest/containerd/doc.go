// Package containerd runs real containerd daemons for tests.
//
// Each daemon has its own root, state, socket, CNI network and images, so that several of them, of several versions and
// from several test processes, run side by side, and beside the machine's own container runtime. It is what the tests
// behind the build tag e2e run on, where critest's runtime in memory serves the others.
//
//	func TestAgent(t *testing.T) {
//		for _, version := range containerd.Versions(t) {
//			t.Run(version, func(t *testing.T) {
//				daemon := containerd.Start(t, version)
//				client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
//				require.NoError(t, err)
//				... pods whose containers run containerd.Busybox ...
//				daemon.Kill()    // containers run on
//				daemon.Restart()
//				daemon.Reboot()  // containers are gone, the runtime remembers them
//			})
//		}
//	}
//
// A daemon may have a disk of its own for its images, of any size (StartOn), and be given images to fill it (Load).
//
// When the test ends, however it ends, nothing of the daemon is left: no process, mount, network namespace, link,
// firewall rule or file. What a test process that was itself killed leaves behind, the next Start clears away.
//
// It needs Linux, root, and the binaries that .ci/install-containerd fetches. It pulls nothing: the images are built
// from a static busybox, and there is no registry. It does not test the container runtime; the package conformance
// states what is relied on.
package containerd
