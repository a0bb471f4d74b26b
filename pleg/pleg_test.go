package pleg_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/pleg"
)

// changes collects what OnChange is told.
type changes struct {
	mu   sync.Mutex // guards uids
	uids []types.UID
}

func (c *changes) add(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uids = append(c.uids, uid)
}

// take returns what was told since the last time, in order of UID, once all that
// is to be told now is.
func (c *changes) take() []types.UID {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.uids
	c.uids = nil
	slices.Sort(taken)
	return taken
}

// start runs a generator on the runtime until the test ends. It must be called in
// a bubble.
func start(t *testing.T, runtime pleg.Runtime, cfg pleg.Config) (*pleg.Generator, *changes) {
	t.Helper()
	told := &changes{}
	cfg.OnChange = told.add
	generator := pleg.New(runtime, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- generator.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		synctest.Wait()
		select {
		case err := <-done:
			assert.NoError(t, err)
		default:
			t.Error("Run did not return at once when its ctx ended")
		}
	})
	return generator, told
}

// state is State with a time limit.
func state(t *testing.T, g *pleg.Generator, uid types.UID, notBefore time.Time) *cri.PodState {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	state, err := g.State(ctx, uid, notBefore)
	require.NoError(t, err)
	return state
}

func TestFirstListingIsAtOnceAndTellsEveryPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		runtime.setSandbox("b", "s-b", notReady)
		runtime.setContainer("c", "", "c-c", created)
		begin := time.Now()

		g, told := start(t, runtime, pleg.Config{})
		synctest.Wait()

		assert.Equal(t, []types.UID{"a", "b", "c"}, told.take())
		got := state(t, g, "a", time.Time{})
		assert.Equal(t, types.UID("a"), got.UID)
		assert.Equal(t, "ns", got.Namespace)
		assert.Equal(t, "pod-a", got.Name)
		assert.Equal(t, "s-a", got.Sandboxes[0].Id)
		assert.Equal(t, "c-a", got.Containers[0].Id)
		assert.Equal(t, "s-a", got.Containers[0].SandboxID)
		assert.Equal(t, []string{"10.0.0.1"}, got.IPs)
		assert.Equal(t, begin, time.Now())
	})
}

func TestPeriodIsMeasuredFromTheEndOfAListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.delay["ListPodSandbox"] = 2 * time.Second
		runtime.delay["ListContainers"] = time.Second
		begin := time.Now()

		start(t, runtime, pleg.Config{})
		time.Sleep(9 * time.Second)

		assert.Equal(t, []time.Time{begin, begin.Add(4 * time.Second), begin.Add(8 * time.Second)}, runtime.relistTimes())
	})
}

func TestQuietPodsCostNoStatusCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		for i := range 20 {
			runtime.addPod(types.UID(fmt.Sprint(i)))
		}
		_, told := start(t, runtime, pleg.Config{})
		time.Sleep(time.Minute)
		told.take()

		runtime.setContainer("3", "s-3", "c-3", exited)
		time.Sleep(time.Minute)

		assert.Equal(t, []types.UID{"3"}, told.take())
		assert.Equal(t, 21, runtime.count("PodSandboxStatus"))
		assert.Equal(t, 21, runtime.count("ContainerStatus"))
		assert.Equal(t, 2, runtime.count("ContainerStatus/c-3"))
	})
}

func TestChangesAreToldAfterStateShowsThem(t *testing.T) {
	tests := map[string]struct {
		prepare func(*fakeRuntime)
		change  func(*fakeRuntime)
		told    bool
	}{
		"container started":          {create, func(f *fakeRuntime) { f.setContainer("a", "s-a", "new", running) }, true},
		"container died":             {nil, func(f *fakeRuntime) { f.setContainer("a", "s-a", "c-a", exited) }, true},
		"container unknown":          {nil, func(f *fakeRuntime) { f.setContainer("a", "s-a", "c-a", 3) }, true},
		"running container gone":     {nil, func(f *fakeRuntime) { f.remove("c-a") }, true},
		"created container gone":     {create, func(f *fakeRuntime) { f.remove("new") }, true},
		"dead container removed":     {die, func(f *fakeRuntime) { f.remove("c-a") }, false},
		"container created":          {nil, create, false},
		"lived between two listings": {nil, func(f *fakeRuntime) { f.setContainer("a", "s-a", "new", exited) }, true},
		"sandbox died":               {nil, func(f *fakeRuntime) { f.setSandbox("a", "s-a", notReady) }, true},
		"second sandbox":             {nil, func(f *fakeRuntime) { f.setSandbox("a", "new", ready) }, true},
		"ready sandbox gone":         {nil, func(f *fakeRuntime) { f.remove("s-a") }, true},
		"pod gone":                   {nil, func(f *fakeRuntime) { f.remove("s-a", "c-a") }, true},
		"dead pod removed":           {die, func(f *fakeRuntime) { f.remove("s-a", "c-a") }, false},
		"nothing":                    {nil, func(*fakeRuntime) {}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runtime := newFakeRuntime()
				runtime.addPod("a")
				runtime.addPod("b")
				if test.prepare != nil {
					test.prepare(runtime)
				}
				g, told := start(t, runtime, pleg.Config{})
				time.Sleep(500 * time.Millisecond)
				told.take()

				test.change(runtime)
				time.Sleep(time.Second)

				if test.told {
					assert.Equal(t, []types.UID{"a"}, told.take())
				} else {
					assert.Empty(t, told.take())
				}
				assertTruth(t, runtime, state(t, g, "a", time.Time{}))
			})
		})
	}
}

func create(f *fakeRuntime) { f.setContainer("a", "s-a", "new", created) }

func die(f *fakeRuntime) {
	f.setContainer("a", "s-a", "c-a", exited)
	f.setSandbox("a", "s-a", notReady)
}

func TestChangeIsVisibleWhenItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		var seen []runtimeapi.ContainerState
		var g *pleg.Generator
		g = pleg.New(runtime, pleg.Config{OnChange: func(uid types.UID) {
			if got, err := g.State(t.Context(), uid, time.Time{}); assert.NoError(t, err) {
				seen = append(seen, got.Containers[0].State)
			}
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go func() {
			time.Sleep(30 * time.Second)
			runtime.setContainer("a", "s-a", "c-a", exited)
		}()

		require.NoError(t, g.Run(ctx))

		assert.Equal(t, []runtimeapi.ContainerState{running, exited}, seen)
	})
}

func TestForeignObjectsAreIgnoredAndOrphanedContainersAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.setSandbox("", "crictl", ready)
		runtime.setContainer("", "crictl", "theirs", running)
		runtime.setContainer("a", "gone", "ours", running)

		g, told := start(t, runtime, pleg.Config{})
		synctest.Wait()

		assert.Equal(t, []types.UID{"a"}, told.take())
		got := state(t, g, "a", time.Time{})
		assert.Empty(t, got.Sandboxes)
		require.Len(t, got.Containers, 1)
		assert.Equal(t, "gone", got.Containers[0].SandboxID)
	})
}

func TestIPsOutliveTheSandboxesButNotAReadyOneWithout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.setSandbox("dead", "s0", notReady, "10.0.0.9")
		runtime.setSandbox("a", "s1", ready, "10.0.0.1", "fd00::1")
		g, _ := start(t, runtime, pleg.Config{})
		assert.Empty(t, state(t, g, "dead", time.Now()).IPs, "it was never seen alive")
		assert.Equal(t, []string{"10.0.0.1", "fd00::1"}, state(t, g, "a", time.Now()).IPs)

		runtime.setSandbox("a", "s1", notReady)
		assert.Equal(t, []string{"10.0.0.1", "fd00::1"}, state(t, g, "a", time.Now()).IPs, "all are dead")

		runtime.setSandbox("a", "s2", ready)
		assert.Empty(t, state(t, g, "a", time.Now()).IPs, "a ready one has none")

		runtime.setSandbox("a", "s3", ready, "10.0.0.3")
		runtime.do(func() { runtime.sandboxes["s3"].Metadata.Attempt = 1 })
		assert.Equal(t, []string{"10.0.0.3"}, state(t, g, "a", time.Now()).IPs, "the newest ready one counts")
	})
}

func TestRemovalBetweenListingAndStatusIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		runtime.setContainer("a", "s-a", "old", exited)
		runtime.fail["old"] = notFound("old")

		g, told := start(t, runtime, pleg.Config{})
		synctest.Wait()

		assert.Equal(t, []types.UID{"a"}, told.take())
		got := state(t, g, "a", time.Time{})
		require.Len(t, got.Containers, 1)
		assert.Equal(t, "c-a", got.Containers[0].Id)
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.fail["ListContainers"] = errDown
		g, _ := start(t, runtime, pleg.Config{})
		require.Error(t, g.Healthy(), "before the first listing")

		synctest.Wait()
		err := g.Healthy()
		require.ErrorIs(t, err, errDown)
		assert.ErrorContains(t, err, "never")

		runtime.do(func() { delete(runtime.fail, "ListContainers") })
		time.Sleep(1500 * time.Millisecond)
		require.NoError(t, g.Healthy())

		// The last good listing began 500 ms ago.
		runtime.do(func() { runtime.hangs["ListPodSandbox"] = true })
		time.Sleep(3*time.Minute - 500*time.Millisecond)
		require.NoError(t, g.Healthy())
		time.Sleep(time.Millisecond)
		require.ErrorContains(t, g.Healthy(), "3m0.001s ago")
	})
}

func TestAgeOfAListingCountsFromItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.delay["ListPodSandbox"] = 10 * time.Second
		g, _ := start(t, runtime, pleg.Config{HealthyFor: 15 * time.Second})
		time.Sleep(10*time.Second + time.Millisecond)
		require.NoError(t, g.Healthy())

		runtime.do(func() { runtime.hangs["ListContainers"] = true })
		time.Sleep(5 * time.Second)
		require.Error(t, g.Healthy())
	})
}

func TestFailuresAreLoggedOnceEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		runtime := newFakeRuntime()
		runtime.addPod("a")
		runtime.fail["ListPodSandbox"] = errDown
		runtime.fail["c-a"] = errDown
		start(t, runtime, pleg.Config{Logger: zap.New(core)})

		time.Sleep(time.Minute)
		assert.Len(t, logs.TakeAll(), 1, "the listing fails")

		runtime.do(func() { delete(runtime.fail, "ListPodSandbox") })
		time.Sleep(time.Minute)
		entries := logs.TakeAll()
		require.Len(t, entries, 2, "the listing is good again, the pod's inspection fails")
		assert.Equal(t, zapcore.InfoLevel, entries[0].Level)
		assert.Equal(t, "pleg", entries[0].LoggerName)
		assert.Equal(t, "ns/pod-a", entries[1].ContextMap()["pod"])

		runtime.do(func() { runtime.fail["ListPodSandbox"] = notFound("x") })
		time.Sleep(time.Minute)
		assert.Len(t, logs.TakeAll(), 1, "another failure is news")
	})
}

func TestPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("b")
		runtime.addPod("a")
		runtime.hangs["c-b"] = true
		runtime.delay["ListContainers"] = 3 * time.Second
		begin := time.Now()
		g, _ := start(t, runtime, pleg.Config{})

		pods, err := g.Pods(t.Context(), time.Time{})
		require.NoError(t, err)
		assert.Equal(t, 3*time.Second, time.Since(begin), "it waits for the first listing")
		require.Len(t, pods, 2)
		assert.Equal(t, types.UID("a"), pods[0].UID)
		assert.Equal(t, "ns", pods[1].Namespace, "a pod whose inspection hangs has its identity")
		assert.Equal(t, "pod-b", pods[1].Name)
		assert.Empty(t, pods[1].Containers)

		runtime.remove("s-b", "c-b")
		_ = state(t, g, "unknown", time.Now())
		pods, err = g.Pods(t.Context(), time.Now())
		require.NoError(t, err)
		require.Len(t, pods, 1)
		assert.Equal(t, "c-a", pods[0].Containers[0].Id)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = g.Pods(ctx, time.Now())
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// assertTruth checks that the state has what the runtime has.
func assertTruth(t assert.TestingT, runtime *fakeRuntime, got *cri.PodState) {
	runtime.mu.Lock()
	defer runtime.mu.Unlock()
	want, have := map[string]string{}, map[string]string{}
	for id, s := range runtime.sandboxes {
		if s.Labels[cri.LabelPodUID] == string(got.UID) {
			want[id] = s.State.String()
		}
	}
	for id, c := range runtime.containers {
		if c.Labels[cri.LabelPodUID] == string(got.UID) {
			want[id] = c.State.String() + " in " + c.SandboxID
		}
	}
	for _, s := range got.Sandboxes {
		have[s.Id] = s.State.String()
	}
	for _, c := range got.Containers {
		have[c.Id] = c.State.String() + " in " + c.SandboxID
	}
	assert.Equal(t, want, have, "pod %s", got.UID)
}
