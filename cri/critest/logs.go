package critest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// maxLogLine is where containerd breaks a line into partial entries.
const maxLogLine = 16 << 10

// logFile is a container's log in CRI format. Like a runtime's, it stays the
// file that was opened, whatever happens to its name, until it is reopened. A
// nil logFile takes everything and writes nothing.
type logFile struct {
	path string

	mu   sync.Mutex // guards file, which is nil once closed
	file *os.File
}

func openLog(path string) (*logFile, error) {
	file, err := openLogPath(path)
	if err != nil {
		return nil, err
	}
	return &logFile{path: path, file: file}, nil
}

func openLogPath(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
}

func (l *logFile) write(lines []pendingLine) error {
	if l == nil || len(lines) == 0 {
		return nil
	}
	var entries bytes.Buffer
	for _, pending := range lines {
		appendEntries(&entries, pending.at, pending.line)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	_, err := l.file.Write(entries.Bytes())
	return err
}

// appendEntries writes what a container wrote as entries of a CRI log.
func appendEntries(entries *bytes.Buffer, at time.Time, line Log) {
	stream := runtimeapi.Stdout
	if line.Stderr {
		stream = runtimeapi.Stderr
	}
	entry := func(tag runtimeapi.LogTag, text string) {
		fmt.Fprintf(entries, "%s %s %s %s\n", at.UTC().Format(time.RFC3339Nano), stream, tag, text)
	}
	for text := range strings.Lines(line.output(at)) {
		text, finished := strings.CutSuffix(text, "\n")
		for len(text) > maxLogLine {
			entry(runtimeapi.LogTagPartial, text[:maxLogLine])
			text = text[maxLogLine:]
		}
		if finished {
			entry(runtimeapi.LogTagFull, text)
		} else {
			entry(runtimeapi.LogTagPartial, text)
		}
	}
}

// reopen goes on in a new file of the old name.
func (l *logFile) reopen() error {
	if l == nil {
		return nil
	}
	file, err := openLogPath(l.path)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.file
	l.file = file
	if old == nil { // closed meanwhile
		l.file = nil
		old = file
	}
	return old.Close()
}

func (l *logFile) close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

func (s *service) ReopenContainerLog(_ context.Context, req *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	log, err := s.r.runningLog(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	if err := log.reopen(); err != nil {
		return nil, failed("failed to create and open log file: %v", err)
	}
	return &runtimeapi.ReopenContainerLogResponse{}, nil
}

func (r *Runtime) runningLog(id string) (*logFile, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := find(r.containers, id)
	if err != nil {
		return nil, wrap(err, "an error occurred when try to find container %q", id)
	}
	if !c.running() {
		return nil, failed("container is not running")
	}
	return c.log, nil
}

// terminationLog is where Kubernetes mounts the file for the termination
// message when the pod does not say.
const terminationLog = "/dev/termination-log"

// writeTerminationMessage writes the message where the agent will look for it:
// in the host's file that is mounted at the container's termination message
// path. Without such a mount it is lost, as in a real container.
func writeTerminationMessage(config *runtimeapi.ContainerConfig, message string) error {
	if message == "" {
		return nil
	}
	message = stamp(message, time.Now())
	path := config.GetAnnotations()[cri.AnnotationTerminationMessagePath]
	if path == "" {
		path = terminationLog
	}
	for _, mount := range config.GetMounts() {
		if mount.GetContainerPath() == path {
			return overwrite(mount.GetHostPath(), message)
		}
	}
	return nil
}

// overwrite changes the content of a file that exists.
func overwrite(path, content string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	return errors.Join(err, file.Close())
}
