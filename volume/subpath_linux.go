package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openHandle opens a file to name it only: a device or a pipe notices nothing. A
// link is opened itself.
const openHandle = unix.O_PATH

// bind mounts what was opened at the point, unless it is what is there. Something
// else there is of an earlier start of the container.
func bind(part *os.File, point string) error {
	want, err := part.Stat()
	if err != nil {
		return err
	}
	if found, err := os.Lstat(point); err == nil {
		if os.SameFile(want, found) {
			return nil
		}
		if err := clearPoint(point, found); err != nil {
			return err
		}
	}
	if err := makePoint(point, want.IsDir()); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", part.Fd()), point, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind it to %s: %w", point, err)
	}
	return nil
}

// clearPoint removes a mount point, with all that is mounted there.
func clearPoint(point string, found fs.FileInfo) error {
	isLink := found.Mode()&fs.ModeSymlink != 0
	for !isLink {
		err := unbind(point)
		if errors.Is(err, unix.EINVAL) {
			break // it is no mount any more
		}
		if err != nil {
			return err
		}
	}
	return os.Remove(point)
}

func makePoint(point string, isDir bool) error {
	if err := os.MkdirAll(filepath.Dir(point), 0o750); err != nil {
		return err
	}
	if isDir {
		return os.Mkdir(point, 0o750)
	}
	file, err := os.OpenFile(point, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fs.FileMode(0o640))
	if err != nil {
		return err
	}
	return file.Close()
}

// unbind takes a mount away at once, even if it is in use. It is cut off from its
// source first, where what is mounted below must stay.
func unbind(point string) error {
	if err := unix.Mount("", point, "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make %s private: %w", point, err)
	}
	if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s: %w", point, err)
	}
	return nil
}
