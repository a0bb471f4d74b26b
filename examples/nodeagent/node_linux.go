package main

import "golang.org/x/sys/unix"

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
	return int64(fs.Blocks) * fs.Bsize
}

// cgroupV2 reports whether the node has the unified cgroup hierarchy.
func cgroupV2() bool {
	var fs unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}
