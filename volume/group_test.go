package volume_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/volume"
)

func TestATreeIsGivenToAGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to a group")
	}
	for name, readOnly := range map[string]bool{"writable": false, "read-only": true} {
		t.Run(name, func(t *testing.T) {
			dir, outside := t.TempDir(), t.TempDir()
			write(t, filepath.Join(outside, "file"))
			require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "sub/file"), nil, 0o600))
			require.NoError(t, os.Symlink(filepath.Join(outside, "file"), filepath.Join(dir, "link")))
			before, err := os.Stat(filepath.Join(outside, "file"))
			require.NoError(t, err)

			require.NoError(t, volume.ChangeGroup(t.Context(), dir, 4242, readOnly, false))
			extra := fs.FileMode(0o060)
			if readOnly {
				extra = 0o040
			}
			for path, mode := range map[string]fs.FileMode{
				"sub/file": 0o600 | extra, "sub": fs.ModeDir | fs.ModeSetgid | 0o710 | extra, ".": fs.ModeDir | fs.ModeSetgid | 0o755 | extra,
			} {
				info, err := os.Lstat(filepath.Join(dir, path))
				require.NoError(t, err)
				assert.Equal(t, mode, info.Mode(), path)
				assert.EqualValues(t, 4242, gidOf(info), path)
			}
			link, err := os.Lstat(filepath.Join(dir, "link"))
			require.NoError(t, err)
			assert.EqualValues(t, 4242, gidOf(link))
			after, err := os.Stat(filepath.Join(outside, "file"))
			require.NoError(t, err)
			assert.Equal(t, before.Mode(), after.Mode())
			assert.Equal(t, gidOf(before), gidOf(after))
		})
	}
}

func TestOnlyAMismatchOfTheRootIsChanged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to a group")
	}
	dir := t.TempDir()
	require.NoError(t, volume.ChangeGroup(t.Context(), dir, 4242, false, true))
	write(t, filepath.Join(dir, "file"))
	require.NoError(t, os.Chown(filepath.Join(dir, "file"), 0, 0))
	gid := func() uint32 {
		info, err := os.Stat(filepath.Join(dir, "file"))
		require.NoError(t, err)
		return gidOf(info)
	}
	require.NoError(t, volume.ChangeGroup(t.Context(), dir, 4242, false, true))
	assert.Zero(t, gid(), "the root is right")
	for name, spoil := range map[string]func() error{
		"group":  func() error { return os.Chown(dir, 0, 0) },
		"mode":   func() error { return os.Chmod(dir, fs.ModeSetgid|0o750) },
		"setgid": func() error { return os.Chmod(dir, 0o775) },
	} {
		require.NoError(t, os.Chown(filepath.Join(dir, "file"), 0, 0))
		require.NoError(t, spoil())
		require.NoError(t, volume.ChangeGroup(t.Context(), dir, 4242, false, true))
		assert.EqualValues(t, 4242, gid(), name)
	}
}

func TestChangingAGroupEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, volume.ChangeGroup(ctx, t.TempDir(), 1, false, false), context.Canceled)
	require.ErrorIs(t, volume.ChangeGroup(t.Context(), "/nothing/there", 1, false, false), fs.ErrNotExist)
}

// What somebody removes meanwhile needs no group.
func TestATreeThatChangesMeanwhile(t *testing.T) {
	dir := t.TempDir()
	stop := make(chan struct{})
	var container sync.WaitGroup
	container.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.MkdirAll(filepath.Join(dir, "a/b"), 0o755)
				_ = os.RemoveAll(filepath.Join(dir, "a"))
			}
		}
	})
	for range 2000 {
		assert.NoError(t, volume.ChangeGroup(t.Context(), dir, int64(os.Getgid()), false, false))
	}
	close(stop)
	container.Wait()
}

// Names are bytes: directories of other systems have names that are not UTF-8.
func TestATreeWhoseNamesAreNoText(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "caf\xe9"), 0o755); errors.Is(err, syscall.EILSEQ) {
		t.Skip("the file system takes no such names")
	} else {
		require.NoError(t, err)
	}
	file := filepath.Join(dir, "caf\xe9/cr\xe8me")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, volume.ChangeGroup(t.Context(), dir, int64(os.Getgid()), false, false))
	assert.Equal(t, fs.FileMode(0o660), modeOf(t, file))
}

func TestWhatIsDeeperThanAPathIsLongDoesNotTakeTheGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files to a group")
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	deep := strings.Repeat(strings.Repeat("d", 255)+"/", 20)
	require.NoError(t, root.MkdirAll(deep, 0o755))
	write(t, filepath.Join(dir, "z"))
	err = volume.ChangeGroup(t.Context(), dir, 4242, false, false)
	require.ErrorIs(t, err, volume.ErrGroupRefused)
	require.ErrorIs(t, err, syscall.ENAMETOOLONG)
	assert.Less(t, len(err.Error()), 512)
	for name, want := range map[string]uint32{deep: 0, deep[:256*10]: 4242, "z": 4242, ".": 4242} {
		info, err := root.Lstat(name)
		require.NoError(t, err)
		assert.Equal(t, want, gidOf(info))
	}
}

// weighing is a context that looks at how much memory is held when it is asked for the
// n-th time.
type weighing struct {
	context.Context
	asked, n int
	held     uint64
}

func (w *weighing) Err() error {
	if w.asked++; w.asked == w.n {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		w.held = stats.HeapAlloc
	}
	return nil
}

// A spool may have millions of files in one directory.
func TestALargeDirectoryThatIsGivenToAGroupIsNotHeldInMemory(t *testing.T) {
	dir := t.TempDir()
	const files = 20_000
	for i := range files {
		require.NoError(t, os.Symlink("/", fmt.Sprintf("%s/a-file-with-a-long-name-%d", dir, i)))
	}
	change := func(n int) *weighing {
		ctx := &weighing{Context: t.Context(), n: n}
		require.NoError(t, volume.ChangeGroup(ctx, dir, int64(os.Getgid()), false, false))
		return ctx
	}
	first := change(1)
	require.GreaterOrEqual(t, first.asked, files)
	assert.Less(t, change(first.asked/2).held, first.held+1<<20)
}
