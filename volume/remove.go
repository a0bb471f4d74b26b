package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// batch is how many entries of a directory are held at a time: a pod may leave
// millions.
const batch = 512

// maxDepth is how deep a name may be. Each element of it costs a step each time, and all
// names on the way down are held: a pod may leave a directory in a directory for as long
// as it likes.
const maxDepth = 64

// remover removes files and trees below root. It follows no link and enters no
// file system but the one of the device. A mount of that same file system it
// cannot tell, so there must be none.
type remover struct {
	root   *os.Root
	device uint64
	// top is a directory on that file system to which what is too deep is moved, to be
	// removed with it.
	top string
}

// remove removes what name is, with all that is in it. On an error it goes on
// with the rest and returns the last one.
func (r remover) remove(ctx context.Context, name string) error {
	info, err := r.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		if deviceOf(info) != r.device {
			return fmt.Errorf("%s is on another file system", filepath.Join(r.root.Name(), name))
		}
		if strings.Count(name, "/") > maxDepth {
			return r.root.Rename(name, filepath.Join(r.top, fmt.Sprintf(".deep-%x", rand.Uint64())))
		}
		if err := r.empty(ctx, name); err != nil {
			return err
		}
	}
	return r.root.Remove(name)
}

// empty removes all that is in a directory. As long as something could be
// removed there may be more to read.
func (r remover) empty(ctx context.Context, dir string) error {
	for {
		entries, err := readDir(r.root, dir)
		if err != nil {
			return err
		}
		var failed error
		progress := false
		for _, entry := range entries {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := r.remove(ctx, filepath.Join(dir, entry.Name())); err != nil {
				failed = err
			} else {
				progress = true
			}
		}
		if !progress {
			return failed
		}
	}
}

// readDir returns the first entries of a directory.
func readDir(root *os.Root, dir string) ([]fs.DirEntry, error) {
	file, err := openDir(root, dir)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	entries, err := file.ReadDir(batch)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return entries, err
}

// openDir opens a directory to read it. What Root.FS has for that takes no name but in
// UTF-8.
func openDir(root *os.Root, dir string) (*os.File, error) {
	return root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY, 0) // to open a pipe would block
}

// deviceOf identifies the file system that a file is on.
func deviceOf(info fs.FileInfo) uint64 {
	return uint64(info.Sys().(*syscall.Stat_t).Dev) //nolint:unconvert // it has other types elsewhere
}
