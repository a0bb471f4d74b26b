package metaclient_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/metatest"
)

// world is a cloud, and a node that survives its agent.
type world struct {
	t      *testing.T
	cloud  *metatest.Cloud
	random *rand.Rand
	path   string
	client *metaclient.Client
	disk   func(err error) // takes no more writes until it is given nil
	full   bool
	stop   func()
	trace  []string
	number int

	mu      sync.Mutex // guards the rest
	broken  []string
	handed  []string // names of the last complete set
	newest  map[metaclient.Ref]int
	flying  map[metaclient.Ref]int
	last    map[string]int // newest report on each topic
	flushed map[string]int // newest report that was flushed
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, cloud: metatest.New(), random: rand.New(rand.NewPCG(seed, 0)), path: storePath(t),
		newest: map[metaclient.Ref]int{}, flying: map[metaclient.Ref]int{}, last: map[string]int{}, flushed: map[string]int{},
	}
	w.boot()
	return w
}

// counted is the cloud, with an eye on how it is asked.
type counted struct {
	*metatest.Cloud
	w *world
}

func (c counted) Get(ctx context.Context, ref metaclient.Ref) (metav1.Object, error) {
	c.w.note(func() {
		if c.w.flying[ref]++; c.w.flying[ref] > 1 {
			c.w.broken = append(c.w.broken, ref.String()+" was asked for twice at once")
		}
	})
	defer c.w.note(func() { c.w.flying[ref]-- })
	return c.Cloud.Get(ctx, ref)
}

func (w *world) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) boot() {
	c, err := metaclient.Open(w.path, counted{w.cloud, w}, metaclient.Config{
		OnPods: func(pods []*corev1.Pod, complete bool) {
			if complete {
				w.note(func() { w.handed = names(pods) })
			}
		},
	})
	require.NoError(w.t, err)
	w.client, w.disk, w.full = c, metaclient.Breakable(c), false
	w.stop = start(w.t, c)
}

// crash leaves the file as it is, with nothing flushed, and boots from it.
func (w *world) crash() {
	left := copyFile(w.t, w.path)
	w.fill(false)
	w.stop()
	require.NoError(w.t, w.client.Close())
	w.path = left
	c := mustOpen(w.t, copyFile(w.t, left), watchFunc(silent), metaclient.Config{})
	pods, err := c.Pods(w.t.Context())
	require.NoError(w.t, err)
	w.note(func() {
		if w.handed != nil && !slices.Equal(w.handed, names(pods)) {
			w.broken = append(w.broken, fmt.Sprintf("pods %v were handed on, and %v are there after a crash", w.handed, names(pods)))
		}
		w.last = maps.Clone(w.flushed)
	})
	w.boot()
	w.look()
}

func (w *world) fill(full bool) {
	if w.full = full; full {
		w.disk(syscall.ENOSPC)
		return
	}
	w.disk(nil)
}

func (w *world) fresh() string {
	w.number++
	return strconv.Itoa(w.number)
}

func (w *world) unruly(on bool) {
	if !on {
		w.cloud.Unruly(nil)
		return
	}
	w.cloud.Unruly(rand.New(rand.NewPCG(w.random.Uint64(), 0)))
}

func (w *world) putPod(n int) {
	p := uses(name("p", n), name("c", n), name("s", (n+w.random.IntN(2))%3))
	p.Labels["n"] = w.fresh()
	w.cloud.Put(p)
}

func (w *world) deletePod(n int) {
	w.cloud.DeletePods(pod(name("p", n)).UID)
	w.note(func() {
		delete(w.last, name("p", n))
		delete(w.flushed, name("p", n))
	})
}

func (w *world) reportStatus(n int) {
	w.number++
	require.NoError(w.t, w.client.ReportPodStatus(w.t.Context(), restarted(name("p", n), int32(w.number))))
	pods, err := w.client.Pods(w.t.Context())
	require.NoError(w.t, err)
	if slices.Contains(names(pods), name("p", n)) { // else nobody wants to know
		w.note(func() { w.last[name("p", n)] = w.number })
	}
}

func (w *world) reportNode() {
	w.number++
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-1", Labels: map[string]string{"n": strconv.Itoa(w.number)}}}
	require.NoError(w.t, w.client.ReportNode(w.t.Context(), node))
	w.note(func() { w.last["node"] = w.number })
}

func (w *world) reportEvent(n int) {
	w.number++
	require.NoError(w.t, w.client.ReportEvent(w.t.Context(), event(name("e", n), int32(w.number))))
	w.note(func() { w.last[name("e", n)] = w.number })
}

func (w *world) flush() {
	err := w.client.Flush(w.t.Context())
	if w.full && err != nil {
		return
	}
	require.NoError(w.t, err)
	stored, err := w.client.Pods(w.t.Context())
	require.NoError(w.t, err)
	w.note(func() {
		for topic, number := range w.last {
			// The status of a pod that is not there is not kept.
			if topic[0] != 'p' || slices.Contains(names(stored), topic) {
				w.flushed[topic] = number
			}
		}
	})
}

// resync waits so long at most.
func (w *world) resync(patience time.Duration) {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	_ = w.client.Resync(ctx)
}

// read reads from several sides at once.
func (w *world) read(n int) {
	var readers sync.WaitGroup
	for range 5 {
		readers.Go(func() { w.see(configMapRef(name("c", n))) })
		readers.Go(func() { w.see(secretRef(name("s", n))) })
	}
	readers.Wait()
}

// look reads all that pods refer to.
func (w *world) look() {
	pods, err := w.client.Pods(w.t.Context())
	require.NoError(w.t, err)
	for _, p := range pods {
		w.see(configMapRef(p.Spec.Containers[0].EnvFrom[0].ConfigMapRef.Name))
		w.see(secretRef(p.Spec.Volumes[0].Secret.SecretName))
	}
}

func (w *world) see(ref metaclient.Ref) {
	before := 0
	w.note(func() { before = w.newest[ref] })
	o, err := get(w.t.Context(), w.client, ref)
	if err != nil {
		return
	}
	version, err := strconv.Atoi(o.GetResourceVersion())
	require.NoError(w.t, err)
	w.note(func() {
		if version < before {
			w.broken = append(w.broken, fmt.Sprintf("%s: version %d was seen after %d", ref, version, before))
		}
		w.newest[ref] = max(w.newest[ref], version)
	})
}

// settle lets the world come to rest.
func (w *world) settle() {
	w.fill(false)
	w.cloud.Unruly(nil)
	w.cloud.Delay(0)
	w.cloud.Heal()
	time.Sleep(10 * time.Minute)
	synctest.Wait()
}

// promises ends the world and returns what was broken.
func (w *world) promises() []string {
	w.look()
	w.compareObjects()
	w.compareReports()
	w.stop()
	require.NoError(w.t, w.client.Close())
	return w.broken
}

func (w *world) compareObjects() {
	pods, err := w.client.Pods(w.t.Context())
	require.NoError(w.t, err)
	want := []string{}
	for _, p := range w.cloud.Pods() {
		want = append(want, p.Name+" "+p.Labels["n"])
	}
	have := []string{}
	for _, p := range pods {
		have = append(have, p.Name+" "+p.Labels["n"])
	}
	if !slices.Equal(want, have) || !slices.Equal(names(pods), w.handed) {
		w.broken = append(w.broken, fmt.Sprintf("the cloud has pods %v, the node %v, handed on were %v", want, have, w.handed))
	}
	w.cloud.Cut()
	time.Sleep(time.Second)
	synctest.Wait()
	for _, ref := range w.cloud.Followed() {
		o, err := get(w.t.Context(), w.client, ref)
		switch want := w.cloud.Object(ref); {
		case want == nil && apierrors.IsNotFound(err):
		case want != nil && err == nil && want.GetResourceVersion() == o.GetResourceVersion():
		default:
			w.broken = append(w.broken, fmt.Sprintf("%s is not as in the cloud: %v", ref, err))
		}
	}
}

func (w *world) compareReports() {
	for topic, number := range w.last {
		got := 0
		switch topic[0] {
		case 'p':
			status := w.cloud.Status(pod(topic).UID)
			if len(status.ContainerStatuses) > 0 {
				got = int(status.ContainerStatuses[0].RestartCount)
			}
			if !slices.Contains(w.handed, topic) {
				continue
			}
		case 'n':
			if node := w.cloud.Node("edge-1"); node != nil {
				got, _ = strconv.Atoi(node.Labels["n"])
			}
		default:
			if e := w.cloud.Event("default", topic); e != nil {
				got = int(e.Count)
			}
		}
		// After a crash there may be a newer one that was sent and not flushed.
		if got < number {
			w.broken = append(w.broken, fmt.Sprintf("report %d on %s did not arrive, %d did", number, topic, got))
		}
	}
	if unsent := w.client.Health().Unsent; unsent > 0 {
		w.broken = append(w.broken, fmt.Sprintf("%d reports are unsent", unsent))
	}
}
