package main

import (
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/edged-project/edged/podmanager/podspec"
)

// memoryCapacity is the node's memory in bytes.
func memoryCapacity() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// diskCapacity is the size in bytes of the file system that path is on.
func diskCapacity(path string) int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return 0
	}
	return int64(fs.Blocks * uint64(fs.Bsize))
}

// hugePageSizes are the sizes of huge pages that the kernel has, as its cgroups spell
// them.
func hugePageSizes() []string {
	folders, _ := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB") // fails for a bad pattern only
	var sizes []string
	for _, folder := range folders {
		digits := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(folder), "hugepages-"), "kB")
		if kilobytes, err := strconv.ParseInt(digits, 10, 64); err == nil {
			sizes = append(sizes, podspec.PageSize(kilobytes<<10))
		}
	}
	return sizes
}

// cgroupV2 reports whether the node has the unified cgroup hierarchy.
func cgroupV2() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}
