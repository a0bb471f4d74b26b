package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountIn mounts a file system in memory, whose pages are not swapped to a disk
// where the kernel (6.4 and later) can do without.
func mountIn(dir string, wanted memoryFS) error {
	options := wanted.options
	if wanted.fsType == tmpfsType {
		options += ",noswap"
	}
	err := unix.Mount(wanted.fsType, dir, wanted.fsType, 0, options)
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount(wanted.fsType, dir, wanted.fsType, 0, wanted.options)
	}
	if err != nil {
		return fmt.Errorf("mount %s at %s: %w", wanted.fsType, dir, err)
	}
	return nil
}

// surelyMounted reports whether a file system of the type is known to be mounted on
// the directory without a look at the whole mount table, which kernels since 5.6 can
// tell. False says nothing.
func surelyMounted(dir, fsType string) bool {
	mounted, sure, err := mountinfo.MountedFast(dir)
	if err != nil || !sure || !mounted {
		return false
	}
	var stat unix.Statfs_t
	if unix.Statfs(dir, &stat) != nil {
		return false
	}
	magic := map[string]uint32{tmpfsType: unix.TMPFS_MAGIC, hugetlbfsType: unix.HUGETLBFS_MAGIC}
	return uint32(stat.Type) == magic[fsType]
}

func unmount(point string) error {
	if err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s: %w", point, err)
	}
	return nil
}

// mountsIn returns the mounts at and below a directory, none if there is no such
// directory. The kernel's list is asked because it also has what a file's device
// does not tell: mounts of the same file system.
func mountsIn(dir string) ([]mount, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// The entry of a mount that it does not understand is an error: none is missed.
	list, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	mounts := make([]mount, len(list))
	for i, info := range list {
		rel, err := filepath.Rel(dir, info.Mountpoint)
		if err != nil {
			return nil, err
		}
		mounts[i] = mount{point: info.Mountpoint, rel: rel, source: info.Root, fsType: info.FSType, device: [2]int{info.Major, info.Minor}}
	}
	return mounts, nil
}
