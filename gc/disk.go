package gc

import (
	"errors"
	"fmt"
	"math/bits"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// errNoCapacity is about a file system that says that it has no size.
var errNoCapacity = errors.New("capacity is 0")

// Disk is the space of a file system in bytes.
type Disk struct {
	Capacity uint64
	// Available is what may still be written by those who are not root.
	Available uint64
}

// used is the share of the disk that is used, in whole percent as the kubelet
// counts: what is begun counts in full.
func (d Disk) used() int { return 100 - int(scale(d.Available, 100, d.Capacity)) }

// shortage is how many bytes have to be freed for no more than percent to be used.
func (d Disk) shortage(percent int) uint64 {
	wanted := scale(d.Capacity, uint64(100-percent), 100)
	return wanted - min(wanted, d.Available)
}

// scale is a*b/c for a*b/c that fits, though a*b need not.
func scale(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	quotient, _ := bits.Div64(hi, lo, c)
	return quotient
}

// fullest returns that of the file systems of images that is used most. Those of
// containers, where they are others, do not count: removing images frees nothing
// there.
func fullest(systems []*runtimeapi.FilesystemUsage, diskOf func(mountpoint string) (Disk, error)) (Disk, error) {
	if len(systems) == 0 {
		return Disk{}, errors.New("the runtime reports no file system of images")
	}
	var worst Disk
	for _, system := range systems {
		mountpoint := system.GetFsId().GetMountpoint()
		disk, err := diskOf(mountpoint)
		if err == nil && disk.Capacity == 0 {
			err = errNoCapacity
		}
		if err != nil {
			return Disk{}, fmt.Errorf("measure file system of images at %q: %w", mountpoint, err)
		}
		disk.Available = min(disk.Available, disk.Capacity)
		if worst.Capacity == 0 || disk.used() > worst.used() {
			worst = disk
		}
	}
	return worst, nil
}
