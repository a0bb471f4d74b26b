package volume

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A container of another pod that has the volume may put a pipe in the place of a
// directory that was just seen. To open it would block for ever.
func TestAPipeInThePlaceOfADirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	_, err = openDir(root, "pipe")
	require.ErrorIs(t, err, syscall.ENOTDIR)
}

// makeDeep makes a directory in a directory, and so on, which no path is long enough for.
func makeDeep(t *testing.T, dir string, depth int) {
	t.Helper()
	at, err := os.OpenRoot(dir)
	require.NoError(t, err)
	for range depth {
		require.NoError(t, at.Mkdir("d", 0o755))
		below, err := at.OpenRoot("d")
		require.NoError(t, err)
		require.NoError(t, at.Close())
		at = below
	}
	require.NoError(t, at.WriteFile("file", nil, 0o644))
	require.NoError(t, at.Close())
}

// By the whole name of each, this takes minutes, and their square for more.
func TestADirectoryThatIsDeepIsRemoved(t *testing.T) {
	dir := t.TempDir()
	volume := filepath.Join(dir, "uid-1/volumes/kubernetes.io~empty-dir/data")
	require.NoError(t, os.MkdirAll(volume, 0o755))
	makeDeep(t, volume, 6_000)
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, removePod(ctx, root, "uid-1"))
	assert.NoDirExists(t, filepath.Join(dir, "uid-1"))
}
