package volume

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

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
	_, err = readDir(root, "pipe", -1)
	require.ErrorIs(t, err, syscall.ENOTDIR)
}
