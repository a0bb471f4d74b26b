package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// mount is a mount point at or below the directory that was asked for.
type mount struct {
	// point is the absolute path without links, rel the same from the directory.
	point, rel string
	// source is the directory, within its file system, that is mounted there.
	source string
	fsType string
	device [2]int // major and minor, which tell file systems apart
}

// isWhole reports whether a whole file system is mounted, and not a directory of one.
func (m mount) isWhole() bool { return m.source == "/" }

// isOwn reports whether the mount, found below a pod's directory, is one of
// mountMemory's.
func (m mount) isOwn() bool {
	return m.isWhole() && (m.fsType == tmpfsType || m.fsType == hugetlbfsType) &&
		filepath.Dir(filepath.Dir(m.rel)) == volumesDir && isOwnKind(filepath.Base(filepath.Dir(m.rel)))
}

// isEcho reports whether the mount, found inside of a volume, is of something else that
// is the pod's own: a file or volume in its directory (podDir), or one of its mounts in
// memory. With the propagation Bidirectional, what a runtime mounts there for a
// container is mounted on the host too, and stays.
func (m mount) isEcho(podDir string, mounts []mount) bool {
	kind, inside, _ := strings.Cut(strings.TrimPrefix(m.rel, volumesDir+"/"), "/")
	if !isOwnKind(kind) || !strings.Contains(inside, "/") {
		return false
	}
	pod := filepath.Join("/", filepath.Base(filepath.Dir(podDir)), filepath.Base(podDir)) + "/"
	return strings.Contains(m.source, pod) ||
		slices.ContainsFunc(mounts, func(own mount) bool { return own.isOwn() && own.device == m.device })
}

// isOwnKind reports whether the volumes in a directory of this name are this
// package's own, with all that is in them.
func isOwnKind(name string) bool {
	return name == emptyDirDir || slices.Contains(slices.Collect(maps.Values(contentDirs)), name)
}

// tearDown takes away the pod's sub paths, has plugins unmount their volumes,
// unmounts this package's own, and removes the pod's directory. What fails keeps no
// other volume mounted, but all directories: behind a mount may be data that is not
// the pod's.
func (m *Manager) tearDown(ctx context.Context, uid types.UID) error {
	m.forget(uid)
	if err := m.unmountSubPaths(uid); err != nil {
		return err
	}
	served, err := m.served(uid)
	if err != nil {
		return err
	}
	unmounted, err := m.unmountServed(ctx, uid, served)
	if err := errors.Join(err, m.unmountOwn(uid), m.detachServed(ctx, uid, unmounted)); err != nil {
		return err
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

// unmountOwn unmounts this package's volumes, and what of the pod is mounted inside of
// them. Anything else that is mounted is an error, and what is below it is not this
// package's.
func (m *Manager) unmountOwn(uid types.UID) error {
	dir := m.podDir(uid)
	mounts, err := mountsIn(dir)
	if err != nil {
		return err
	}
	var own, others []mount
	var errs []error
	for _, mount := range mounts {
		if mount.isOwn() || mount.isEcho(dir, mounts) {
			own = append(own, mount)
			continue
		}
		others = append(others, mount)
		errs = append(errs, fmt.Errorf("%s is still mounted", mount.point))
	}
	for _, own := range slices.Backward(own) {
		covers := func(other mount) bool { return strings.HasPrefix(own.point+"/", other.point+"/") }
		if !slices.ContainsFunc(others, covers) {
			errs = append(errs, unmount(own.point))
		}
	}
	return errors.Join(errs...)
}

// removePod removes a pod's directory, in which nothing is mounted any more.
func removePod(ctx context.Context, root *os.Root, pod string) error {
	info, err := root.Lstat(pod)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r := remover{root: root, device: deviceOf(info), top: pod}
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
		if isOwnKind(kind.Name()) {
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

// escapeName is the name of a plugin as that of a directory.
func escapeName(plugin string) string { return strings.ReplaceAll(plugin, "/", "~") }
