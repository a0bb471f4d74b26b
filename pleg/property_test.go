package pleg_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/pleg"
)

// Whatever happens in and to the runtime, in any order: a state is never older
// than what was asked for nor than one that was had before, and when all is quiet
// the states are the truth and those who listened have seen it.
func TestStatesAreTrueWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Bare of T.Deadline, which a bubble forbids.
		rapid.Check(struct{ rapid.TB }{t}, func(r *rapid.T) { newWorld(r).run(r) })
	})
}

var (
	somePods = []types.UID{"a", "b", "c"}
	anyPod   = rapid.SampledFrom(somePods)
)

// world is a runtime, a generator on it, and a listener who looks at each pod
// that he is told of.
type world struct {
	runtime   *fakeRuntime
	generator *pleg.Generator
	objects   int // made so far, for their IDs

	last map[types.UID]time.Time // newest observation that was read

	mu   sync.Mutex                  // guards seen
	seen map[types.UID]*cri.PodState // what the listener saw last
}

func newWorld(r *rapid.T) *world {
	w := &world{
		runtime: newFakeRuntime(),
		seen:    map[types.UID]*cri.PodState{},
		last:    map[types.UID]time.Time{},
	}
	w.generator = pleg.New(w.runtime, pleg.Config{
		OnChange:       w.look,
		Inspectors:     rapid.IntRange(1, 3).Draw(r, "inspectors"),
		InspectTimeout: 5 * time.Second,
		ListTimeout:    5 * time.Second,
	})
	return w
}

func (w *world) look(uid types.UID) {
	state, err := w.generator.State(context.Background(), uid, time.Time{})
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.seen[uid] = state
	}
}

func (w *world) run(r *rapid.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.generator.Run(ctx) }()
	defer func() { cancel(); assert.NoError(r, <-done) }()

	r.Repeat(map[string]func(*rapid.T){
		"add sandbox":   w.addSandbox,
		"kill sandbox":  w.killSandbox,
		"add container": w.addContainer,
		"advance":       w.advance,
		"remove":        w.remove,
		"remove pod":    w.removePod,
		"fault":         w.fault,
		"no fault":      func(*rapid.T) { w.heal() },
		"refresh":       func(r *rapid.T) { w.generator.Refresh(anyPod.Draw(r, "pod")) },
		"sleep":         func(r *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 3000).Draw(r, "ms")) * time.Millisecond) },
		"settle":        func(*rapid.T) { synctest.Wait() },
		"read":          w.read,
	})

	w.heal()
	time.Sleep(20 * time.Second)
	for _, uid := range somePods {
		state, err := w.generator.State(ctx, uid, time.Time{})
		assert.NoError(r, err)
		assertTruth(r, w.runtime, state)
		w.assertSeen(r, state)
	}
	pods, err := w.generator.Pods(ctx, time.Time{})
	assert.NoError(r, err)
	assert.Len(r, pods, w.knownPods())
	if r.Failed() {
		r.FailNow()
	}
}

// assertSeen checks that the listener's last look shows what lives and what has
// died. What was created or removed he is not told.
func (w *world) assertSeen(r *rapid.T, truth *cri.PodState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.seen[truth.UID]
	if seen == nil {
		seen = &cri.PodState{}
	}
	assert.Equal(r, ids(truth, alive), ids(seen, alive), "pod %s", truth.UID)
	assert.Subset(r, ids(seen, dead), ids(truth, dead), "pod %s", truth.UID)
}

const (
	alive = true
	dead  = false
)

func ids(state *cri.PodState, living bool) []string {
	found := []string{}
	for _, s := range state.Sandboxes {
		if (s.State == ready) == living {
			found = append(found, s.Id)
		}
	}
	for _, c := range state.Containers {
		if living && c.Running() || !living && c.Exited() {
			found = append(found, c.Id)
		}
	}
	slices.Sort(found)
	return found
}

func (w *world) knownPods() int {
	w.runtime.mu.Lock()
	defer w.runtime.mu.Unlock()
	known := map[string]bool{}
	for _, s := range w.runtime.sandboxes {
		known[s.Labels[cri.LabelPodUID]] = true
	}
	for _, c := range w.runtime.containers {
		known[c.Labels[cri.LabelPodUID]] = true
	}
	return len(known)
}

func (w *world) newID(kind string) string {
	w.objects++
	return fmt.Sprintf("%s%d", kind, w.objects)
}

func (w *world) addSandbox(r *rapid.T) {
	w.runtime.setSandbox(anyPod.Draw(r, "pod"), w.newID("s"), ready, "10.0.0.1")
}

func (w *world) addContainer(r *rapid.T) {
	w.runtime.setContainer(anyPod.Draw(r, "pod"), "s1", w.newID("c"), created)
}

// anyID draws one of the IDs, and skips the step if there is none.
func anyID[T any](r *rapid.T, objects map[string]T) string {
	all := slices.Sorted(maps.Keys(objects))
	if len(all) == 0 {
		r.Skip("nothing there")
	}
	return rapid.SampledFrom(all).Draw(r, "id")
}

func (w *world) killSandbox(r *rapid.T) {
	id := anyID(r, w.runtime.sandboxes)
	w.runtime.setSandbox(types.UID(w.runtime.sandboxes[id].Labels[cri.LabelPodUID]), id, notReady)
}

// advance moves a container on in its life, in which there is no way back.
func (w *world) advance(r *rapid.T) {
	id := anyID(r, w.runtime.containers)
	c := w.runtime.containers[id]
	next := exited
	if c.State == created {
		next = running
	}
	w.runtime.setContainer(types.UID(c.Labels[cri.LabelPodUID]), c.SandboxID, id, next)
}

func (w *world) remove(r *rapid.T) {
	if rapid.Bool().Draw(r, "sandbox") {
		w.runtime.remove(anyID(r, w.runtime.sandboxes))
	} else {
		w.runtime.remove(anyID(r, w.runtime.containers))
	}
}

func (w *world) removePod(r *rapid.T) {
	uid := string(anyPod.Draw(r, "pod"))
	w.runtime.do(func() {
		for id, s := range w.runtime.sandboxes {
			if s.Labels[cri.LabelPodUID] == uid {
				delete(w.runtime.sandboxes, id)
			}
		}
		for id, c := range w.runtime.containers {
			if c.Labels[cri.LabelPodUID] == uid {
				delete(w.runtime.containers, id)
			}
		}
	})
}

// fault makes calls fail, hang or be late: all of a method, or those for one
// object or pod.
func (w *world) fault(r *rapid.T) {
	names := []string{"ListPodSandbox", "ListContainers", "PodSandboxStatus", "ContainerStatus"}
	names = append(names, slices.Sorted(maps.Keys(w.runtime.containers))...)
	for _, uid := range somePods {
		names = append(names, string(uid))
	}
	name := rapid.SampledFrom(names).Draw(r, "where")
	kind := rapid.SampledFrom([]string{"fail", "hang", "late"}).Draw(r, "kind")
	w.runtime.do(func() {
		switch kind {
		case "fail":
			w.runtime.fail[name] = status.Error(codes.Internal, "boom")
		case "hang":
			w.runtime.hangs[name] = true
		case "late":
			w.runtime.delay[name] = 1500 * time.Millisecond
		}
	})
}

func (w *world) heal() {
	w.runtime.do(func() {
		clear(w.runtime.fail)
		clear(w.runtime.hangs)
		clear(w.runtime.delay)
	})
}

func (w *world) read(r *rapid.T) {
	uid := anyPod.Draw(r, "pod")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	now := time.Now()
	state, err := w.generator.State(ctx, uid, now)
	if err != nil {
		return // no wonder, with all these faults
	}
	if state.ObservedAt.Before(now) || state.ObservedAt.Before(w.last[uid]) {
		r.Fatalf("pod %s: observed at %v, asked at %v, last %v", uid, state.ObservedAt, now, w.last[uid])
	}
	w.last[uid] = state.ObservedAt
	assertTruth(r, w.runtime, state)
	if r.Failed() {
		r.FailNow()
	}
}
