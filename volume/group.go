package volume

import (
	"context"
	"errors"
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

// ChangeGroup gives the directory, with all that is in it, to the group, as the
// fsGroup of a pod asks for (Kubernetes docs, "Configure a Security Context"):
// files get the group and its rights, directories also hand it on, links get the
// group only and are not followed. It is for plugins, too. It is idempotent and may
// take long; onlyMismatch has it do nothing when the directory itself is right
// already (fsGroupChangePolicy OnRootMismatch). An error names the file; the rest
// was changed or not.
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
	return changeTree(ctx, root, ".", group, mask)
}

// changeTree changes what has the name, with all that is in it. Somebody may remove it
// meanwhile.
func changeTree(ctx context.Context, root *os.Root, name string, group int64, mask fs.FileMode) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := changeFound(ctx, root, name, group, mask); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// changeFound changes a directory last: when it is right, all in it is.
func changeFound(ctx context.Context, root *os.Root, name string, group int64, mask fs.FileMode) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if info.IsDir() {
		mask |= dirMask
		entries, err := readDir(root, name, -1)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if err := changeTree(ctx, root, path.Join(name, entry.Name()), group, mask&^dirMask); err != nil {
				return err
			}
		}
	}
	if err := root.Lchown(name, -1, int(group)); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	return root.Chmod(name, info.Mode()|mask)
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
