//go:build !linux

package gc

import "errors"

// diskOf needs Linux: there is no CRI runtime elsewhere to be asked for its images.
func diskOf(string) (Disk, error) { return Disk{}, errors.ErrUnsupported }
