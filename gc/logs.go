package gc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
)

// logs deletes log files. It works through os.Root, so that whatever names a
// runtime reports, and whatever links lie in the directories, nothing outside
// of the two is touched.
type logs struct {
	pods  string
	links string
}

// removeContainer deletes the log of a container with its rotations, and the
// link to it. What is not there is no error. Where names are long, they are cut, and the
// link may be that of a later container by now.
func (l logs) removeContainer(container *runtimeapi.Container) error {
	info := cri.ParseContainer(container.GetLabels(), container.GetAnnotations())
	file := path.Join(crilog.PodDirectory("", info.PodNamespace, info.PodName, info.PodUID),
		crilog.ContainerPath(info.ContainerName, info.RestartCount))
	return errors.Join(
		within(l.pods, func(root *os.Root) error { return removeWithRotations(root, file) }),
		within(l.links, func(root *os.Root) error {
			name := linkName(container)
			if target, err := root.Readlink(name); err != nil || !strings.HasSuffix(target, "/"+file) {
				return nil //nolint:nilerr // it is none of this container's
			}
			return missingIsFine(root.Remove(name))
		}),
	)
}

// removeWithRotations deletes the file and what begins with its name: rotations,
// packed or half packed.
func removeWithRotations(root *os.Root, file string) error {
	dir, name := path.Split(file)
	entries, err := fs.ReadDir(root.FS(), path.Clean(dir))
	if err != nil {
		return missingIsFine(err)
	}
	var errs []error
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), name) {
			errs = append(errs, missingIsFine(root.Remove(path.Join(dir, entry.Name()))))
		}
	}
	return errors.Join(errs...)
}

// removePods deletes the log directories of the pods that removable names.
func (l logs) removePods(removable func(types.UID) bool) error {
	return within(l.pods, func(root *os.Root) error {
		entries, err := fs.ReadDir(root.FS(), ".")
		if err != nil {
			return fmt.Errorf("list log directories: %w", err)
		}
		var errs []error
		for _, entry := range entries {
			uid, ok := podOfDirectory(entry.Name())
			if !ok || !entry.IsDir() || !removable(uid) {
				continue
			}
			if err := root.RemoveAll(entry.Name()); err != nil {
				errs = append(errs, fmt.Errorf("remove log directory: %w", err))
			}
		}
		return errors.Join(errs...)
	})
}

// podOfDirectory reads the UID from the name of a pod's log directory,
// <namespace>_<name>_<uid>. None of the three has an underscore; a name of
// another form is somebody else's.
func podOfDirectory(name string) (types.UID, bool) {
	parts := strings.Split(name, "_")
	if len(parts) != 3 || parts[2] == "" {
		return "", false
	}
	return types.UID(parts[2]), true
}

// removeDanglingLinks deletes links whose log is gone, but not those of
// containers that have not ended: a log is away for a moment when it is rotated.
func (l logs) removeDanglingLinks(containers []*runtimeapi.Container) error {
	keep := make(map[string]bool)
	for _, container := range containers {
		if container.GetState() != runtimeapi.ContainerState_CONTAINER_EXITED {
			keep[linkName(container)] = true
		}
	}
	return within(l.links, func(root *os.Root) error {
		entries, err := fs.ReadDir(root.FS(), ".")
		if err != nil {
			return fmt.Errorf("list log links: %w", err)
		}
		var errs []error
		for _, entry := range entries {
			name := entry.Name()
			if entry.Type() != fs.ModeSymlink || path.Ext(name) != ".log" || keep[name] || !dangling(path.Join(l.links, name)) {
				continue
			}
			if err := missingIsFine(root.Remove(name)); err != nil {
				errs = append(errs, fmt.Errorf("remove dangling link: %w", err))
			}
		}
		return errors.Join(errs...)
	})
}

func linkName(container *runtimeapi.Container) string {
	info := cri.ParseContainer(container.GetLabels(), container.GetAnnotations())
	return crilog.LinkPath("", info.PodNamespace, info.PodName, info.ContainerName, container.GetId())
}

// dangling follows the link as its readers do: it leads out of its directory.
func dangling(link string) bool {
	_, err := os.Stat(link)
	return errors.Is(err, fs.ErrNotExist)
}

// within calls do with the directory, and not at all when there is none.
func within(dir string, do func(*os.Root) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return missingIsFine(err)
	}
	defer root.Close()
	return do(root)
}

func missingIsFine(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
