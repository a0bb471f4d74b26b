package pleg_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/pleg"
)

// lose loses the events of which lost says so.
func lose(lost func() bool) func(*critest.Event) critest.Delivery {
	return func(*critest.Event) critest.Delivery { return critest.Delivery{Drop: lost()} }
}

func always() bool { return true }

// watched is a pod on a runtime with events, and a generator in the middle of one of
// its long periods.
func watched(t *testing.T) (runtime *critest.Runtime, client *cri.Client, g *pleg.Generator, told *changes, id string) {
	t.Helper()
	runtime, client = startCritest(t)
	_, id = runPod(t, client, "web")
	g, told = start(t, client, pleg.Config{})
	time.Sleep(time.Minute + 5500*time.Millisecond)
	require.True(t, g.Metrics().Eventful)
	told.take()
	return runtime, client, g, told, id
}

func TestWithEventsADeathIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, _, g, told, id := watched(t)
		require.NoError(t, runtime.Exit(id, 3))
		synctest.Wait()
		assert.Equal(t, []types.UID{"web"}, told.take(), "in no time")
		assert.EqualValues(t, 3, state(t, g, "web", time.Time{}).Newest("app").ExitCode)
		assert.Zero(t, g.Metrics().EventsLost)
	})
}

func TestALostEventCostsAPeriodAndTheTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, client, g, told, id := watched(t)
		runtime.ScriptEvents(lose(always))
		require.NoError(t, runtime.Exit(id, 3))
		time.Sleep(9 * time.Second)
		assert.Equal(t, []types.UID{"web"}, told.take(), "found by the next listing")
		time.Sleep(5 * time.Second)
		assert.False(t, g.Metrics().Eventful)
		assert.Equal(t, 1, g.Metrics().EventsLost)

		_, next := runPod(t, client, "next")
		time.Sleep(1100 * time.Millisecond)
		told.take()
		require.NoError(t, runtime.Exit(next, 3))
		time.Sleep(1100 * time.Millisecond)
		assert.Equal(t, []types.UID{"next"}, told.take(), "the next one within a second")
		time.Sleep(time.Hour)
		assert.False(t, g.Metrics().Eventful, "silence proves nothing")

		runtime.ScriptEvents(nil)
		changes := 0
		for ; !g.Metrics().Eventful; changes++ {
			require.Less(t, changes, 20)
			runPod(t, client, fmt.Sprint("pod-", changes))
			time.Sleep(2 * time.Second)
		}
		assert.Greater(t, changes, 3, "one event is no proof")
	})
}

func TestAStreamThatBreaksIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, _, g, told, id := watched(t)
		streams := g.Metrics().Streams
		runtime.Restart(3 * time.Second)
		time.Sleep(time.Second)
		assert.False(t, g.Metrics().Eventful)
		time.Sleep(40 * time.Second)
		assert.True(t, g.Metrics().Eventful)
		assert.Greater(t, g.Metrics().Streams, streams)
		told.take()
		require.NoError(t, runtime.Exit(id, 3))
		synctest.Wait()
		assert.Equal(t, []types.UID{"web"}, told.take())
	})
}

func TestARuntimeWithoutEventsIsListedEachSecondAndSeldomAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, client := startCritest(t, critest.Containerd16)
		_, id := runPod(t, client, "web")
		g, told := start(t, client, pleg.Config{})
		time.Sleep(time.Hour)
		assert.LessOrEqual(t, runtime.Count("GetContainerEvents"), 13)
		assert.False(t, g.Metrics().Eventful)
		told.take()
		require.NoError(t, runtime.Exit(id, 3))
		time.Sleep(1100 * time.Millisecond)
		assert.Equal(t, []types.UID{"web"}, told.take())
		assert.Zero(t, g.Metrics().EventsLost)
	})
}

func TestAStreamThatNobodyOpensHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, client := startCritest(t)
		runtime.Inject(critest.Fault{Method: "GetContainerEvents", Hang: true})
		_, id := runPod(t, client, "web")
		g, told := start(t, client, pleg.Config{})
		time.Sleep(time.Minute)
		told.take()
		require.NoError(t, runtime.Exit(id, 3))
		time.Sleep(11 * time.Second)
		assert.Equal(t, []types.UID{"web"}, told.take())
		assert.Zero(t, g.Metrics().Events)
	})
}

func TestABurstOfEventsIsFewListings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, _, g, _, id := watched(t)
		runtime.Inject(critest.Fault{Method: "StreamPodSandboxes", Delay: time.Second})
		runtime.ScriptEvents(func(*critest.Event) critest.Delivery { return critest.Delivery{Duplicate: 99} })
		runtime.ResetCalls()
		require.NoError(t, runtime.Exit(id, 3))
		time.Sleep(3 * time.Second)
		assert.LessOrEqual(t, runtime.Count("StreamPodSandboxes"), 3)
		assert.GreaterOrEqual(t, g.Metrics().EventsCoalesced, 90)
	})
}

// Whatever becomes of the events, and of their stream, the states are the truth
// within a period of the last change, and once an event was lost, within a short one.
func TestEventsChangeNothingButTheTimeItTakes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fates := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) critest.Delivery {
			return critest.Delivery{
				Drop:      rapid.IntRange(0, 3).Draw(t, "drop") == 0,
				Duplicate: rapid.IntRange(0, 2).Draw(t, "duplicate"),
				Delay:     rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, 5 * time.Second, time.Minute}).Draw(t, "delay"),
				Behind:    rapid.SampledFrom([]int{0, 0, 1, 5}).Draw(t, "behind"),
			}
		}), 1, 30).Draw(rt, "fates")
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"start", "exit", "exit", "vanish", "cut", "wait", "wait long"}), 1, 15).Draw(rt, "steps")
		kind := rapid.SampledFrom([]string{"able", "able", "unable", "hangs"}).Draw(rt, "kind")
		var wrong string
		synctest.Test(t, func(t *testing.T) { wrong = live(t, kind, fates, steps) })
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

// live plays the steps on a runtime that is able to stream events, or unable, or that
// never answers the request for them, and returns what is not as it should be.
func live(t *testing.T, kind string, fates []critest.Delivery, steps []string) (wrong string) {
	profile := critest.Newest
	if kind == "unable" {
		profile = critest.Containerd16
	}
	runtime, client := startCritest(t, profile)
	if kind == "hangs" {
		runtime.Inject(critest.Fault{Method: "GetContainerEvents", Hang: true})
	}
	g, _ := start(t, client, pleg.Config{})
	time.Sleep(time.Second)
	event := 0
	runtime.ScriptEvents(func(*critest.Event) critest.Delivery {
		event++
		return fates[event%len(fates)]
	})
	var ids []string
	for i, step := range steps {
		switch step {
		case "start":
			_, id := runPod(t, client, fmt.Sprint("pod-", i))
			ids = append(ids, id)
		case "exit", "vanish":
			if len(ids) == 0 {
				continue
			}
			end := runtime.Vanish
			if step == "exit" {
				end = func(id string) error { return runtime.Exit(id, 1) }
			}
			_ = end(ids[0]) // it may have ended
			ids = ids[1:]
		case "cut":
			runtime.Restart(100 * time.Millisecond)
			time.Sleep(5 * time.Second) // the client finds it again
		case "wait":
			time.Sleep(700 * time.Millisecond)
		case "wait long":
			time.Sleep(15 * time.Second)
		}
		within := time.Second + 100*time.Millisecond
		if g.Metrics().Eventful {
			within = 10*time.Second + 100*time.Millisecond
		}
		if rest := i == len(steps)-1 || i%4 == 3; rest {
			time.Sleep(within)
			if wrong := untrue(t, client, g); wrong != "" {
				return fmt.Sprintf("%v after step %d (%s): %s", within, i, step, wrong)
			}
		}
	}
	return ""
}

// untrue compares what the generator has with what there is.
func untrue(t *testing.T, client *cri.Client, g *pleg.Generator) string {
	truth, err := client.ListContainers(t.Context(), nil)
	require.NoError(t, err)
	pods, err := g.Pods(t.Context(), time.Time{})
	require.NoError(t, err)
	describe := func(id string, state runtimeapi.ContainerState) string { return id[:8] + " " + state.String() }
	var want, got []string
	for _, c := range truth {
		want = append(want, describe(c.Id, c.State))
	}
	for _, pod := range pods {
		for _, c := range pod.Containers {
			got = append(got, describe(c.Id, c.State))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		return fmt.Sprintf("there is %v, it has %v", want, got)
	}
	return ""
}

// talker is a runtime that says what it is told to.
type talker struct {
	*fakeRuntime
	say chan *runtimeapi.ContainerEventResponse
}

func (t *talker) GetContainerEvents(
	ctx context.Context, events chan *runtimeapi.ContainerEventResponse, established func(runtimeapi.RuntimeService_GetContainerEventsClient),
) error {
	established(nil)
	for {
		select {
		case event, more := <-t.say:
			if !more {
				return errors.New("that is all")
			}
			select {
			case events <- event:
			case <-ctx.Done():
				return ctx.Err()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// No event, whatever it says, is believed: the states are those of the listings.
func FuzzEvents(f *testing.F) {
	for _, event := range []*runtimeapi.ContainerEventResponse{
		{},
		{ContainerId: "c-a", ContainerEventType: runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, CreatedAt: -1},
		{PodSandboxStatus: &runtimeapi.PodSandboxStatus{Metadata: &runtimeapi.PodSandboxMetadata{Uid: "a"}}},
		{ContainersStatuses: []*runtimeapi.ContainerStatus{{Labels: map[string]string{cri.LabelPodUID: "nobody"}}}},
	} {
		encoded, err := proto.Marshal(event)
		require.NoError(f, err)
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		event := &runtimeapi.ContainerEventResponse{}
		if proto.Unmarshal(encoded, event) != nil {
			event = nil
		}
		synctest.Test(t, func(t *testing.T) {
			runtime := &talker{newFakeRuntime(), make(chan *runtimeapi.ContainerEventResponse)}
			runtime.addPod("a")
			g, _ := start(t, runtime, pleg.Config{})
			time.Sleep(time.Second)
			before := state(t, g, "a", time.Time{})
			runtime.say <- event
			runtime.say <- nil
			time.Sleep(time.Second)
			after := state(t, g, "a", time.Time{})
			assert.Equal(t, before.Containers, after.Containers)
			assert.Equal(t, before.Sandboxes, after.Sandboxes)
			pods, err := g.Pods(t.Context(), time.Time{})
			require.NoError(t, err)
			assert.Len(t, pods, 1)
			assert.Equal(t, 2, g.Metrics().Events)
		})
	})
}

// 2,000 containers are more than the 4 MiB that a gRPC message has by default.
func TestAListingOfThousandsOfContainersIsTaken(t *testing.T) {
	for name, profile := range map[string]critest.Profile{"in one message": critest.Containerd16, "as a stream": critest.Newest} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, client := startCritest(t, profile)
				padding := map[string]string{"example.org/padding": strings.Repeat("x", 2<<10)}
				for i := range 200 {
					uid := fmt.Sprint("pod-", i)
					labels := podLabels(types.UID(uid))
					config := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: uid, Namespace: "ns", Uid: uid}, Labels: labels}
					sandbox, err := client.RunPodSandbox(t.Context(), config, "")
					require.NoError(t, err)
					for j := range 10 {
						_, err := client.CreateContainer(t.Context(), sandbox, &runtimeapi.ContainerConfig{
							Metadata: &runtimeapi.ContainerMetadata{Name: "app", Attempt: uint32(j)},
							Image:    &runtimeapi.ImageSpec{Image: "app"}, Labels: labels, Annotations: padding,
						}, config)
						require.NoError(t, err)
					}
				}
				g, _ := start(t, client, pleg.Config{})
				assert.Len(t, state(t, g, "pod-199", time.Time{}).Containers, 10)
				pods, err := g.Pods(t.Context(), time.Time{})
				require.NoError(t, err)
				assert.Len(t, pods, 200)
				require.NoError(t, g.Healthy())
			})
		})
	}
}
