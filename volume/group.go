package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// What the group of a volume may do, as by the kubelet: read, write too unless the
// volume is read-only, and pass through directories, which hand the group on to
// what is made in them.
const (
	readMask  fs.FileMode = 0o440
	writeMask fs.FileMode = 0o660
	dirMask               = fs.ModeSetgid | 0o110
)

// ErrGroupRefused is the error of ChangeGroup for files that do not take the group or
// its rights, such as those on a file system that is read-only or has no groups.
var ErrGroupRefused = errors.New("some files do not take the group")

// ChangeGroup gives the directory, with all that is in it, to the group, as the
// fsGroup of a pod asks for (Kubernetes docs, "Configure a Security Context"):
// files get the group and its rights, directories also hand it on, links get the
// group only and are not followed. It is for plugins, too. It is idempotent and may
// take long; onlyMismatch has it do nothing when the directory itself is right
// already (fsGroupChangePolicy OnRootMismatch). An error names a file. With
// ErrGroupRefused the rest was changed, and the kubelet has the pod start all the same;
// with any other it was or not.
func ChangeGroup(ctx context.Context, dir string, group int64, readOnly, onlyMismatch bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	mask := writeMask
	if readOnly {
		mask = readMask
	}
	if onlyMismatch {
		info, err := root.Lstat(".")
		if err != nil {
			return err
		}
		if want := info.Mode() | mask | dirMask; groupOfFile(info) == group && info.Mode() == want {
			return nil
		}
	}
	c := changer{root: root, group: group, mask: mask}
	if err := c.tree(ctx, "."); err != nil {
		return err
	}
	if c.refused != nil {
		return fmt.Errorf("%w: %w", ErrGroupRefused, c.refused)
	}
	return nil
}

// changer gives what is below root to a group.
type changer struct {
	root    *os.Root
	group   int64
	mask    fs.FileMode
	refused error // the last
}

// tree changes what has the name, with all that is in it. Somebody may remove it
// meanwhile.
func (c *changer) tree(ctx context.Context, name string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(name) > maxPath { // as for the kubelet: a tree without end would take the agent's memory
		c.refused = &fs.PathError{Op: "lstat", Path: "…" + name[len(name)-maxName:], Err: syscall.ENAMETOOLONG}
		return nil
	}
	info, err := c.root.Lstat(name)
	if err == nil && info.IsDir() {
		err = c.entries(ctx, name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// A directory comes last: when it is right, all in it is.
	if err := c.change(name, info.Mode()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.refused = err
	}
	return nil
}

// entries changes what is in a directory. Directories in it wait until it is closed: they
// may be deeper than the agent may have files open.
func (c *changer) entries(ctx context.Context, dir string) error {
	file, err := openDir(c.root, dir)
	if err != nil {
		return err
	}
	defer file.Close()
	var below []string
	for err == nil {
		var entries []fs.DirEntry
		entries, err = file.ReadDir(batch)
		for _, entry := range entries {
			if entry.IsDir() {
				below = append(below, entry.Name())
			} else if err := c.tree(ctx, path.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	_ = file.Close()
	for _, name := range below {
		if err := c.tree(ctx, path.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (c *changer) change(name string, mode fs.FileMode) error {
	err := c.root.Lchown(name, -1, int(c.group))
	if mode&fs.ModeSymlink != 0 {
		return err
	}
	mask := c.mask
	if mode.IsDir() {
		mask |= dirMask
	}
	return errors.Join(err, c.root.Chmod(name, mode|mask))
}

func groupOfFile(info fs.FileInfo) int64 {
	return int64(info.Sys().(*syscall.Stat_t).Gid)
}

// idOr returns a user or group for chown, which leaves -1 as it is.
func idOr(id *int64) int {
	if id == nil {
		return -1
	}
	return int(*id)
}
