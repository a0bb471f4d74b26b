package volume

import (
	"errors"
	"io/fs"
	"os"
)

// disk changes files, step by step. What it makes has the mode that is asked for,
// whatever the umask.
type disk struct {
	// before is asked before each step, whose error is then the outcome. Tests pull
	// the plug here. Nil lets all steps happen.
	before func(step, path string) error
}

func (d disk) step(name, path string, do func() error) error {
	if d.before != nil {
		if err := d.before(name, path); err != nil {
			return err
		}
	}
	return do()
}

func (d disk) mkdir(path string, mode fs.FileMode) error {
	if err := d.step("mkdir", path, func() error { return os.Mkdir(path, mode.Perm()) }); err != nil {
		return err
	}
	return d.step("chmod", path, func() error { return os.Chmod(path, mode) })
}

// write makes a file, and has its data on the disk when it returns.
func (d disk) write(path string, data []byte, mode fs.FileMode) (err error) {
	var out *os.File
	err = d.step("create", path, func() (err error) {
		out, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	half := len(data) / 2
	for _, part := range [][]byte{data[:half], data[half:]} {
		if err := d.step("write", path, func() error { _, err := out.Write(part); return err }); err != nil {
			return err
		}
	}
	if err := d.step("chmod", path, func() error { return out.Chmod(mode) }); err != nil {
		return err
	}
	return d.step("sync", path, out.Sync)
}

func (d disk) chown(path string, uid, gid int) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if err := d.step("chown", path, func() error { return os.Lchown(path, uid, gid) }); err != nil {
		return err
	}
	if !info.IsDir() {
		return nil
	}
	return d.step("chmod", path, func() error { return os.Chmod(path, info.Mode()) })
}

func (d disk) symlink(target, path string) error {
	return d.step("symlink", path, func() error { return os.Symlink(target, path) })
}

func (d disk) rename(from, to string) error {
	return d.step("rename", to, func() error { return os.Rename(from, to) })
}

// remove removes a file, a link or a directory with all that is in it.
func (d disk) remove(path string) error {
	return d.step("remove", path, func() error { return os.RemoveAll(path) })
}

// sync has the entries of a directory on the disk when it returns.
func (d disk) sync(dir string) error {
	return d.step("sync", dir, func() error {
		file, err := os.Open(dir)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
}
