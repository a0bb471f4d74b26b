package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// Where the volumes of a kind are, below a pod's directory, is the kubelet's
// layout: tools that look into volumes know it.
const (
	volumesDir  = "volumes"
	emptyDirDir = "kubernetes.io~empty-dir"
)

// tmpfsType is what the kernel calls the file system of a volume in memory.
const tmpfsType = "tmpfs"

func (m *Manager) mountEmptyDir(uid types.UID, volume *corev1.Volume) (string, error) {
	if err := checkName(volume.Name); err != nil {
		return "", err
	}
	source := volume.EmptyDir
	if source == nil {
		source = &corev1.EmptyDirVolumeSource{}
	}
	dir := filepath.Join(m.podDir(uid), volumesDir, emptyDirDir, volume.Name)
	switch source.Medium {
	case corev1.StorageMediumDefault:
		return dir, makeShared(dir)
	case corev1.StorageMediumMemory:
		return dir, mountMemory(dir, source.SizeLimit)
	default:
		return "", &UnsupportedError{Kind: fmt.Sprintf("emptyDir with medium %s", source.Medium)}
	}
}

// makeShared makes a directory in which anybody may write, whatever the umask.
// One that is there is left as its containers have made it. It gets its name
// when it is complete, so that a crash leaves no directory with other rights.
func makeShared(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s is not a directory", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent, name := filepath.Split(dir)
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return err
	}
	fresh := filepath.Join(parent, "."+name)
	if err := os.Mkdir(fresh, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(fresh, 0o777); err != nil {
		return err
	}
	return os.Rename(fresh, dir)
}

// mountMemory mounts a file system in memory, unless it is mounted: what
// containers keep there must survive the agent.
func mountMemory(dir string, limit *resource.Quantity) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	mounts, err := mountsIn(dir)
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		switch {
		case mount.rel != ".":
		case mount.isTmpfs():
			return nil
		default:
			return fmt.Errorf("%s is a mount of type %s", dir, mount.fsType)
		}
	}
	size := int64(0)
	if limit != nil {
		size = max(0, limit.Value())
	}
	return mountTmpfs(dir, size)
}
