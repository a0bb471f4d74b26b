package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func payloadOf(files map[string]string) payload {
	p := make(payload)
	for name, data := range files {
		p[name] = file{data: []byte(data), mode: 0o644}
	}
	return p
}

// quickDir is a directory that is gone after the test, in memory if there is such a
// place: each step waits for the disk.
func quickDir(t interface {
	require.TestingT
	Cleanup(func())
}) string {
	place := "/dev/shm"
	if _, err := os.Stat(place); err != nil {
		place = ""
	}
	dir, err := os.MkdirTemp(place, "volume")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// shown is what the volume shows: the files that a reader finds by the names in it.
func shown(t require.TestingT, dir string) map[string]string {
	found := make(map[string]string)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), "..") {
			continue
		}
		read(t, filepath.Join(dir, entry.Name()), entry.Name(), found)
	}
	return found
}

// read adds the files at or below the path, through links, to found. What is a link
// to nothing is not there.
func read(t require.TestingT, path, name string, found map[string]string) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	require.NoError(t, err)
	if !info.IsDir() {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		found[name] = string(data)
		return
	}
	entries, err := os.ReadDir(path)
	require.NoError(t, err)
	for _, entry := range entries {
		read(t, filepath.Join(path, entry.Name()), name+"/"+entry.Name(), found)
	}
}

// content is what ..data holds.
func content(t require.TestingT, dir string) map[string]string {
	found := make(map[string]string)
	entries, err := os.ReadDir(filepath.Join(dir, dataLink))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	for _, entry := range entries {
		read(t, filepath.Join(dir, dataLink, entry.Name()), entry.Name(), found)
	}
	return found
}

// requireClean checks that nothing is in the volume but its content, and returns
// the name of the directory that holds it.
func requireClean(t require.TestingT, dir string, files map[string]string) string {
	require.Equal(t, files, shown(t, dir))
	target, err := os.Readlink(filepath.Join(dir, dataLink))
	require.NoError(t, err)
	own := map[string]bool{dataLink: true, target: true}
	for top := range payloadOf(files).tops() {
		own[top] = true
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		require.True(t, own[entry.Name()], "%s is left", entry.Name())
	}
	require.Len(t, entries, len(own))
	return target
}

var (
	before = map[string]string{"both": "old", "gone": "old", "dir/both": "old", "dir/gone": "old", "olddir/x": "old"}
	after  = map[string]string{"both": "new", "came": "new", "dir/both": "new", "dir/came": "new", "newdir/deep/x": "new"}
)

func TestTheContentOfAVolumeIsReplaced(t *testing.T) {
	dir := quickDir(t)
	w := writer{dir: dir}
	for _, files := range []map[string]string{before, after, {}, before} {
		require.NoError(t, w.write(payloadOf(files)))
		requireClean(t, dir, files)
	}
	link, err := os.Readlink(filepath.Join(dir, "both"))
	require.NoError(t, err)
	assert.Equal(t, "..data/both", link)
	target, err := os.Readlink(filepath.Join(dir, "..data"))
	require.NoError(t, err)
	assert.Regexp(t, `^\.\.\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d\.\d+$`, target)
}

func TestTheSameContentIsNotWrittenAgain(t *testing.T) {
	dir := quickDir(t)
	require.NoError(t, (&writer{dir: dir}).write(payloadOf(before)))
	steps := 0
	w := writer{dir: dir, disk: disk{before: func(string, string) error { steps++; return nil }}}
	files := payloadOf(before)
	require.NoError(t, w.write(files))
	files["both"] = file{data: []byte("old"), mode: 0o600}
	require.NoError(t, w.write(files), "a mode is no content")
	assert.Zero(t, steps)
}

func TestModesDoNotDependOnTheUmask(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := quickDir(t)
	require.NoError(t, (&writer{dir: dir}).write(payload{"open": {mode: 0o666}, "d/closed": {mode: 0o400}}))
	for name, mode := range map[string]fs.FileMode{"open": 0o666, "d/closed": 0o400, "d": 0o755, "..data": 0o755} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), name)
	}
}

var errCut = errors.New("power cut")

// cutAt is a disk that dies before the step of this number, for good.
func cutAt(step int) (d disk, count *int) {
	count = new(int)
	return disk{before: func(string, string) error {
		*count++
		if *count > step {
			return errCut
		}
		return nil
	}}, count
}

// A crash before any step leaves the whole old content or the whole new one, and
// whatever is written next, by an agent that knows nothing, makes it complete.
func TestACrashAtAnyStep(t *testing.T) {
	for name, from := range map[string]map[string]string{"update": before, "first": nil, "from empty": {}, "for a group": before} {
		t.Run(name, func(t *testing.T) {
			var group *int64
			if name == "for a group" {
				if os.Geteuid() != 0 {
					t.Skip("only root gives files to a group")
				}
				group = new(int64(4242))
			}
			d, steps := cutAt(1 << 20)
			start := func(d disk) (string, error) {
				dir := quickDir(t)
				if from != nil {
					require.NoError(t, (&writer{dir: dir, group: group}).write(payloadOf(from)))
				}
				return dir, (&writer{dir: dir, disk: d, group: group}).write(payloadOf(after))
			}
			_, err := start(d)
			require.NoError(t, err)
			require.Greater(t, *steps, 20)
			for step := range *steps {
				for next, files := range map[string]map[string]string{"new again": after, "the old": before, "none": {}} {
					d, _ := cutAt(step)
					dir, err := start(d)
					require.ErrorIs(t, err, errCut)
					seen := content(t, dir)
					require.Equal(t, fmt.Sprint(seen), fmt.Sprint(shown(t, dir)), "step %d", step)
					if fmt.Sprint(seen) != fmt.Sprint(from) {
						require.Equal(t, after, seen, "step %d", step)
					}
					require.NoError(t, (&writer{dir: dir, group: group}).write(payloadOf(files)), "step %d, then %s", step, next)
					requireClean(t, dir, files)
				}
			}
		})
	}
}

// Two crashes in a row, at any two steps.
func TestACrashOfTheRepair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir := quickDir(t)
		contents := []map[string]string{before, after, {}, {"both": "third"}}
		last := map[string]string(nil)
		for range rapid.IntRange(1, 6).Draw(t, "writes") {
			next := rapid.SampledFrom(contents).Draw(t, "content")
			d, _ := cutAt(rapid.IntRange(0, 60).Draw(t, "cut"))
			err := (&writer{dir: dir, disk: d}).write(payloadOf(next))
			seen := content(t, dir)
			require.Equal(t, fmt.Sprint(seen), fmt.Sprint(shown(t, dir)))
			if err == nil {
				requireClean(t, dir, next)
			} else if fmt.Sprint(seen) != fmt.Sprint(last) {
				require.Equal(t, next, seen)
			}
			last = seen
		}
		require.NoError(t, (&writer{dir: dir}).write(payloadOf(after)))
		requireClean(t, dir, after)
	})
}

// What a power cut may leave that no step does: files that were cut short, a link to
// nothing, rubbish in the volume's own names.
func TestLeftoversOfAPowerCut(t *testing.T) {
	for name, spoil := range map[string]func(dir, current string) error{
		"file cut short":    func(_, current string) error { return os.Truncate(filepath.Join(current, "both"), 1) },
		"file missing":      func(_, current string) error { return os.Remove(filepath.Join(current, "dir/both")) },
		"directory missing": func(_, current string) error { return os.RemoveAll(current) },
		"data link missing": func(dir, _ string) error { return os.Remove(filepath.Join(dir, dataLink)) },
		"link missing":      func(dir, _ string) error { return os.Remove(filepath.Join(dir, "both")) },
		"new link":          func(dir, _ string) error { return os.Symlink("nothing", filepath.Join(dir, newLink)) },
		"half a directory": func(dir, _ string) error {
			return os.MkdirAll(filepath.Join(dir, "..2026_11_26_00_00_00.1/dir"), 0o700)
		},
		"data link leads out": func(dir, _ string) error {
			if err := os.Remove(filepath.Join(dir, dataLink)); err != nil {
				return err
			}
			return os.Symlink("/", filepath.Join(dir, dataLink))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := quickDir(t)
			require.NoError(t, (&writer{dir: dir}).write(payloadOf(before)))
			current, err := filepath.EvalSymlinks(filepath.Join(dir, dataLink))
			require.NoError(t, err)
			require.NoError(t, spoil(dir, current))
			require.NoError(t, (&writer{dir: dir}).write(payloadOf(before)))
			requireClean(t, dir, before)
		})
	}
}

// Any step may fail without the agent dying, as on a full disk. Then the old content
// is there, whole, and the attempt is gone.
func TestAFailureAtAnyStepOfTheNewContent(t *testing.T) {
	full := errors.New("no space left on device")
	for _, step := range []string{"mkdir", "create", "write", "sync", "chmod", "symlink", "rename"} {
		t.Run(step, func(t *testing.T) {
			dir := quickDir(t)
			require.NoError(t, (&writer{dir: dir}).write(payloadOf(before)))
			w := writer{dir: dir, disk: disk{before: func(name, _ string) error {
				if name == step {
					return full
				}
				return nil
			}}}
			require.ErrorIs(t, w.write(payloadOf(after)), full)
			requireClean(t, dir, before)
		})
	}
}

// Readers that resolve ..data once see one version, never a mix, whatever is written.
func TestReadersNeverSeeAMix(t *testing.T) {
	dir := quickDir(t)
	version := func(i int) map[string]string {
		text := fmt.Sprint(i)
		return map[string]string{"a": text, "b": text, "d/c": text, "only" + fmt.Sprint(i%2): text}
	}
	w := writer{dir: dir}
	require.NoError(t, w.write(payloadOf(version(0))))
	done := make(chan struct{})
	var readers sync.WaitGroup
	whole := make([]int, 2)
	for i := range whole {
		readers.Go(func() {
			for ended := false; !ended; {
				select {
				case <-done:
					ended = true
				default:
				}
				if versions := readOnce(dir); versions != nil {
					whole[i]++
					assert.Len(t, versions, 1)
				}
			}
		})
	}
	for i := range 300 {
		require.NoError(t, w.write(payloadOf(version(i))))
	}
	close(done)
	readers.Wait()
	for _, n := range whole {
		assert.Positive(t, n, "nothing was read whole")
	}
}

// readOnce returns the versions in one content, nil if it was replaced meanwhile.
func readOnce(dir string) map[string]bool {
	root, err := os.OpenRoot(filepath.Join(dir, dataLink))
	if err != nil {
		return nil
	}
	defer root.Close()
	versions := make(map[string]bool)
	for _, name := range []string{"a", "d/c", "b"} {
		data, err := root.ReadFile(name)
		if err != nil {
			return nil
		}
		versions[string(data)] = true
	}
	return versions
}

// A directory that a sub path or a nested mount has made is not taken for a link: what
// cannot be shown is not taken for content, and the old stays.
func TestANameThatIsTaken(t *testing.T) {
	dir := quickDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "came"), 0o755))
	require.ErrorIs(t, (&writer{dir: dir}).write(payloadOf(after)), fs.ErrExist)
	assert.Nil(t, content(t, dir))
	assert.Empty(t, shown(t, dir))
	require.NoError(t, (&writer{dir: dir}).write(payloadOf(before)))
	require.ErrorIs(t, (&writer{dir: dir}).write(payloadOf(after)), fs.ErrExist)
	assert.Equal(t, before, content(t, dir))
	assert.Equal(t, before, shown(t, dir))
	assert.DirExists(t, filepath.Join(dir, "came"))
}
