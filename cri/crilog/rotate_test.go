package crilog_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
	"github.com/edged-project/edged/cri/critest"
)

// logger is a runtime with one container, whose log a test writes.
type logger struct {
	t       *testing.T
	dir     string // of the pods' logs
	path    string // of the log
	written int

	mu      sync.Mutex // guards what follows
	file    *os.File
	lists   int
	reopens int
	err     error // of a reopen
	late    bool  // the log is reopened, though err says otherwise
}

func newLogger(t *testing.T) *logger {
	l := &logger{t: t, dir: t.TempDir()}
	l.path = filepath.Join(crilog.PodDirectory(l.dir, "shop", "web", "uid-1"), crilog.ContainerPath("app", 2))
	require.NoError(t, os.MkdirAll(filepath.Dir(l.path), 0o755))
	l.open()
	t.Cleanup(func() { _ = l.file.Close() })
	return l
}

func (l *logger) open() {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	require.NoError(l.t, err)
	if l.file != nil {
		_ = l.file.Close()
	}
	l.file = file
}

// write writes so many numbered lines of 100 bytes.
func (l *logger) write(lines int) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for range lines {
		entry := time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z") + fmt.Sprintf(" stdout F %059d\n", l.written)
		l.written++
		_, err := l.file.WriteString(entry)
		require.NoError(l.t, err)
		require.Len(l.t, entry, 100)
	}
}

func (l *logger) ListContainers(context.Context, *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lists++
	spec := &corev1.Container{Name: "app"}
	return []*runtimeapi.Container{{
		Id: "id-app", Labels: cri.ContainerLabels(l.pod(), "app"), Annotations: cri.ContainerAnnotations(l.pod(), spec, 2),
	}}, nil
}

func (l *logger) pod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid-1"}}
}

func (l *logger) ReopenContainerLog(_ context.Context, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	require.Equal(l.t, "id-app", id)
	l.reopens++
	if l.err == nil || l.late {
		l.open()
	}
	return l.err
}

// rotator holds the log to four files of 1000 bytes.
func (l *logger) rotator() *crilog.Rotator {
	return crilog.NewRotator(l, crilog.RotatorConfig{PodLogs: l.dir, MaxSize: 1000, MaxFiles: 4})
}

// files are the names that the log has.
func (l *logger) files() []string {
	l.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(l.path))
	require.NoError(l.t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// numbers returns the numbers of all lines that are there, in the order of the files.
func (l *logger) numbers() []int {
	l.t.Helper()
	names := l.files()
	slices.Sort(names)
	names = append(names[1:], names[0]) // the newest has the shortest name
	var numbers []int
	for _, name := range names {
		file, err := os.Open(filepath.Join(filepath.Dir(l.path), name))
		require.NoError(l.t, err)
		defer file.Close()
		var content io.Reader = file
		if strings.HasSuffix(name, ".gz") {
			content, err = gzip.NewReader(file)
			require.NoError(l.t, err)
		}
		text, err := io.ReadAll(content)
		require.NoError(l.t, err)
		numbers = append(numbers, numbersIn(l.t, string(text))...)
	}
	return numbers
}

func numbersIn(t *testing.T, text string) []int {
	t.Helper()
	var numbers []int
	for line := range strings.Lines(text) {
		var number int
		_, err := fmt.Sscanf(line[strings.LastIndexByte(strings.TrimSpace(line), ' ')+1:], "%d", &number)
		require.NoError(t, err, line)
		numbers = append(numbers, number)
	}
	return numbers
}

func upTo(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

func TestALogIsRotatedWhenItIsTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogger(t)
		r := l.rotator()
		rotate := func(want bool) {
			t.Helper()
			did, err := r.Rotate(t.Context())
			require.NoError(t, err)
			assert.Equal(t, want, did)
			time.Sleep(time.Minute)
		}
		rotate(false)
		l.lists = 0
		l.write(9)
		rotate(false)
		assert.Equal(t, []string{"2.log"}, l.files())
		assert.Zero(t, l.lists, "the runtime is not asked for nothing")

		l.write(1)
		rotate(true)
		assert.Equal(t, []string{"2.log", "2.log.20000101-000200"}, l.files(), "the newest one stays plain")
		rotate(false)
		l.write(12)
		rotate(true)
		assert.Equal(t, []string{"2.log", "2.log.20000101-000200.gz", "2.log.20000101-000400"}, l.files())
		assert.Equal(t, upTo(22), l.numbers())

		for range 5 {
			l.write(10)
			rotate(true)
			assert.LessOrEqual(t, len(l.files()), 4)
		}
		assert.Equal(t, upTo(72)[42:], l.numbers(), "the oldest go")
	})
}

// As many times as a round fails at reopening, the log is where it was.
func TestALogThatCannotBeReopenedKeepsItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogger(t)
		l.write(10)
		l.err = errors.New("the runtime is away")
		for range 3 {
			did, err := l.rotator().Rotate(t.Context())
			require.ErrorContains(t, err, "2.log: the runtime is away")
			assert.False(t, did)
			assert.Equal(t, []string{"2.log"}, l.files())
			l.write(1)
			time.Sleep(time.Minute)
		}
		l.err = nil
		did, err := l.rotator().Rotate(t.Context())
		require.NoError(t, err)
		assert.True(t, did)
		assert.Equal(t, upTo(13), l.numbers())
	})
}

// A runtime may do what it is asked, and its answer get lost: as when it restarts, or
// the agent is stopped.
func TestALogThatWasReopenedAllTheSameKeepsItsNewFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogger(t)
		l.write(10)
		l.err, l.late = errors.New("the answer got lost"), true
		_, err := l.rotator().Rotate(t.Context())
		require.ErrorContains(t, err, "the answer got lost")
		l.write(3)
		assert.Equal(t, upTo(13), l.numbers())
		assert.Len(t, l.files(), 2)
	})
}

func TestALogWhoseDirectoryCannotBeReadIsNotRotatedForThat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogger(t)
		r := l.rotator()
		l.write(5)
		_, err := r.Rotate(t.Context())
		require.NoError(t, err)

		var limit syscall.Rlimit
		require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
		none := limit
		none.Cur = 0 // open files, as when others have them all
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none))
		did, err := r.Rotate(t.Context())
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
		require.NoError(t, err)
		assert.False(t, did)
		assert.Equal(t, []string{"2.log"}, l.files())

		require.NoError(t, os.Remove(l.path))
		_, err = r.Rotate(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"2.log"}, l.files(), "it is still known that it was there")
	})
}

// As on a disk that is full, or for a file of which a sector cannot be read: the log
// would grow without end.
func TestAFileThatCannotBeCompressedDoesNotKeepTheLogFromRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogger(t)
		l.write(10)
		_, err := l.rotator().Rotate(t.Context())
		require.NoError(t, err)
		inTheWay := l.path + ".20000101-000000.tmp"
		require.NoError(t, os.MkdirAll(inTheWay+"/x", 0o755))
		for range 4 {
			time.Sleep(time.Minute)
			l.write(10)
			did, err := l.rotator().Rotate(t.Context())
			assert.True(t, did)
			if exists := slices.Contains(l.files(), "2.log.20000101-000000"); exists {
				require.ErrorContains(t, err, "compress "+l.path+".20000101-000000: ")
			} else {
				require.NoError(t, err)
			}
		}
		require.NoError(t, os.RemoveAll(inTheWay))
		assert.Equal(t, []string{"2.log", "2.log.20000101-000200.gz", "2.log.20000101-000300.gz", "2.log.20000101-000400"}, l.files())
		assert.Equal(t, upTo(50)[20:], l.numbers(), "it goes when it is the oldest")
	})
}

// The clock of a board without a battery may be set back, also by years.
func TestRotatedLogsKeepTheirOrderWhenTheClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogger(t)
		l.write(10)
		require.NoError(t, os.Rename(l.path, l.path+".20380119-031407"))
		l.open()
		for range 3 {
			l.write(10)
			did, err := l.rotator().Rotate(t.Context())
			require.NoError(t, err)
			assert.True(t, did)
		}
		assert.Equal(t, []string{"2.log", "2.log.20380119-031408.gz", "2.log.20380119-031409.gz", "2.log.20380119-031410"}, l.files())
		assert.Equal(t, upTo(40)[10:], l.numbers(), "the oldest go")
	})
}

// Wherever a crash has cut a rotation short, the next one loses no line.
func TestARotationThatWasCutShortIsCompleted(t *testing.T) {
	for name, cut := range map[string]func(l *logger){
		"between rename and reopen": func(l *logger) {
			require.NoError(l.t, os.Rename(l.path, l.path+".20000101-000005"))
		},
		"while it compressed": func(l *logger) {
			require.NoError(l.t, os.WriteFile(l.path+".20000101-000000.tmp", []byte("half"), 0o600))
		},
		"before it removed what it had compressed": func(l *logger) {
			old := l.path + ".20000101-000000"
			content, err := os.ReadFile(old)
			require.NoError(l.t, err)
			file, err := os.Create(old + ".gz")
			require.NoError(l.t, err)
			writer := gzip.NewWriter(file)
			_, err = writer.Write(content)
			require.NoError(l.t, errors.Join(err, writer.Close(), file.Close()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLogger(t)
				l.write(10)
				_, err := l.rotator().Rotate(t.Context())
				require.NoError(t, err)
				time.Sleep(5 * time.Second)
				l.write(5)
				cut(l)
				l.write(5) // the runtime writes on, whatever the name
				for range 3 {
					time.Sleep(time.Minute)
					_, err = l.rotator().Rotate(t.Context())
					require.NoError(t, err)
					l.write(3)
				}
				assert.Equal(t, upTo(29), l.numbers())
				for _, file := range l.files() {
					assert.NotContains(t, file, "tmp")
				}
			})
		})
	}
}

func TestOneLogThatCannotBeRotatedHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := critest.Start(t, critest.Config{WriteLogs: true, Scripts: []critest.Script{{Runs: []critest.Run{{
			Logs: []critest.Log{{Text: strings.Repeat("x", 100), Every: time.Second}},
		}}}}})
		client := rt.Client(t)
		dir := t.TempDir()
		broken := startLogging(t, client, dir, "broken")
		startLogging(t, client, dir, "good")
		time.Sleep(30 * time.Second)
		rt.Inject(critest.Fault{Method: "ReopenContainerLog", Match: func(c critest.Call) bool { return c.ID == broken }, Err: os.ErrPermission})
		did, err := crilog.NewRotator(client, crilog.RotatorConfig{PodLogs: dir, MaxSize: 1000}).Rotate(t.Context())
		require.ErrorContains(t, err, "broken")
		assert.True(t, did)
		for name, want := range map[string]int{"broken": 1, "good": 2} {
			assert.Len(t, logsOf(t, dir, name), want, name)
		}
	})
}

// Who frees a disk by hand removes what is large, and the runtime writes on to a file
// that has no name any more.
func TestALogThatWasDeletedIsMadeAgain(t *testing.T) {
	for name, remove := range map[string]func(w *writing){
		"the file": func(w *writing) { require.NoError(w.t, os.Remove(w.path)) },
		"the file, while another run's stays": func(w *writing) {
			require.NoError(w.t, os.WriteFile(filepath.Join(filepath.Dir(w.path), "1.log"), nil, 0o600))
			require.NoError(w.t, os.Remove(w.path))
		},
		"its directory":    func(w *writing) { require.NoError(w.t, os.RemoveAll(filepath.Dir(w.path))) },
		"those of its pod": func(w *writing) { require.NoError(w.t, os.RemoveAll(filepath.Dir(filepath.Dir(w.path)))) },
		"before the agent began": func(w *writing) {
			require.NoError(w.t, os.Remove(w.path))
			w.rotator = w.newRotator(w.dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWriting(t, func(t *testing.T, w *writing) {
				remove(w)
				w.round()
				require.FileExists(t, w.path)
				time.Sleep(5 * time.Second)
				text, err := os.ReadFile(w.path)
				require.NoError(t, err)
				assert.Equal(t, 5, strings.Count(string(text), "\n"), "the container logs on")
				w.round()
				assert.Equal(t, 1, w.rt.Count("ReopenContainerLog"))
			})
		})
	}
}

func TestALogThatCouldNotBeMadeAgainIsNotForgotten(t *testing.T) {
	inWriting(t, func(t *testing.T, w *writing) {
		away := w.rt.Inject(critest.Fault{Method: "ReopenContainerLog", Err: os.ErrPermission})
		require.NoError(t, os.Remove(w.path))
		for range 2 {
			_, err := w.rotator.Rotate(t.Context())
			require.ErrorContains(t, err, "0.log")
		}
		away()
		away = w.rt.Inject(critest.Fault{Method: "StreamContainers", Err: os.ErrPermission})
		_, err := w.rotator.Rotate(t.Context())
		require.Error(t, err)
		away()
		w.round()
		assert.FileExists(t, w.path)
	})
}

// Its log goes when it is removed.
func TestADeletedLogOfAContainerThatHasEndedIsAskedForOnce(t *testing.T) {
	inWriting(t, func(t *testing.T, w *writing) {
		require.NoError(t, w.rt.Exit(w.id, 0))
		require.NoError(t, os.Remove(w.path))
		w.rt.ResetCalls()
		for range 3 {
			w.round()
		}
		assert.NoFileExists(t, w.path)
		assert.Equal(t, 1, w.rt.Count("StreamContainers"))
		assert.Zero(t, w.rt.Count("ReopenContainerLog"))
	})
}

func TestContainersThatLogElsewhereAreLeftAlone(t *testing.T) {
	inWriting(t, func(t *testing.T, w *writing) {
		empty := t.TempDir()
		w.rotator = w.newRotator(empty)
		w.round()
		assert.Zero(t, w.rt.Count("ReopenContainerLog"))
		entries, err := os.ReadDir(empty)
		require.NoError(t, err)
		assert.Empty(t, entries)
	})
}

// writing is a container that logs a line each second, and a Rotator that knows of it.
// No log is too large.
type writing struct {
	t         *testing.T
	rt        *critest.Runtime
	client    *cri.Client
	rotator   *crilog.Rotator
	id        string
	dir, path string
}

func inWriting(t *testing.T, play func(*testing.T, *writing)) {
	synctest.Test(t, func(t *testing.T) {
		w := &writing{t: t, dir: t.TempDir()}
		w.rt = critest.Start(t, critest.Config{WriteLogs: true, Scripts: []critest.Script{{Runs: []critest.Run{{
			Logs: []critest.Log{{At: 500 * time.Millisecond, Text: "tick", Every: time.Second}},
		}}}}})
		w.client = w.rt.Client(t)
		w.rotator = w.newRotator(w.dir)
		w.round()
		w.id = startLogging(t, w.client, w.dir, "web")
		w.path = logsOf(t, w.dir, "web")[0]
		time.Sleep(10 * time.Second)
		w.round()
		play(t, w)
	})
}

func (w *writing) newRotator(dir string) *crilog.Rotator {
	return crilog.NewRotator(w.client, crilog.RotatorConfig{PodLogs: dir})
}

// round has the Rotator do a round in which it rotates nothing.
func (w *writing) round() {
	w.t.Helper()
	did, err := w.rotator.Rotate(w.t.Context())
	require.NoError(w.t, err)
	assert.False(w.t, did)
}

// The runtime has no log open of a container that has ended.
func TestTheLogOfAContainerThatHasEndedIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		much := []critest.Log{{Text: strings.Repeat("x", 1000)}}
		client := critest.Start(t, critest.Config{WriteLogs: true, Scripts: []critest.Script{
			{Pod: "ended", Runs: []critest.Run{{Logs: much, Duration: time.Second}}},
			{Pod: "running", Runs: []critest.Run{{Logs: much}}},
		}}).Client(t)
		dir := t.TempDir()
		startLogging(t, client, dir, "ended")
		startLogging(t, client, dir, "running")
		time.Sleep(2 * time.Second)
		did, err := crilog.NewRotator(client, crilog.RotatorConfig{PodLogs: dir, MaxSize: 1000}).Rotate(t.Context())
		require.NoError(t, err)
		assert.True(t, did)
		assert.Len(t, logsOf(t, dir, "ended"), 1)
		assert.Len(t, logsOf(t, dir, "running"), 2)
	})
}

// logsOf are the log files of the container that startLogging has started.
func logsOf(t *testing.T, dir, name string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "shop_"+name+"_uid-"+name, "app", "*"))
	require.NoError(t, err)
	return files
}

// startLogging starts a container that logs below dir, on a runtime in memory.
func startLogging(t *testing.T, client *cri.Client, dir, name string) string {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name)}}
	image := &runtimeapi.ImageSpec{Image: "app"}
	_, err := client.PullImage(t.Context(), image, nil, nil)
	require.NoError(t, err)
	return startContainer(t, client, dir, pod, image)
}

// startContainer starts the container app of a pod, which logs below dir.
func startContainer(t *testing.T, client *cri.Client, dir string, pod *corev1.Pod, image *runtimeapi.ImageSpec, command ...string) string {
	t.Helper()
	sandbox := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID)},
		Labels:   cri.SandboxLabels(pod), LogDirectory: crilog.PodDirectory(dir, pod.Namespace, pod.Name, pod.UID),
		Linux: &runtimeapi.LinuxPodSandboxConfig{},
	}
	require.NoError(t, os.MkdirAll(filepath.Join(sandbox.LogDirectory, "app"), 0o755))
	sandboxID, err := client.RunPodSandbox(t.Context(), sandbox, "")
	require.NoError(t, err)
	id, err := client.CreateContainer(t.Context(), sandboxID, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "app"}, Image: image, Command: command, LogPath: crilog.ContainerPath("app", 0),
		Labels: cri.ContainerLabels(pod, "app"), Annotations: cri.ContainerAnnotations(pod, &corev1.Container{Name: "app"}, 0),
		Linux: &runtimeapi.LinuxContainerConfig{},
	}, sandbox)
	require.NoError(t, err)
	require.NoError(t, client.StartContainer(t.Context(), id))
	return id
}

func TestRotatorRefusesTooFewFiles(t *testing.T) {
	require.EqualError(t, crilog.NewRotator(nil, crilog.RotatorConfig{MaxFiles: 1}).Run(t.Context()), "crilog: MaxFiles is 1, want 2 at least")
}

// grow makes the log a file of that size, without writing that much.
func (l *logger) grow(size int64) {
	l.t.Helper()
	require.NoError(l.t, os.Truncate(l.path, size))
}

// rotating runs a Rotator until the function that it returns is called.
func (l *logger) rotating(cfg crilog.RotatorConfig) (stop func()) {
	cfg.PodLogs = l.dir
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	go func() { done <- crilog.NewRotator(l, cfg).Run(ctx) }()
	return func() {
		cancel()
		require.NoError(l.t, <-done)
	}
}

// The kubelet's figures: each 10 s, 10 MiB, 5 files.
func TestWhatALogIsHeldToUnlessToldOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogger(t)
		defer l.rotating(crilog.RotatorConfig{})()
		passes := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		l.grow(10<<20 - 1)
		passes(15 * time.Second)
		assert.Len(t, l.files(), 1, "not yet too large")
		l.grow(10 << 20)
		passes(5*time.Second - time.Millisecond)
		assert.Len(t, l.files(), 1, "not yet its time")
		passes(time.Millisecond)
		assert.Len(t, l.files(), 2)
		for range 5 {
			passes(10 * time.Second)
			l.grow(10 << 20)
			passes(10 * time.Second)
		}
		assert.Len(t, l.files(), 5)
	})
}

func TestANegativeSizeIsForNoRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogger(t)
		l.write(100)
		stop := l.rotating(crilog.RotatorConfig{MaxSize: -1})
		time.Sleep(time.Hour)
		stop()
		assert.Equal(t, []string{"2.log"}, l.files())
		assert.Zero(t, l.lists)
	})
}

// A container that writes for a day is held to its limits.
func TestALogOfADayIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogger(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.rotator().Run(ctx) }()
		for range 24 * 60 * 6 {
			l.write(2)
			time.Sleep(10 * time.Second)
			var size int64
			files := l.files()
			for _, file := range files {
				if info, err := os.Stat(filepath.Join(filepath.Dir(l.path), file)); err == nil {
					size += info.Size()
				}
			}
			require.LessOrEqual(t, len(files), 5, "with one that is being compressed")
			require.LessOrEqual(t, size, int64(5000))
		}
		cancel()
		require.NoError(t, <-done)
		numbers := l.numbers()
		assert.Equal(t, l.written-1, numbers[len(numbers)-1])
		for i := range numbers[1:] {
			assert.Equal(t, numbers[i]+1, numbers[i+1])
		}
	})
}
