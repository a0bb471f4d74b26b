package podsync

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
)

// The bounds of a termination message (Kubernetes: "Determine the Reason for Pod
// Failure").
const (
	maxMessage      = 4096 // bytes of the file
	maxLogMessage   = 2048 // bytes of the log, where it stands in for the file
	maxMessageLines = 80
)

// messages returns what the pod's ended containers left in their termination
// message files, or in their logs where their policy says so, by container ID.
// Each is read once and remembered in known.
func messages(state *cri.PodState, known map[string]string) map[string]string {
	found := make(map[string]string, len(known))
	for _, c := range state.Containers {
		if !c.Exited() {
			continue
		}
		message, read := known[c.GetId()]
		if !read {
			message = terminationMessage(c)
		}
		found[c.GetId()] = message
	}
	return found
}

// terminationMessage reads what the container left. That it could not be read is
// worth telling in its place.
func terminationMessage(c *cri.Container) string {
	info := c.Info()
	message, err := fileMessage(c, info.TerminationMessagePath)
	if err != nil {
		return fmt.Sprintf("Error on reading termination log: %v", err)
	}
	failed := c.GetExitCode() != 0 && c.GetReason() != "ContainerCannotRun"
	if message == "" && failed && info.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		return logMessage(c.GetLogPath())
	}
	return message
}

// fileMessage reads the end of the file on the node that the runtime says was
// mounted at the path.
func fileMessage(c *cri.Container, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	for _, mount := range c.GetMounts() {
		if filepath.Clean(mount.GetContainerPath()) == filepath.Clean(path) {
			return tail(mount.GetHostPath(), maxMessage)
		}
	}
	return "", nil
}

// tail reads the last bytes of a file. One that is not there has none. It may be a pipe
// that a container has made in a volume: nobody waits for who writes to it.
func tail(path string, limit int64) (string, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	if _, err := file.Seek(max(0, end-limit), io.SeekStart); err != nil {
		return "", err
	}
	content, err := io.ReadAll(io.LimitReader(file, limit))
	return string(content), err
}

// logMessage is the end of the container's output.
func logMessage(logPath string) string {
	output, err := crilog.Tail(logPath, maxMessageLines, maxLogMessage)
	if err != nil {
		return fmt.Sprintf("Error reading termination message from logs: %v", err)
	}
	return output
}
