package conformance

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func logExpectations() []expectation {
	return []expectation{
		{"output is in the log, by line, with time and stream", logLines},
		{"a long line is in the log in parts", logLongLine},
		{"a last line without its end is in the log as a part", logOpenLine},
		{"the log is there from the start, and stays", logStays},
		{"a log that is there is continued", logContinued},
		{"a container without a log path has no log", logNone},
		{"a renamed log is left when the log is opened anew", logReopened},
		{"only a running container's log is opened anew", logReopenNotRunning},
	}
}

// logLine is a line of a log in CRI format.
type logLine struct {
	at     time.Time
	stream string
	full   bool
	text   string
}

var logFormat = regexp.MustCompile(`^(\S+) (stdout|stderr) ([FP]) (.*)$`)

// log reads a log, every line of which has to be well formed.
func (s *subject) log(path string) []logLine {
	s.t.Helper()
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(s.t, err)
	var lines []logLine
	for text := range strings.Lines(string(content)) {
		if !strings.HasSuffix(text, "\n") {
			continue // being written
		}
		fields := logFormat.FindStringSubmatch(strings.TrimSuffix(text, "\n"))
		require.NotNil(s.t, fields, "malformed: %q", text)
		at, err := time.Parse(time.RFC3339Nano, fields[1])
		require.NoError(s.t, err)
		lines = append(lines, logLine{at: at, stream: fields[2], full: fields[3] == "F", text: fields[4]})
	}
	return lines
}

// awaitLog waits for a line in a log: what is printed is written some time after that, even after the container's end.
func (s *subject) awaitLog(path, text string) {
	s.t.Helper()
	s.await("the line "+text+" in "+path, func() bool {
		for _, line := range s.log(path) {
			if strings.HasSuffix(line.text, text) {
				return true
			}
		}
		return false
	})
}

// loggedBy runs a program to its end and returns the lines of one stream, the last of which ends with a text.
func (s *subject) loggedBy(program Program, stream, last string) []logLine {
	s.t.Helper()
	path := s.status(s.finished(s.runPod("logs"), "app", program)).GetLogPath()
	s.awaitLog(path, last)
	var lines []logLine
	for _, line := range s.log(path) {
		if line.stream == stream {
			lines = append(lines, line)
		}
	}
	return lines
}

// How the lines of the two streams are mixed is not stated, as they are read apart.
func logLines(s *subject) {
	program := Program{Out: "first\n\n third, with spaces \n", Err: "wrong\n"}
	path := s.status(s.finished(s.runPod("logs"), "app", program)).GetLogPath()
	s.awaitLog(path, "third, with spaces ")
	s.awaitLog(path, "wrong")
	texts := map[string][]string{}
	for _, line := range s.log(path) {
		assert.True(s.t, line.full)
		s.requireNow(line.at.UnixNano())
		_, offset := line.at.Zone()
		assert.Zero(s.t, offset, "a time in UTC")
		texts[line.stream] = append(texts[line.stream], line.text)
	}
	assert.Equal(s.t, []string{"first", "", " third, with spaces "}, texts["stdout"])
	assert.Equal(s.t, []string{"wrong"}, texts["stderr"])
}

func logLongLine(s *subject) {
	long := strings.Repeat("0123456789", 4000)
	lines := s.loggedBy(Program{Out: long + "end\nnext\n"}, "stdout", "next")
	require.Greater(s.t, len(lines), 2)
	text := ""
	for i, line := range lines[:len(lines)-1] {
		assert.Equal(s.t, i == len(lines)-2, line.full, "only the last part is marked full")
		text += line.text
	}
	assert.Equal(s.t, long+"end", text)
	assert.True(s.t, lines[len(lines)-1].full)
}

func logOpenLine(s *subject) {
	lines := s.loggedBy(Program{Out: "closed\nopen"}, "stdout", "open")
	require.Len(s.t, lines, 2)
	assert.True(s.t, lines[0].full)
	assert.False(s.t, lines[1].full)
}

func logStays(s *subject) {
	p := s.runPod("logs")
	require.NoError(s.t, os.Mkdir(filepath.Join(p.config.LogDirectory, "app"), 0o755))
	config := s.containerConfig("app", Program{Lasts: Forever})
	config.LogPath = filepath.Join("app", "0.log")
	app := s.createFrom(p, config)
	require.NoError(s.t, s.rt.StartContainer(s.ctx, app))
	path := filepath.Join(p.config.LogDirectory, config.LogPath)
	assert.FileExists(s.t, path, "before anything is printed")
	require.NoError(s.t, s.rt.RemoveContainer(s.ctx, app))
	require.NoError(s.t, s.rt.RemovePodSandbox(s.ctx, p.id))
	assert.FileExists(s.t, path)
}

func logContinued(s *subject) {
	p := s.runPod("logs")
	path := filepath.Join(p.config.LogDirectory, "app.log")
	earlier := "2001-02-03T04:05:06Z stdout F earlier\n"
	require.NoError(s.t, os.WriteFile(path, []byte(earlier), 0o640))
	s.finished(p, "app", Program{Out: "later\n"})
	s.awaitLog(path, "later")
	lines := s.log(path)
	require.Len(s.t, lines, 2)
	assert.Equal(s.t, "earlier", lines[0].text)
}

func logNone(s *subject) {
	p := s.runPod("logs")
	config := s.containerConfig("app", Program{Out: "unheard\n"})
	config.LogPath = ""
	app := s.createFrom(p, config)
	require.NoError(s.t, s.rt.StartContainer(s.ctx, app))
	s.awaitState(app, runtimeapi.ContainerState_CONTAINER_EXITED)
	s.requireEnd(app, 0, "Completed")
	assert.Empty(s.t, s.status(app).GetLogPath())
	entries, err := os.ReadDir(p.config.LogDirectory)
	require.NoError(s.t, err)
	assert.Empty(s.t, entries)
}

func logReopened(s *subject) {
	app := s.start(s.runPod("logs"), "app", Program{Every: 50 * time.Millisecond, Lasts: Forever})
	path := s.status(app).GetLogPath()
	s.awaitLog(path, Tick)
	rotated := path + ".rotated"
	require.NoError(s.t, os.Rename(path, rotated))
	before := len(s.log(rotated))
	s.await("lines in the renamed file", func() bool { return len(s.log(rotated)) > before })
	assert.NoFileExists(s.t, path)

	require.NoError(s.t, s.rt.ReopenContainerLog(s.ctx, app))
	s.awaitLog(path, Tick)
	after := len(s.log(rotated))
	s.await("more lines", func() bool { return len(s.log(path)) > 3 })
	assert.Len(s.t, s.log(rotated), after)
}

func logReopenNotRunning(s *subject) {
	p := s.runPod("logs")
	require.Error(s.t, s.rt.ReopenContainerLog(s.ctx, s.create(p, "created", Program{})))
	exited := s.finished(p, "exited", Program{})
	path := s.status(exited).GetLogPath()
	require.NoError(s.t, os.Rename(path, path+".rotated"))
	require.Error(s.t, s.rt.ReopenContainerLog(s.ctx, exited))
	assert.NoFileExists(s.t, path)
}
