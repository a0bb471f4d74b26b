package pleg_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/pleg"
)

func TestStateDoesNotWaitForTheNextTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		g, _ := start(t, runtime, pleg.Config{Period: time.Hour})
		synctest.Wait()

		runtime.setContainer("a", "s-a", "c-a", exited)
		begin := time.Now()
		got := state(t, g, "a", begin)

		assert.Equal(t, begin, time.Now())
		assert.False(t, got.ObservedAt.Before(begin))
		assertTruth(t, runtime, got)
		assert.Equal(t, 2, runtime.count("ContainerStatus"))

		_ = state(t, g, "a", time.Now())
		assert.Equal(t, 2, runtime.count("ContainerStatus"), "nothing changed, nothing is inspected")
		assert.Len(t, runtime.relistTimes(), 1)
	})
}

func TestStateOfAQuietPodFollowsTheListings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		begin := time.Now()
		g, _ := start(t, runtime, pleg.Config{})
		time.Sleep(10500 * time.Millisecond)

		got := state(t, g, "a", begin.Add(9*time.Second))

		assert.Equal(t, begin.Add(10*time.Second), got.ObservedAt)
		assert.Zero(t, runtime.count("ListContainers/a"), "no listing was needed for it")
	})
}

func TestStateOfAnUnknownPodIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.delay["ListPodSandbox"] = time.Second
		begin := time.Now()
		g, told := start(t, runtime, pleg.Config{})

		first := state(t, g, "x", time.Time{})
		assert.Equal(t, time.Second, time.Since(begin), "it waits for a listing")
		assert.Equal(t, types.UID("x"), first.UID)

		time.Sleep(5 * time.Second)
		assert.Equal(t, &cri.PodState{UID: "x", ObservedAt: begin.Add(4 * time.Second)}, state(t, g, "x", time.Time{}))

		now := time.Now()
		got := state(t, g, "x", now)
		assert.Empty(t, got.Containers)
		assert.False(t, got.ObservedAt.Before(now))
		assert.Empty(t, told.take())
	})
}

func TestStateOfAVanishedPodIsEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		g, told := start(t, runtime, pleg.Config{})
		_ = state(t, g, "a", time.Now())
		told.take()

		runtime.remove("s-a", "c-a")
		got := state(t, g, "a", time.Now())

		assert.Equal(t, &cri.PodState{UID: "a", ObservedAt: got.ObservedAt}, got)
		assert.Equal(t, []types.UID{"a"}, told.take())
		time.Sleep(time.Minute)
		assert.Empty(t, told.take())
	})
}

func TestStateFromTheFutureWaitsWithoutAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		g, _ := start(t, runtime, pleg.Config{})
		begin := time.Now()

		got := state(t, g, "a", begin.Add(10*time.Second))

		assert.True(t, got.ObservedAt.After(begin.Add(10*time.Second)))
		assert.LessOrEqual(t, runtime.count("ListContainers/a"), 1)
	})
}

func TestStateEndsWithItsContextOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		g, _ := start(t, runtime, pleg.Config{})
		_ = state(t, g, "a", time.Now())
		runtime.do(func() {
			runtime.fail["ListPodSandbox"] = errDown
			runtime.fail["ListContainers"] = errDown
			runtime.fail["PodSandboxStatus"] = errDown
		})
		g.Refresh("a")

		got := state(t, g, "a", time.Time{})
		assert.Len(t, got.Containers, 1, "what is known is still told")

		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 59500*time.Millisecond)
		defer cancel()
		_, err := g.State(ctx, "a", begin)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 59500*time.Millisecond, time.Since(begin))
		assert.Equal(t, 60, runtime.count("ListPodSandbox")-runtime.count("ListPodSandbox/a"), "the runtime is asked by tick alone")
		assert.LessOrEqual(t, runtime.count("ListPodSandbox/a"), 3)
	})
}

func TestManyReadersOfOnePodShareAListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		runtime.delay["ListContainers"] = 50 * time.Millisecond
		g, _ := start(t, runtime, pleg.Config{Period: time.Hour})
		time.Sleep(time.Second)

		var readers sync.WaitGroup
		begin := time.Now()
		for range 100 {
			readers.Go(func() { assertTruth(t, runtime, state(t, g, "a", begin)) })
		}
		readers.Wait()
		assert.LessOrEqual(t, runtime.count("ListContainers/a"), 2)
	})
}

// A node sees pods come and go for years.
func TestNothingIsKeptOfPodsThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		g, _ := start(t, runtime, pleg.Config{})
		for i := range 1000 {
			uid := types.UID(fmt.Sprint(i))
			runtime.addPod(uid)
			time.Sleep(2 * time.Second)
			if i%3 == 0 {
				runtime.do(func() { runtime.fail["c-"+string(uid)] = errDown })
				flip(runtime, uid)
				time.Sleep(2 * time.Second)
			}
			synctest.Wait()
			require.Equal(t, 1, g.Held())
			runtime.remove("s-"+string(uid), "c-"+string(uid))
			_ = state(t, g, uid, time.Now())
			g.Refresh("never was " + uid)
			_ = state(t, g, "nor was "+uid, time.Now())
			time.Sleep(2 * time.Second)
			synctest.Wait()
			require.Zero(t, g.Held())
		}
	})
}

func TestWithEventsNothingIsKeptOfPodsThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, client := startCritest(t)
		g, _ := start(t, client, pleg.Config{})
		time.Sleep(time.Minute)
		for i := range 30 {
			if i%5 == 0 {
				runtime.ScriptEvents(lose(always))
			}
			sandbox, _ := runPod(t, client, fmt.Sprint("pod-", i))
			time.Sleep(10 * time.Second)
			require.NoError(t, client.StopPodSandbox(t.Context(), sandbox))
			require.NoError(t, client.RemovePodSandbox(t.Context(), sandbox))
			runtime.ScriptEvents(nil)
			time.Sleep(20 * time.Second)
			synctest.Wait()
			require.Zero(t, g.Held())
		}
	})
}
