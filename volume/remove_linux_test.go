package volume

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// tearDown looks for mounts before it removes anything, so a test from outside
// cannot come to what is left when it misses one.
func TestAnotherFileSystemIsNotEntered(t *testing.T) {
	dir := t.TempDir()
	point := filepath.Join(dir, "pod", "mount")
	require.NoError(t, os.MkdirAll(point, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pod", "file"), nil, 0o644))
	if err := unix.Mount("tmpfs", point, "tmpfs", 0, "size=1m"); errors.Is(err, unix.EPERM) {
		t.Skip("mounting needs CAP_SYS_ADMIN")
	} else {
		require.NoError(t, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })
	require.NoError(t, os.WriteFile(filepath.Join(point, "precious"), nil, 0o644))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()

	require.ErrorContains(t, removePod(t.Context(), root, "pod"), point+" is on another file system")
	assert.FileExists(t, filepath.Join(point, "precious"))
	assert.NoFileExists(t, filepath.Join(dir, "pod", "file"), "the rest is removed")
}
