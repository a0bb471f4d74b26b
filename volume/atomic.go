package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The names that a volume takes for itself, as the kubelet's: dataLink leads to
// the directory with the current content, and the volume shows links through it.
const (
	dataLink = "..data"
	newLink  = "..data_tmp"
)

// writer replaces the content of a volume by another at once: whoever resolves
// ..data sees one or the other, whatever happens in between. Each step leaves the
// volume so that the next write completes it.
type writer struct {
	dir  string
	disk disk
	// group to which the content belongs, nil for the agent's.
	group *int64
}

// write makes the payload the content of the volume. When it is so already, which
// is judged by the data of the files alone, nothing new is made. On an error before
// the swap the old content stays. The links come before it: no content is there
// that the volume does not show.
func (w *writer) write(files payload) error {
	current, err := w.current()
	if err != nil {
		return err
	}
	if err := w.removeLeftovers(current); err != nil {
		return err
	}
	fresh := current
	if current == "" || !same(filepath.Join(w.dir, current), files) {
		fresh, err = w.make(files)
	}
	if err == nil {
		err = w.show(files.tops())
	}
	if err == nil && fresh != current {
		err = w.swap(fresh)
	}
	current, unknown := w.current() // the swap may have gone well even if it says that it has not
	if unknown != nil {
		return errors.Join(err, unknown)
	}
	return errors.Join(err, w.hide(), w.removeLeftovers(current))
}

// current returns the name of the directory with the content, "" if there is none.
func (w *writer) current() (string, error) {
	target, err := os.Readlink(filepath.Join(w.dir, dataLink))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(filepath.Join(w.dir, target))
	if err != nil || !info.IsDir() || target != filepath.Base(target) || !strings.HasPrefix(target, "..") {
		return "", nil //nolint:nilerr // a link to nothing is replaced
	}
	return target, nil
}

// make writes the files into a directory of their own and returns its name. What
// is in it is on the disk when it returns.
func (w *writer) make(files payload) (string, error) {
	name := fmt.Sprintf("..%s.%d", time.Now().UTC().Format("2006_01_02_15_04_05"), rand.Uint32())
	dir := filepath.Join(w.dir, name)
	dirs := map[string]bool{dir: true}
	for path := range files {
		for parent := filepath.Dir(filepath.Join(dir, path)); parent != dir; parent = filepath.Dir(parent) {
			dirs[parent] = true
		}
	}
	sorted := slices.Sorted(maps.Keys(dirs))
	for _, path := range sorted {
		if err := w.disk.mkdir(path, w.dirMode()); err != nil {
			return name, err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f := files[path]
		if err := w.disk.write(filepath.Join(dir, path), f.data, w.mode(f)); err != nil {
			return name, err
		}
		if err := w.own(filepath.Join(dir, path), f.owner); err != nil {
			return name, err
		}
	}
	for _, path := range slices.Backward(sorted) {
		if err := w.own(path, nil); err != nil {
			return name, err
		}
		if err := w.disk.sync(path); err != nil {
			return name, err
		}
	}
	return name, nil
}

// mode is that of a file, of which the group can read what it gets.
func (w *writer) mode(f file) fs.FileMode {
	if w.group == nil {
		return f.mode
	}
	return f.mode | readMask
}

func (w *writer) dirMode() fs.FileMode {
	if w.group == nil {
		return 0o755
	}
	return 0o755 | dirMask
}

// own hands over what was made. As this takes its special bits from a directory,
// they are set again.
func (w *writer) own(path string, owner *int64) error {
	if w.group == nil && owner == nil {
		return nil
	}
	return w.disk.chown(path, idOr(owner), idOr(w.group))
}

// swap lets ..data lead to the fresh directory.
func (w *writer) swap(fresh string) error {
	if err := w.disk.symlink(fresh, filepath.Join(w.dir, newLink)); err != nil {
		return err
	}
	if err := w.disk.rename(filepath.Join(w.dir, newLink), filepath.Join(w.dir, dataLink)); err != nil {
		return err
	}
	return w.disk.sync(w.dir)
}

// show makes the links by which the volume shows what is at the top of its content.
func (w *writer) show(tops map[string]bool) error {
	for _, name := range slices.Sorted(maps.Keys(tops)) {
		path, target := filepath.Join(w.dir, name), filepath.Join(dataLink, name)
		if found, err := os.Readlink(path); err == nil && found == target {
			continue
		}
		if err := w.disk.symlink(target, path); err != nil {
			return err
		}
	}
	return nil
}

// hide removes the links to what the content does not have, or not any more.
func (w *writer) hide() error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		path := filepath.Join(w.dir, entry.Name())
		if target, err := os.Readlink(path); err != nil || target != filepath.Join(dataLink, entry.Name()) {
			continue
		}
		if _, err := os.Lstat(filepath.Join(w.dir, dataLink, entry.Name())); errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, w.disk.remove(path))
		}
	}
	return errors.Join(errs...)
}

// restore reports whether the volume has a content and shows all of it, once links
// that are missing are made.
func (w *writer) restore() bool {
	current, err := w.current()
	if err != nil || current == "" {
		return false
	}
	entries, err := os.ReadDir(filepath.Join(w.dir, current))
	if err != nil {
		return false
	}
	tops := make(map[string]bool, len(entries))
	for _, entry := range entries {
		tops[entry.Name()] = true
	}
	return w.show(tops) == nil
}

// removeLeftovers removes the directories of former contents, and what a write
// that was interrupted has left.
func (w *writer) removeLeftovers(current string) error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, "..") && name != dataLink && name != current {
			errs = append(errs, w.disk.remove(filepath.Join(w.dir, name)))
		}
	}
	return errors.Join(errs...)
}

// same reports whether the directory holds these files and no others.
func same(dir string, files payload) bool {
	count := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, wanted := files[rel]
		data, err := os.ReadFile(path)
		if err != nil || !wanted || !entry.Type().IsRegular() || !bytes.Equal(data, f.data) {
			return errors.Join(err, errDiffers)
		}
		count++
		return nil
	})
	return err == nil && count == len(files)
}

var errDiffers = errors.New("the content differs")
