package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzSubPath proves that what is opened by whatever name, through whatever links,
// is in the volume, and that nothing outside of it is made.
func FuzzSubPath(f *testing.F) {
	for _, seed := range [][3]string{
		{"a/b", "b", ".."}, {"b/x", "/", "a"}, {"b", "../../outside", "b"}, {"c/c/c", "a", "../b"}, {"b", "c/../..", "a"}, {"./b/.", "./c", "a/../a"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, name, first, second string) {
		dir := t.TempDir()
		volume := filepath.Join(dir, "volume")
		require.NoError(t, os.MkdirAll(filepath.Join(volume, "a/a"), 0o755))
		require.NoError(t, os.Mkdir(filepath.Join(dir, "outside"), 0o755))
		_ = os.Symlink(first, filepath.Join(volume, "b")) // not of an empty target
		_ = os.Symlink(second, filepath.Join(volume, "a/c"))
		_ = os.Symlink(filepath.Join("a", second), filepath.Join(volume, "c"))
		part, err := openPart(volume, name)
		if err == nil {
			defer part.Close()
			found, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", part.Fd()))
			require.NoError(t, err)
			require.True(t, found == volume || strings.HasPrefix(found, volume+"/"), found)
		}
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 2)
		outside, err := os.ReadDir(filepath.Join(dir, "outside"))
		require.NoError(t, err)
		require.Empty(t, outside)
	})
}
