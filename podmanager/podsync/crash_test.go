package podsync_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/podmanager"
)

// manage runs a podmanager around the stage's Syncer until the test ends. The
// runtime's events wake it, so that nothing polls and hours are cheap. Of the
// containers that end, the last one is kept, as by garbage collection.
func (s *stage) manage(pods ...*corev1.Pod) {
	s.t.Helper()
	manager := podmanager.New(struct{ podmanager.Syncer }{s.syncer()}, podmanager.Config{}) // without List, which polls
	manager.Replace(pods)
	ctx, cancel := context.WithCancel(s.t.Context())
	events := make(chan *runtimeapi.ContainerEventResponse)
	done := make(chan struct{}, 3)
	go func() { _ = s.client.GetContainerEvents(ctx, events, nil); done <- struct{}{} }()
	go func() { _ = manager.Run(ctx); done <- struct{}{} }()
	go func() {
		defer func() { done <- struct{}{} }()
		ended := ""
		for {
			select {
			case <-ctx.Done():
				return
			case event := <-events:
				if event.ContainerEventType == runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT {
					_ = s.client.RemoveContainer(ctx, ended)
					ended = event.ContainerId
				}
				manager.Wake(types.UID(event.GetPodSandboxStatus().GetMetadata().GetUid()))
			}
		}
	}()
	s.t.Cleanup(func() {
		cancel()
		for range cap(done) {
			<-done
		}
	})
}

// pauses returns how long each restart of a container came after its last exit.
func (s *stage) pauses(runs ...time.Duration) []time.Duration {
	var pauses []time.Duration
	var ended time.Time
	for _, call := range s.runtime.Calls() {
		if call.Method != "StartContainer" {
			continue
		}
		if !ended.IsZero() {
			pauses = append(pauses, call.Time.Sub(ended))
		}
		ended = call.Time.Add(runs[min(len(pauses), len(runs)-1)])
	}
	return pauses
}

func seconds(numbers ...time.Duration) []time.Duration {
	for i := range numbers {
		numbers[i] *= time.Second
	}
	return numbers
}

func TestTenHoursOfCrashesShowExactlyTheBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{
			TraceLimit: 1 << 20,
			Scripts:    []critest.Script{{Runs: []critest.Run{{Duration: time.Second, ExitCode: 1}}}},
		})
		s.manage(podOf("app"))
		time.Sleep(10 * time.Hour)

		pauses := s.pauses(time.Second)
		require.Greater(t, len(pauses), 115)
		assert.Equal(t, seconds(0, 10, 20, 40, 80, 160, 300, 300), pauses[:8])
		for i, pause := range pauses[8:] {
			assert.Equal(t, 5*time.Minute, pause, "pause %d", i+8)
		}
		waiting := s.last().Waiting["app"]
		assert.Equal(t, "CrashLoopBackOff", waiting.Reason)
		assert.Equal(t, "back-off 5m0s restarting failed container=app pod=web_shop(uid-1)", waiting.Message)
	})
}

func TestTheBackOffHoldsForSuccessfulExitsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Duration: time.Second}}}}})
		s.manage(podOf("app"))
		time.Sleep(time.Minute)
		assert.Equal(t, seconds(0, 10, 20), s.pauses(time.Second))
	})
}

func TestMoreThanTenMinutesOfRunningStartTheBackOffOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		short, long := time.Second, 10*time.Minute+time.Second
		runs := []time.Duration{short, short, short, long, short}
		var script critest.Script
		for _, run := range runs {
			script.Runs = append(script.Runs, critest.Run{Duration: run, ExitCode: 1})
		}
		s := newStage(t, critest.Config{Scripts: []critest.Script{script}})
		s.manage(podOf("app"))
		time.Sleep(12 * time.Minute)
		assert.Equal(t, seconds(0, 10, 20, 0, 10), s.pauses(runs...)[:5])
	})
}

func TestAContainerThatCannotBeStartedCrashLoopsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{FailStart: "exec: not found"}}}}})
		s.manage(podOf("app"))
		time.Sleep(30 * time.Minute)
		starts := s.runtime.Count("StartContainer")
		assert.Greater(t, starts, 8)
		assert.Less(t, starts, 14)
	})
}
