//go:build unix

package eviction

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// addFileSystem measures the file system that path is on. One that has no inodes to
// count, such as btrfs, has enough.
func addFileSystem(amounts map[Signal]Amount, path string, space, inodes Signal) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("measure the file system of %s: %w", path, err)
	}
	size := int64(fs.Bsize) //nolint:unconvert // it has other types elsewhere
	amounts[space] = Amount{Available: int64(fs.Bavail) * size, Capacity: int64(fs.Blocks) * size}
	if fs.Files > 0 {
		amounts[inodes] = Amount{Available: int64(fs.Ffree), Capacity: int64(fs.Files)}
	}
	return nil
}
