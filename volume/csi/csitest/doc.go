// Package csitest is a small CSI driver for tests: its volumes are directories that
// it really bind-mounts.
//
//	err := csitest.Run(ctx, csitest.Config{
//		Name:     "dirs.example.org",
//		NodeID:   "node-1",
//		Data:     "/tmp/test/data",                            // volumes live here
//		Socket:   "/tmp/test/csi.sock",                        // CSI
//		Registry: "/tmp/test/root/plugins_registry/dirs.sock", // registration, as node-driver-registrar has it
//	})
//
// It serves the identity and node services, volumes that are staged as well as inline
// ones, and of the controller service as much as csi-sanity needs to make volumes,
// which has proven it: see the module in ../sanity. It keeps no state but
// what is in its folder and the kernel's mount table, so that it may be killed at any
// time and started again. It needs Linux and the right to mount. It has no quota,
// snapshots or security, and is nothing to keep data with.
package csitest
