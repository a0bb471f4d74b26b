package pleg_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/pleg"
)

func TestRefreshInspectsAQuietPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		runtime.addPod("b")
		runtime.noFilter = true // nor is a runtime trusted to filter
		g, told := start(t, runtime, pleg.Config{Period: time.Hour})
		synctest.Wait()
		told.take()
		runtime.setSandbox("a", "s-a", ready, "10.9.9.9")
		flip(runtime, "b")

		g.Refresh("a")
		synctest.Wait()

		assert.Equal(t, []string{"10.9.9.9"}, state(t, g, "a", time.Time{}).IPs)
		assert.Equal(t, 1, runtime.count("ListContainers/a"))
		assert.Equal(t, 2, runtime.count("ContainerStatus/c-a"))
		assert.Equal(t, 1, runtime.count("ContainerStatus/c-b"))
		assert.Empty(t, told.take(), "nothing started or ended")

		runtime.addPod("new")
		g.Refresh("new")
		synctest.Wait()
		assert.Equal(t, []types.UID{"new"}, told.take())
	})
}

// A change that no listing shows, as of a container's resources, comes while a status is on
// its way that was taken before. Listings of all pods meanwhile make that no newer.
func TestAStatusFromBeforeARefreshIsNotTakenForOneFromAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		g, _ := start(t, runtime, pleg.Config{})
		time.Sleep(500 * time.Millisecond)
		runtime.do(func() { runtime.delay["s-a"] = 5 * time.Second })
		g.Refresh("a")
		time.Sleep(time.Second)

		runtime.setSandbox("a", "s-a", ready, "10.9.9.9")
		acted := time.Now()
		g.Refresh("a")
		assert.Equal(t, []string{"10.9.9.9"}, state(t, g, "a", acted).IPs)
	})
}

func TestRefreshJoinsRequestsAndNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		runtime.delay["ListContainers"] = time.Millisecond
		g, _ := start(t, runtime, pleg.Config{Period: time.Hour})
		time.Sleep(time.Second)

		for range 1000 {
			g.Refresh("a")
		}
		synctest.Wait()
		for range 1000 {
			g.Refresh("a")
		}
		time.Sleep(time.Minute)
		assert.Equal(t, 2, runtime.count("ListContainers/a"), "one under way, one to follow")
	})
}

func TestRefreshOfVeryManyUnknownPodsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.fail[""] = errDown // or the listing of all pods makes up for all
		g := pleg.New(runtime, pleg.Config{Period: time.Hour})
		for i := range 100_000 {
			g.Refresh(types.UID(fmt.Sprint(i)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, g.Run(ctx))

		assert.Equal(t, 1024, runtime.count("ListContainers"))
	})
}

func TestFailedRefreshIsMadeUpForByTheNextListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		g, _ := start(t, runtime, pleg.Config{})
		time.Sleep(500 * time.Millisecond)
		runtime.do(func() { runtime.fail["a"] = errDown })

		g.Refresh("a")
		synctest.Wait()
		assert.Equal(t, 1, runtime.count("ContainerStatus"))
		got := state(t, g, "a", time.Now())
		assert.Equal(t, 2, runtime.count("ContainerStatus"))
		assertTruth(t, runtime, got)
	})
}

// The full listing below is answered with what was true at its start but arrives
// after a younger listing of the pod, in all ways in which the two can differ.
func TestOlderListingNeverOverwritesAYoungerObservation(t *testing.T) {
	tests := map[string]struct {
		before, during func(*fakeRuntime)
	}{
		"pod created":    {func(*fakeRuntime) {}, func(f *fakeRuntime) { f.addPod("a") }},
		"pod removed":    {func(f *fakeRuntime) { f.addPod("a") }, func(f *fakeRuntime) { f.remove("s-a", "c-a") }},
		"container died": {func(f *fakeRuntime) { f.addPod("a") }, func(f *fakeRuntime) { flip(f, "a") }},
		"container gone": {func(f *fakeRuntime) { f.addPod("a") }, func(f *fakeRuntime) { f.remove("c-a") }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runtime := newFakeRuntime()
				g, told := start(t, runtime, pleg.Config{Period: time.Hour})
				test.before(runtime)
				_ = state(t, g, "a", time.Now())
				synctest.Wait()
				told.take()

				runtime.do(func() {
					runtime.delay["ListPodSandbox"] = 10 * time.Second
					runtime.delay["ListContainers"] = 10 * time.Second
				})
				time.Sleep(time.Hour + time.Second) // the full listing has begun
				runtime.do(func() { runtime.delay["ListPodSandbox"] = 0 })
				time.Sleep(10 * time.Second) // its containers are being listed
				runtime.do(func() { runtime.delay["ListContainers"] = 0 })
				test.during(runtime)
				young := state(t, g, "a", time.Now())
				assertTruth(t, runtime, young)
				told.take()

				time.Sleep(time.Minute) // the full listing arrives
				old := state(t, g, "a", time.Time{})
				assertTruth(t, runtime, old)
				assert.Equal(t, young.ObservedAt, old.ObservedAt)
				assert.Empty(t, told.take())
			})
		})
	}
}
