//go:build !linux

package volume

import "errors"

func mountIn(string, memoryFS) error {
	return errors.New("volumes in memory need Linux")
}

// mountsIn knows of no mounts: this package makes none here, and the devices of
// files are still heeded.
func mountsIn(string) ([]mount, error) { return nil, nil }

func surelyMounted(string, string) bool { return false }

func unmount(string) error {
	return errors.New("volumes in memory need Linux")
}
