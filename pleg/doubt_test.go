package pleg_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/pleg"
)

// What fails is tried again with the next listing of all pods. In the middle of a long
// period that must not mean its end.
func TestWhatFailsBetweenListingsIsTriedAgainAfterAShortPeriod(t *testing.T) {
	for _, method := range []string{"ContainerStatus", "StreamContainers"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runtime, _, g, told, id := watched(t)
				runtime.Inject(critest.Fault{Method: method, Times: 1, Err: errDown})
				require.NoError(t, runtime.Exit(id, 3))
				time.Sleep(1100 * time.Millisecond)
				assert.Equal(t, []types.UID{"web"}, told.take())
				assert.EqualValues(t, 3, state(t, g, "web", time.Time{}).Newest("app").ExitCode)
				time.Sleep(2 * time.Second)
				assert.True(t, g.Metrics().Eventful)
				assert.Zero(t, g.Metrics().EventsLost, "the event came")
			})
		})
	}
}

// eventful is a generator that trusts the events of a runtime with the pod a.
func eventful(t *testing.T) (*fakeRuntime, *talker, *pleg.Generator, *changes) {
	t.Helper()
	runtime := newFakeRuntime()
	runtime.addPod("a")
	talker := &talker{runtime, make(chan *runtimeapi.ContainerEventResponse)}
	g, told := start(t, talker, pleg.Config{})
	time.Sleep(15 * time.Second)
	require.True(t, g.Metrics().Eventful)
	told.take()
	return runtime, talker, g, told
}

// The listing of all pods below is answered before the pod is there and arrives after the
// pod's own has failed: it makes up for nothing.
func TestWhatFailsForANewPodDuringAListingIsTriedAgainAfterAShortPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, talker, g, told := eventful(t)
		runtime.do(func() {
			runtime.delay[""] = 2 * time.Second // each of its two calls
			runtime.fail["new"] = errDown
		})
		for before := len(runtime.relistTimes()); len(runtime.relistTimes()) == before; {
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		runtime.addPod("new")
		talker.say <- &runtimeapi.ContainerEventResponse{PodSandboxStatus: &runtimeapi.PodSandboxStatus{
			Metadata: &runtimeapi.PodSandboxMetadata{Uid: "new"},
		}}
		synctest.Wait()
		require.Equal(t, 1, runtime.count("ListPodSandbox/new"))
		runtime.do(func() {
			clear(runtime.delay)
			clear(runtime.fail)
		})
		time.Sleep(2500 * time.Millisecond)
		assert.Equal(t, []types.UID{"new"}, told.take())
		time.Sleep(2 * time.Second)
		assert.True(t, g.Metrics().Eventful)
		assert.Zero(t, g.Metrics().EventsLost, "the event came")
	})
}

func TestHealthIsNotInDoubtBetweenListingsThatAreFarApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, client := startCritest(t)
		g, _ := start(t, client, pleg.Config{HealthyFor: 5 * time.Second, EventPeriod: time.Minute})
		for range 100 {
			time.Sleep(time.Second)
			require.NoError(t, g.Healthy())
		}
		assert.True(t, g.Metrics().Eventful)
		assert.Less(t, g.Metrics().Relists, 60)
	})
}

// tardy is a runtime whose events begin a moment after the stream seems open: the
// client calls it open when the request is on its way.
type tardy struct {
	*talker
	by time.Duration
}

func (r *tardy) GetContainerEvents(
	ctx context.Context, events chan *runtimeapi.ContainerEventResponse, established func(runtimeapi.RuntimeService_GetContainerEventsClient),
) error {
	established(nil)
	time.Sleep(r.by)
	return r.talker.GetContainerEvents(ctx, events, func(runtimeapi.RuntimeService_GetContainerEventsClient) {})
}

func TestWhatHappensWhileAStreamOpensIsFoundWithinAShortPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		talker := &talker{runtime, make(chan *runtimeapi.ContainerEventResponse)}
		g, told := start(t, &tardy{talker, 200 * time.Millisecond}, pleg.Config{})
		time.Sleep(100 * time.Millisecond)
		told.take()
		flip(runtime, "a")
		time.Sleep(time.Second)
		assert.Equal(t, []types.UID{"a"}, told.take())
		time.Sleep(2 * time.Second)
		assert.Zero(t, g.Metrics().EventsLost, "the stream was not to tell of it")
		assert.True(t, g.Metrics().Eventful)
	})
}

func TestARuntimeWithoutEventsIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		_, client := startCritest(t, critest.Containerd16)
		start(t, client, pleg.Config{Logger: zap.New(core)})
		time.Sleep(2 * time.Hour)
		assert.Len(t, logs.TakeAll(), 1)
	})
}

func TestLostAndRegainedTrustIsLoggedOnceEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		runtime, client := startCritest(t)
		_, id := runPod(t, client, "web")
		_, steady := runPod(t, client, "steady")
		g, _ := start(t, client, pleg.Config{Logger: zap.New(core)})
		time.Sleep(time.Minute)
		require.Empty(t, logs.TakeAll())

		runtime.ScriptEvents(lose(always))
		for _, id := range []string{id, steady} {
			require.NoError(t, runtime.Exit(id, 3))
			time.Sleep(time.Minute)
		}
		assert.Equal(t, 2, g.Metrics().EventsLost)
		assert.Equal(t, 1, logs.FilterMessageSnippet("events").Len())
		assert.Len(t, logs.TakeAll(), 1, "that some are lost")

		runtime.ScriptEvents(nil)
		for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
			runPod(t, client, name)
			time.Sleep(2 * time.Second)
		}
		time.Sleep(time.Second)
		require.True(t, g.Metrics().Eventful)
		assert.Len(t, logs.TakeAll(), 1, "that they are trusted again")
	})
}

func TestWhatHappensAfterAStreamBrokeIsFoundWithinAShortPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, talker, g, told := eventful(t)
		close(talker.say)
		synctest.Wait()
		flip(runtime, "a")
		time.Sleep(1100 * time.Millisecond)
		assert.Equal(t, []types.UID{"a"}, told.take())
		assert.Zero(t, g.Metrics().EventsLost)
	})
}

// Changes that we look for ourselves, as after our own actions, are no proof of events.
func TestWhatWasFoundWithoutAnEventProvesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.addPod("a")
		g, _ := start(t, &talker{runtime, make(chan *runtimeapi.ContainerEventResponse)}, pleg.Config{})
		time.Sleep(5 * time.Second)
		flip(runtime, "a")
		time.Sleep(20 * time.Second)
		require.Equal(t, 1, g.Metrics().EventsLost)
		for range 50 {
			flip(runtime, "a")
			g.Refresh("a")
			time.Sleep(1300 * time.Millisecond)
		}
		assert.False(t, g.Metrics().Eventful)
	})
}
