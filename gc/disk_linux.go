package gc

import "golang.org/x/sys/unix"

// diskOf asks the kernel for the file system at the path.
func diskOf(path string) (Disk, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return Disk{}, err
	}
	unit := uint64(stat.Frsize)
	return Disk{Capacity: stat.Blocks * unit, Available: stat.Bavail * unit}, nil
}
