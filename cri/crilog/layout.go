package crilog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxLinkName is the longest file name that Linux file systems take, in bytes.
const maxLinkName = 255

const logSuffix = ".log"

// PodDirectory is the directory of a pod's logs below root, LogDirectory of the
// pod's sandboxes.
func PodDirectory(root, namespace, name string, uid types.UID) string {
	return filepath.Join(root, strings.Join([]string{namespace, name, string(uid)}, "_"))
}

// ContainerDirectory is the directory of a container's logs, relative to the
// pod's.
func ContainerDirectory(container string) string { return container }

// ContainerPath is the log file of a container, relative to the pod's
// directory: LogPath of the container's configuration.
func ContainerPath(container string, restartCount int) string {
	return filepath.Join(ContainerDirectory(container), strconv.Itoa(restartCount)+logSuffix)
}

// LinkPath is the link below dir by which log shippers find the log of a
// container. The name is cut, suffix included, to what file systems take.
func LinkPath(dir, namespace, pod, container, containerID string) string {
	name := fmt.Sprintf("%s_%s_%s-%s", pod, namespace, container, containerID)
	if limit := maxLinkName - len(logSuffix); len(name) > limit {
		name = name[:limit]
	}
	return filepath.Join(dir, name+logSuffix)
}

// Link makes the link of a container's log in dir. It does nothing when the
// log file does not exist (a runtime may log elsewhere) and replaces a link of
// the same name. It is idempotent.
func Link(dir string, pod *corev1.Pod, container, containerID, logFile string) error {
	if _, err := os.Stat(logFile); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	link := LinkPath(dir, pod.Namespace, pod.Name, container, containerID)
	if target, err := os.Readlink(link); err == nil && target == logFile {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("link log of container %q: %w", container, err)
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("link log of container %q: %w", container, err)
	}
	if err := os.Symlink(logFile, link); err != nil {
		return fmt.Errorf("link log of container %q: %w", container, err)
	}
	return nil
}

// NextRestartCount derives the restart count of a container's next instance
// from the log files that earlier ones left in dir (the container's log
// directory): the highest count found plus one, 0 when there is none. It is
// the fall-back for when the runtime has forgotten the earlier instances.
func NextRestartCount(dir string) (int, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find earlier logs: %w", err)
	}
	next := 0
	for _, entry := range entries {
		if count, ok := restartCountOf(entry.Name()); ok && count >= next {
			next = count + 1
		}
	}
	return next, nil
}

// RemoveEarlier removes what earlier runs of the container have logged than the one
// that logs to the file, rotated files too. It is for runs whose containers are gone.
// It is idempotent, and does nothing for a file that is no log by its name.
func RemoveEarlier(logFile string) error {
	dir, name := filepath.Split(logFile)
	count, ok := restartCountOf(name)
	if !ok {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return missingIsFine(err)
	}
	var errs []error
	for _, entry := range entries {
		if earlier, ok := restartCountOf(entry.Name()); ok && earlier < count {
			errs = append(errs, missingIsFine(os.Remove(filepath.Join(dir, entry.Name()))))
		}
	}
	return errors.Join(errs...)
}

// restartCountOf reads the count from "3.log" and from rotated names such as
// "3.log.20260102-150405.gz".
func restartCountOf(name string) (int, bool) {
	prefix, _, found := strings.Cut(name, logSuffix)
	if !found {
		return 0, false
	}
	count, err := strconv.Atoi(prefix)
	return count, err == nil && count >= 0
}
