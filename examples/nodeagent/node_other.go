//go:build !linux

package main

// Without Linux there are no containers but those of the runtime in memory,
// which has neither memory, nor a disk, nor cgroups.

func memoryCapacity() int64 { return 0 }

func diskCapacity(string) int64 { return 0 }

func hugePageSizes() []string { return nil }

func cgroupV2() bool { return false }
