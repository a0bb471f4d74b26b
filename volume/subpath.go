package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	subPathsDir = "volume-subpaths"
	// maxLinks is how many links a sub path may lead through, as for the kernel.
	maxLinks = 40
)

// SubPath makes a part of a mounted volume available for one mount of a container,
// and returns its path on the host: volumePath is the volume's, as Mount gave it,
// index that of the mount in the container's volumeMounts, and subPath the part,
// with no variables in it. What is not there is made, as a directory with the
// volume's mode. It is idempotent, and to be called before each start of the
// container. It needs Linux, and blocks for as long as the file system takes.
//
// The part is bound to a place of its own below the pod's directory, where it stays
// what it is whatever the pod's containers do to the volume meanwhile. A subPath
// that leads out of the volume, as by links that a container has made, is an error.
func (m *Manager) SubPath(ctx context.Context, pod *corev1.Pod, container string, index int, volumePath, subPath string) (string, error) {
	var point string
	err := m.exclusively(ctx, pod.UID, func() (err error) {
		point, err = m.subPath(pod, container, index, volumePath, subPath)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("sub path %q of mount %d of container %q: %w", subPath, index, container, err)
	}
	return point, nil
}

func (m *Manager) subPath(pod *corev1.Pod, container string, index int, volumePath, subPath string) (string, error) {
	volume, err := mountedVolume(pod, container, index)
	if err != nil {
		return "", err
	}
	for _, name := range []string{container, volume} {
		if err := checkName(name); err != nil {
			return "", err
		}
	}
	if path.IsAbs(subPath) || slices.Contains(strings.Split(subPath, "/"), "..") {
		return "", errors.New("it must be relative, without '..'")
	}
	part, err := openPart(volumePath, path.Clean(subPath))
	if err != nil {
		return "", err
	}
	defer part.Close()
	point := filepath.Join(m.podDir(pod.UID), subPathsDir, volume, container, strconv.Itoa(index))
	return point, bind(part, point)
}

func mountedVolume(pod *corev1.Pod, container string, index int) (string, error) {
	for _, c := range containers(pod) {
		if c.Name == container && index >= 0 && index < len(c.VolumeMounts) {
			return c.VolumeMounts[index].Name, nil
		}
	}
	return "", errors.New("the pod has no such mount")
}

// openPart opens a part of a volume, which it makes if it is not there, as a handle
// that neither reads nor writes. No step leads out of the volume.
func openPart(volume, name string) (*os.File, error) {
	root, err := os.OpenRoot(volume)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for range maxLinks {
		part, target, err := openOne(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			if err := makePart(root, name); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if part != nil {
			return part, nil
		}
		if path.IsAbs(target) {
			return nil, fmt.Errorf("the link %s leads out of the volume", name)
		}
		dir, _ := path.Split(name)
		name = dir + target // not cleaned: an element before ".." may be a link
	}
	return nil, errors.New("too many links")
}

// openOne opens what has the name, or returns where it leads to if it is a link.
// The elements before the last may be links within the volume.
func openOne(root *os.Root, name string) (part *os.File, target string, err error) {
	part, err = root.OpenFile(name, openHandle, 0)
	if err != nil {
		return nil, "", err
	}
	info, err := part.Stat()
	if err == nil && info.Mode()&fs.ModeSymlink == 0 {
		return part, "", nil
	}
	part.Close()
	if err == nil {
		target, err = root.Readlink(name)
	}
	return nil, target, err
}

// makePart makes the directories of a name that are not there, with the mode of the
// volume.
func makePart(root *os.Root, name string) error {
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	mode := info.Mode() & (fs.ModePerm | fs.ModeSetgid)
	elements := strings.Split(name, "/")
	for i := range elements {
		dir := strings.Join(elements[:i+1], "/")
		if err := root.Mkdir(dir, mode.Perm()); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return err
		}
		if err := root.Chmod(dir, mode); err != nil {
			return err
		}
	}
	return nil
}

// unmountSubPaths takes the sub paths of a pod away, with what is mounted in them.
func (m *Manager) unmountSubPaths(uid types.UID) error {
	mounts, err := mountsIn(filepath.Join(m.podDir(uid), subPathsDir))
	if err != nil {
		return err
	}
	for _, mount := range slices.Backward(mounts) {
		if strings.Count(mount.rel, "/") == 2 { // <volume>/<container>/<index>
			if err := unbind(mount.point); err != nil {
				return err
			}
		}
	}
	return nil
}
