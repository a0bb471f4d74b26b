package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Where the volumes of a kind are, below a pod's directory, is the kubelet's
// layout: tools that look into volumes know it.
const (
	volumesDir  = "volumes"
	emptyDirDir = "kubernetes.io~empty-dir"
)

// What the kernel calls the file systems of volumes in memory.
const (
	tmpfsType     = "tmpfs"
	hugetlbfsType = "hugetlbfs"
)

func (m *Manager) mountEmptyDir(pod *corev1.Pod, volume *corev1.Volume) (string, error) {
	source := volume.EmptyDir
	if source == nil {
		source = &corev1.EmptyDirVolumeSource{}
	}
	dir := filepath.Join(m.podDir(pod.UID), volumesDir, emptyDirDir, volume.Name)
	group := groupOf(pod)
	mode := fs.FileMode(0o777)
	if group != nil {
		mode |= fs.ModeSetgid
	}
	switch medium := source.Medium; {
	case medium == corev1.StorageMediumDefault:
		return dir, makeShared(dir, mode, group)
	case medium == corev1.StorageMediumMemory:
		return dir, mountMemory(dir, tmpfs(mode, m.memorySize(pod, source.SizeLimit)).ownedBy(group))
	case medium == corev1.StorageMediumHugePages || strings.HasPrefix(string(medium), string(corev1.StorageMediumHugePagesPrefix)):
		size, err := pageSize(pod, medium)
		if err != nil {
			return "", err
		}
		return dir, mountMemory(dir, hugetlbfs(mode, size).ownedBy(group))
	default:
		return "", &UnsupportedError{Kind: fmt.Sprintf("emptyDir with medium %s", medium)}
	}
}

// memorySize is the largest that a volume in memory may become, 0 if nothing limits
// it: what the node can give, what the pod may use, what the volume asks for.
func (m *Manager) memorySize(pod *corev1.Pod, limit *resource.Quantity) int64 {
	size := m.cfg.Allocatable.Memory().Value()
	smaller := func(other int64) {
		if other > 0 && (size <= 0 || other < size) {
			size = other
		}
	}
	smaller(memoryLimit(pod))
	if limit != nil {
		smaller(limit.Value())
	}
	return max(size, 0)
}

// pageSize is the size of the huge pages of a volume, in bytes: that of the medium,
// or else the one size of which the pod's containers request some.
func pageSize(pod *corev1.Pod, medium corev1.StorageMedium) (int64, error) {
	size, named := strings.CutPrefix(string(medium), string(corev1.StorageMediumHugePagesPrefix))
	if !named {
		sizes := requestedPageSizes(pod)
		if len(sizes) != 1 {
			return 0, fmt.Errorf("medium %s: the pod requests huge pages of %d sizes, not of one", medium, len(sizes))
		}
		size = sizes[0]
	}
	quantity, err := resource.ParseQuantity(size)
	if err != nil || quantity.Value() <= 0 {
		return 0, fmt.Errorf("medium %s: %q is not a size of pages", medium, size)
	}
	return quantity.Value(), nil
}

// requestedPageSizes are the sizes of huge pages that the pod's containers ask for, each
// once.
func requestedPageSizes(pod *corev1.Pod) []string {
	var sizes []string
	for _, c := range containers(pod) {
		for _, list := range []corev1.ResourceList{c.Resources.Requests, c.Resources.Limits} {
			for name := range list {
				if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok && !slices.Contains(sizes, size) {
					sizes = append(sizes, size)
				}
			}
		}
	}
	return sizes
}

// makeShared makes a directory in which anybody may write, whatever the umask.
// One that is there is left as its containers have made it. It gets its name
// when it is complete, so that a crash leaves no directory with other rights.
func makeShared(dir string, mode fs.FileMode, group *int64) error {
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
	if group != nil {
		if err := os.Lchown(fresh, -1, int(*group)); err != nil {
			return err
		}
	}
	if err := os.Chmod(fresh, mode); err != nil {
		return err
	}
	return os.Rename(fresh, dir)
}

// memoryFS is a file system in memory that is to be mounted.
type memoryFS struct{ fsType, options string }

// tmpfs has the mode and the size, in bytes; 0 leaves it to the kernel, which
// allows half of the node's memory.
func tmpfs(mode fs.FileMode, size int64) memoryFS {
	options := fmt.Sprintf("mode=%#o", unixMode(mode))
	if size > 0 {
		options += fmt.Sprintf(",size=%d", size)
	}
	return memoryFS{tmpfsType, options}
}

// hugetlbfs has the mode, and pages of a size in bytes.
func hugetlbfs(mode fs.FileMode, pageSize int64) memoryFS {
	return memoryFS{hugetlbfsType, fmt.Sprintf("mode=%#o,pagesize=%d", unixMode(mode), pageSize)}
}

func (f memoryFS) ownedBy(group *int64) memoryFS {
	if group != nil {
		f.options += fmt.Sprintf(",gid=%d", *group)
	}
	return f
}

// unixMode is a mode as the kernel takes it.
func unixMode(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	if mode&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	return bits
}

// mountMemory mounts a file system in memory, unless it is mounted: what
// containers keep there must survive the agent.
func mountMemory(dir string, wanted memoryFS) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if surelyMounted(dir, wanted.fsType) {
		return nil
	}
	mounts, err := mountsIn(dir)
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		switch {
		case mount.rel != ".":
		case mount.fsType == wanted.fsType && mount.isWhole():
			return nil
		default:
			return fmt.Errorf("%s is a mount of type %s", dir, mount.fsType)
		}
	}
	return mountIn(dir, wanted)
}
