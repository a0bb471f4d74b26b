//go:build unix

package eviction

import (
	"os"
	"syscall"
)

// blockSize is the unit in which a file's blocks are counted, whatever the file system.
const blockSize = 512

func factsOf(info os.FileInfo) facts {
	stat := info.Sys().(*syscall.Stat_t)
	return facts{
		//nolint:unconvert // they have other types elsewhere
		device: uint64(stat.Dev), inode: uint64(stat.Ino), links: uint64(stat.Nlink), bytes: int64(stat.Blocks) * blockSize,
	}
}
