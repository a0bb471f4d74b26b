package pleg_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/pleg"
)

func TestFailedInspectionIsTheErrorOfItsPodUntilOneSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := status.Error(codes.Internal, "boom")
		runtime := newFakeRuntime()
		runtime.addPod("a")
		runtime.addPod("b")
		g, told := start(t, runtime, pleg.Config{})
		time.Sleep(500 * time.Millisecond)
		told.take()

		runtime.do(func() { runtime.fail["c-a"] = boom })
		runtime.setContainer("a", "s-a", "c-a", exited)
		time.Sleep(time.Second)
		_, err := g.State(t.Context(), "a", time.Time{})
		require.ErrorIs(t, err, boom)
		assert.ErrorContains(t, err, `container "c-a"`)
		_, err = g.State(t.Context(), "a", time.Now())
		require.ErrorIs(t, err, boom)
		_ = state(t, g, "b", time.Now())
		assert.Empty(t, told.take(), "nothing is told before it can be seen")

		before := runtime.count("ContainerStatus/c-a")
		time.Sleep(10 * time.Second)
		assert.Equal(t, before+10, runtime.count("ContainerStatus/c-a"), "it is tried with each listing")

		runtime.do(func() { delete(runtime.fail, "c-a") })
		time.Sleep(time.Second)
		assertTruth(t, runtime, state(t, g, "a", time.Time{}))
		assert.Equal(t, []types.UID{"a"}, told.take())
		time.Sleep(time.Minute)
		assert.Equal(t, before+11, runtime.count("ContainerStatus/c-a"))
	})
}

func TestHangingPodFailsAfterItsDeadlineAndStallsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("sick")
		runtime.addPod("well")
		runtime.hangs["c-sick"] = true
		begin := time.Now()
		g, told := start(t, runtime, pleg.Config{Inspectors: 1, InspectTimeout: 30 * time.Second})

		for range 20 {
			flip(runtime, "well")
			_ = state(t, g, "well", time.Now())
			time.Sleep(time.Second)
		}
		assert.Less(t, time.Since(begin), 22*time.Second)
		assert.NotContains(t, told.take(), types.UID("sick"))

		_, err := g.State(t.Context(), "sick", time.Time{})
		require.ErrorContains(t, err, "DeadlineExceeded")
		assert.Less(t, time.Since(begin), 32*time.Second)
		require.NoError(t, g.Healthy())

		runtime.do(func() { runtime.hangs["c-sick"] = false })
		time.Sleep(40 * time.Second)
		assertTruth(t, runtime, state(t, g, "sick", time.Time{}))
		assert.Contains(t, told.take(), types.UID("sick"))
	})
}

// flip lets the container of the pod die or come back.
func flip(runtime *fakeRuntime, uid types.UID) {
	next := running
	runtime.do(func() {
		if runtime.containers["c-"+string(uid)].Running() {
			next = exited
		}
	})
	runtime.setContainer(uid, "s-"+string(uid), "c-"+string(uid), next)
}

func TestManyHangingPodsStallNoOtherForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("well")
		g, told := start(t, runtime, pleg.Config{})
		_ = state(t, g, "well", time.Now())
		for i := range 8 {
			uid := fmt.Sprint("sick", i)
			runtime.addPod(types.UID(uid))
			runtime.do(func() { runtime.hangs["c-"+uid] = true })
		}
		time.Sleep(time.Second)
		told.take()

		flip(runtime, "well")
		begin := time.Now()
		assertTruth(t, runtime, state(t, g, "well", begin))

		assert.LessOrEqual(t, time.Since(begin), 2*time.Second)
		assert.Equal(t, []types.UID{"well"}, told.take())
	})
}

func TestSlowPodIsSeenInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		runtime.delay["c-a"] = 30 * time.Second
		g, _ := start(t, runtime, pleg.Config{})

		assertTruth(t, runtime, state(t, g, "a", time.Now()))
		assert.Equal(t, 1, runtime.count("ContainerStatus"), "inspections of one pod do not pile up")

		runtime.setContainer("a", "s-a", "c-a", exited)
		assertTruth(t, runtime, state(t, g, "a", time.Now()))
	})
}

func TestInspectionThatAChangeOvertookIsNotTakenForNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		runtime.delay["c-a"] = 1500 * time.Millisecond // running, it will say
		g, told := start(t, runtime, pleg.Config{})

		time.Sleep(500 * time.Millisecond)
		runtime.setContainer("a", "s-a", "c-a", exited)

		assertTruth(t, runtime, state(t, g, "a", time.Now()))
		assert.Equal(t, []types.UID{"a", "a"}, told.take())
	})
}

// A pod that changes faster than it can be inspected must not stay invisible.
func TestRestlessSlowPodIsSeenAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		runtime.delay["c-a"] = 30 * time.Second
		g, told := start(t, runtime, pleg.Config{})
		_ = state(t, g, "a", time.Time{})
		told.take()

		var last time.Time
		for range 60 {
			flip(runtime, "a")
			time.Sleep(10 * time.Second)
			got := state(t, g, "a", time.Time{})
			assert.Less(t, time.Since(got.ObservedAt), 75*time.Second)
			assert.False(t, got.ObservedAt.Before(last))
			last = got.ObservedAt
		}
		assert.Greater(t, len(told.take()), 10)
	})
}

func TestInspectionsAreParallelWithinTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		for i := range 12 {
			runtime.addPod(types.UID(fmt.Sprint(i)))
		}
		runtime.delay["ContainerStatus"] = 100 * time.Millisecond
		start(t, runtime, pleg.Config{Inspectors: 3})

		time.Sleep(399 * time.Millisecond)
		assert.Equal(t, 12, runtime.count("ContainerStatus"), "the fourth round is under way")
		assert.Equal(t, 3, runtime.mostParallel)
	})
}

func TestPodThatVanishesDuringItsInspectionStaysVanished(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			runtime := newFakeRuntime()
			runtime.addPod("a")
			runtime.delay["c-a"] = 10 * time.Second
			runtime.hangs["c-a"] = hangs
			g, told := start(t, runtime, pleg.Config{InspectTimeout: 20 * time.Second})
			time.Sleep(500 * time.Millisecond)

			runtime.remove("s-a", "c-a")
			time.Sleep(time.Second)
			assert.Equal(t, []types.UID{"a"}, told.take())

			for range 300 {
				assertTruth(t, runtime, state(t, g, "a", time.Time{}))
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}

// speechless is a runtime that answers without saying anything.
type speechless struct{ *fakeRuntime }

func (speechless) PodSandboxStatus(context.Context, string, bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	return &runtimeapi.PodSandboxStatusResponse{}, nil
}

func (speechless) ContainerStatus(context.Context, string, bool) (*runtimeapi.ContainerStatusResponse, error) {
	return nil, nil
}

func TestAnswerWithoutAStatusIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.setSandbox("a", "s", ready)
		runtime.setContainer("b", "s", "c", running)
		g, _ := start(t, speechless{runtime}, pleg.Config{})

		for _, uid := range []types.UID{"a", "b"} {
			_, err := g.State(t.Context(), uid, time.Time{})
			assert.ErrorContains(t, err, "without a status")
		}
	})
}
