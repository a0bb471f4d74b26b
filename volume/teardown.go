package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"
)

// mount is a mount point at or below the directory that was asked for.
type mount struct {
	// point is the absolute path without links, rel the same from the directory.
	point, rel string
	// source is the directory, within its file system, that is mounted there.
	source string
	fsType string
}

// isTmpfs reports whether a whole file system in memory is mounted, as by
// mountTmpfs, and not a directory of one.
func (m mount) isTmpfs() bool { return m.fsType == tmpfsType && m.source == "/" }

// isMemoryVolume reports whether the mount, found below a pod's directory, is
// one of mountMemory's.
func (m mount) isMemoryVolume() bool {
	return m.isTmpfs() && filepath.Dir(m.rel) == filepath.Join(volumesDir, emptyDirDir)
}

// tearDown unmounts what this package has mounted for the pod, and removes the
// pod's directory. While anything else is mounted there it touches nothing:
// behind a mount may be data that is not the pod's.
func (m *Manager) tearDown(ctx context.Context, uid types.UID) error {
	mounts, err := mountsIn(m.podDir(uid))
	if err != nil {
		return err
	}
	for _, mount := range mounts {
		if !mount.isMemoryVolume() {
			return fmt.Errorf("%s is still mounted", mount.point)
		}
	}
	for _, mount := range mounts {
		if err := unmount(mount.point); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(m.pods)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer root.Close()
	return removePod(ctx, root, string(uid))
}

// removePod removes a pod's directory.
func removePod(ctx context.Context, root *os.Root, pod string) error {
	info, err := root.Lstat(pod)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r := remover{root: root, device: deviceOf(info)}
	if err := r.removeVolumes(ctx, filepath.Join(pod, volumesDir)); err != nil {
		return err
	}
	return r.remove(ctx, pod)
}

// removeVolumes removes the volumes of all kinds. Those of a kind that this
// package does not know go only when they are empty, by the kubelet's rule: it
// cannot tell whether what is in them may go.
func (r remover) removeVolumes(ctx context.Context, dir string) error {
	kinds, err := fs.ReadDir(r.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, kind := range kinds {
		path := filepath.Join(dir, kind.Name())
		if kind.Name() == emptyDirDir {
			errs = append(errs, r.remove(ctx, path))
		} else if kind.IsDir() {
			errs = append(errs, r.removeEmpty(path))
		}
	}
	return errors.Join(errs...)
}

func (r remover) removeEmpty(dir string) error {
	volumes, err := fs.ReadDir(r.root.FS(), dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, volume := range volumes {
		errs = append(errs, r.root.Remove(filepath.Join(dir, volume.Name())))
	}
	return errors.Join(errs...)
}
