package metaclient_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/metaclient"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// fakeUpstream delivers what the test sends to sets and answers on taken.
type fakeUpstream struct {
	sets  chan []*corev1.Pod
	taken chan error
	sink  metaclient.Sink // of the last Watch; for who has delivered a set to it
}

func newFakeUpstream() *fakeUpstream {
	return &fakeUpstream{sets: make(chan []*corev1.Pod), taken: make(chan error)}
}

func (f *fakeUpstream) Watch(ctx context.Context, sink metaclient.Sink) error {
	f.sink = sink
	for {
		select {
		case <-ctx.Done():
			return nil
		case pods := <-f.sets:
			err := sink.Pods(ctx, pods)
			f.taken <- err
			if err != nil {
				return err
			}
		}
	}
}

// deliver returns when Run has taken the set.
func (f *fakeUpstream) deliver(pods ...*corev1.Pod) error {
	f.sets <- pods
	return <-f.taken
}

// watchFunc is an Upstream made of one function.
type watchFunc func(ctx context.Context, deliver func([]*corev1.Pod) error) error

func (w watchFunc) Watch(ctx context.Context, sink metaclient.Sink) error {
	return w(ctx, func(pods []*corev1.Pod) error { return sink.Pods(ctx, pods) })
}

// sinkFunc is one, too.
type sinkFunc func(ctx context.Context, sink metaclient.Sink) error

func (f sinkFunc) Watch(ctx context.Context, sink metaclient.Sink) error { return f(ctx, sink) }

func silent(ctx context.Context, _ func([]*corev1.Pod) error) error {
	<-ctx.Done()
	return nil
}

// reportingUpstream also takes reports.
type reportingUpstream struct {
	metaclient.Upstream
	report func(ctx context.Context, pod *corev1.Pod) error
}

func (r reportingUpstream) ReportPodStatus(ctx context.Context, pod *corev1.Pod) error {
	return r.report(ctx, pod)
}

// heardBy returns the upstream as one that takes statuses, and these as they come.
func heardBy(up metaclient.Upstream) (reportingUpstream, <-chan corev1.PodStatus) {
	sent := make(chan corev1.PodStatus, 10)
	return reportingUpstream{up, func(_ context.Context, pod *corev1.Pod) error {
		sent <- pod.Status
		return nil
	}}, sent
}

// recorder keeps what OnPods was given.
type recorder struct {
	mu    sync.Mutex
	calls []call
}

type call struct {
	names    []string
	pods     []*corev1.Pod
	complete bool
}

func (r *recorder) onPods(pods []*corev1.Pod, complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call{names(pods), pods, complete})
}

func (r *recorder) all() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]call(nil), r.calls...)
}

func (r *recorder) last(t *testing.T) call {
	t.Helper()
	calls := r.all()
	require.NotEmpty(t, calls)
	return calls[len(calls)-1]
}

func names(pods []*corev1.Pod) []string {
	names := []string{}
	for _, pod := range pods {
		names = append(names, pod.Name)
	}
	return names
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-of-" + name),
			Labels: map[string]string{"app": name},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.test/" + name + ":1"}}},
	}
}

func withStatus(p *corev1.Pod, s corev1.PodStatus) *corev1.Pod {
	p = p.DeepCopy()
	p.Status = s
	return p
}

func storePath(t *testing.T) string {
	return filepath.Join(t.TempDir(), "meta.db")
}

func mustOpen(t *testing.T, path string, up metaclient.Upstream, cfg metaclient.Config) *metaclient.Client {
	t.Helper()
	c, err := metaclient.Open(path, up, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// start runs c until the returned function is called, which waits for its end.
func start(t *testing.T, c *metaclient.Client) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		require.NoError(t, <-ended)
	}
}

// fill writes a store that holds the pods, with the statuses they carry, and
// closes it.
func fill(t *testing.T, path string, pods ...*corev1.Pod) {
	t.Helper()
	up := newFakeUpstream()
	c, err := metaclient.Open(path, up, metaclient.Config{})
	require.NoError(t, err)
	stop := start(t, c)
	require.NoError(t, up.deliver(pods...))
	stop()
	require.NoError(t, c.Close())
}

// stored opens the store, as after a restart, and returns its pods.
func stored(t *testing.T, path string) []*corev1.Pod {
	t.Helper()
	c, err := metaclient.Open(path, watchFunc(silent), metaclient.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	pods, err := c.Pods(t.Context())
	require.NoError(t, err)
	return pods
}

func copyFile(t *testing.T, from string) string {
	t.Helper()
	data, err := os.ReadFile(from)
	require.NoError(t, err)
	to := storePath(t)
	require.NoError(t, os.WriteFile(to, data, 0o600))
	return to
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// unchanged asserts that the file is, byte for byte, what it was.
func unchanged(t *testing.T, before []byte, path string) {
	t.Helper()
	assert.True(t, bytes.Equal(before, readFile(t, path)), "the file was written")
}

func at(seconds int64) metav1.Time { return metav1.NewTime(time.Unix(seconds, 0)) }
