package manifests_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/manifests"
)

var (
	_ metaclient.Upstream = (*manifests.Source)(nil)
	_ metaclient.Getter   = (*manifests.Source)(nil)
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// web is a manifest of a good pod.
const web = `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - {name: main, image: "example.test/web:1"}
`

// folder writes the files into a new folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, dir, name, content)
	}
	return dir
}

// write puts a whole file in place in one step.
func write(t testing.TB, dir, name, content string) {
	t.Helper()
	unfinished := filepath.Join(dir, ".unfinished")
	require.NoError(t, os.WriteFile(unfinished, []byte(content), 0o600))
	require.NoError(t, os.Rename(unfinished, filepath.Join(dir, name)))
}

// read returns what a source over the folder delivers first, and its problems.
func read(t testing.TB, dir string, cfg manifests.Config) ([]*corev1.Pod, []manifests.Problem) {
	t.Helper()
	src := manifests.New(dir, cfg)
	enough := errors.New("enough")
	var pods []*corev1.Pod
	err := src.Watch(t.Context(), podSink(func(delivered []*corev1.Pod) error {
		pods = delivered
		return enough
	}))
	require.ErrorIs(t, err, enough)
	return pods, src.Problems()
}

// one reads a folder with a single file.
func one(t testing.TB, content string) ([]*corev1.Pod, []manifests.Problem) {
	t.Helper()
	return read(t, folder(t, map[string]string{"pod.yaml": content}), manifests.Config{NodeName: "edge-1"})
}

func names(pods []*corev1.Pod) []string {
	names := []string{}
	for _, pod := range pods {
		names = append(names, pod.Namespace+"/"+pod.Name)
	}
	return names
}

// watcher is a source at work.
type watcher struct {
	src *manifests.Source

	mu       sync.Mutex
	sets     [][]*corev1.Pod
	soFar    int // of the sets, those that are not complete
	objects  []metav1.Object
	gone     []metaclient.Ref
	problems []manifests.Problem // as told by OnProblem
}

func watch(t *testing.T, dir string, cfg manifests.Config) *watcher {
	t.Helper()
	w := &watcher{}
	cfg.OnProblem = func(p manifests.Problem) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.problems = append(w.problems, p)
	}
	w.src = manifests.New(dir, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- w.src.Watch(ctx, w)
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return w
}

// podSink is a sink for pods only.
type podSink func(pods []*corev1.Pod) error

func (s podSink) Pods(_ context.Context, pods []*corev1.Pod) error      { return s(pods) }
func (s podSink) PodsSoFar(_ context.Context, pods []*corev1.Pod) error { return s(pods) }
func (s podSink) Object(context.Context, metav1.Object) error           { return nil }
func (s podSink) Gone(context.Context, metaclient.Ref, string) error    { return nil }

func (w *watcher) Pods(_ context.Context, pods []*corev1.Pod) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sets = append(w.sets, pods)
	return nil
}

func (w *watcher) PodsSoFar(_ context.Context, pods []*corev1.Pod) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sets, w.soFar = append(w.sets, pods), w.soFar+1
	return nil
}

func (w *watcher) Object(_ context.Context, object metav1.Object) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.objects = append(w.objects, object)
	return nil
}

func (w *watcher) Gone(_ context.Context, ref metaclient.Ref, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = append(w.gone, ref)
	return nil
}

func (w *watcher) pushed() []metav1.Object {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]metav1.Object(nil), w.objects...)
}

func (w *watcher) removed() []metaclient.Ref {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]metaclient.Ref(nil), w.gone...)
}

func (w *watcher) delivered() [][]*corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([][]*corev1.Pod(nil), w.sets...)
}

// incomplete returns how many of the sets were not complete.
func (w *watcher) incomplete() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.soFar
}

func (w *watcher) told() []manifests.Problem {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]manifests.Problem(nil), w.problems...)
}

// eventually waits for a set with exactly these pods to be the newest.
func (w *watcher) eventually(t *testing.T, want ...string) []*corev1.Pod {
	t.Helper()
	var last []*corev1.Pod
	soon(t, func() bool {
		sets := w.delivered()
		if len(sets) == 0 {
			return false
		}
		last = sets[len(sets)-1]
		return slices.Equal(names(last), want)
	})
	return last
}

// soon is generous: the machine may be busy.
func soon(t *testing.T, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, 30*time.Second, 2*time.Millisecond)
}
