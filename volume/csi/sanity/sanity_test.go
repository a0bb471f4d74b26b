//go:build linux

package sanity_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/edged-project/edged/volume/csi/csitest"
)

// The driver that the tests of the package csi mount volumes with is a driver by the
// rules of CSI.
func TestDriverIsSane(t *testing.T) {
	dir, err := os.MkdirTemp("", "csi") // short, as paths of sockets must be
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	// What a failed test leaves mounted goes with this mount.
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); errors.Is(err, unix.EPERM) {
		t.Skip("mounting needs CAP_SYS_ADMIN")
	} else {
		require.NoError(t, err)
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	cfg := csitest.Config{Name: "dirs.example.org", NodeID: "node-1", Data: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "csi.sock")}
	go func() { ended <- csitest.Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})

	config := sanity.NewTestConfig()
	config.Address = "unix:" + cfg.Socket
	config.TargetPath, config.StagingPath = filepath.Join(dir, "target"), filepath.Join(dir, "staging")
	sanity.Test(t, config)
}
