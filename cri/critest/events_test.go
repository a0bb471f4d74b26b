package critest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

// listener collects the events of one subscription.
type listener struct {
	w      *world
	ended  chan error
	mu     sync.Mutex
	events []*critest.Event
}

func (w *world) listen() *listener {
	l := &listener{w: w, ended: make(chan error, 1)}
	events := make(chan *runtimeapi.ContainerEventResponse)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	go func() {
		defer close(done)
		l.ended <- w.client.GetContainerEvents(ctx, events, nil)
	}()
	go func() {
		for {
			select {
			case event := <-events:
				l.mu.Lock()
				l.events = append(l.events, event)
				l.mu.Unlock()
			case <-done:
				return
			}
		}
	}()
	synctest.Wait()
	return l
}

// heard is what came in, in short.
func (l *listener) heard() string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	var texts []string
	for _, event := range l.events {
		what := strings.TrimSuffix(strings.TrimPrefix(event.ContainerEventType.String(), "CONTAINER_"), "_EVENT")
		name := event.PodSandboxStatus.GetMetadata().GetName()
		if event.ContainerId != event.PodSandboxStatus.GetId() {
			name += "/app"
		}
		texts = append(texts, strings.ToLower(what)+" "+name)
	}
	return strings.Join(texts, "; ")
}

func TestEventsOfAPodsLife(t *testing.T) {
	inBubble(t, node(runs(critest.Run{Duration: time.Second, ExitCode: 1})), func(t *testing.T, w *world) {
		l := w.listen()
		sandbox := w.sandbox("web")
		w.start(sandbox, "app")
		require.Equal(t, "created web; started web; created web/app; started web/app", l.heard())
		time.Sleep(time.Second)
		require.NoError(t, w.client.StopPodSandbox(context.Background(), sandbox))
		require.NoError(t, w.client.RemovePodSandbox(context.Background(), sandbox))
		require.Equal(t, "created web; started web; created web/app; started web/app; stopped web/app; stopped web; deleted web/app; deleted web", l.heard())

		died := l.events[4]
		require.Equal(t, time.Now().UnixNano(), died.CreatedAt)
		require.Equal(t, int32(1), died.ContainersStatuses[0].ExitCode)
		require.Equal(t, runtimeapi.PodSandboxState_SANDBOX_READY, died.PodSandboxStatus.State)
		require.Empty(t, l.events[6].ContainersStatuses)
	})
}

func TestStartThatFailsGivesNoEvent(t *testing.T) {
	inBubble(t, node(runs(critest.Run{FailStart: "no such file"})), func(t *testing.T, w *world) {
		l := w.listen()
		require.Error(t, w.client.StartContainer(context.Background(), w.create(w.sandbox("web"), containerConfig("app"))))
		require.Equal(t, "created web; started web; created web/app", l.heard())
	})
}

func TestEverySubscriberGetsEveryEvent(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		first, second := w.listen(), w.listen()
		w.app()
		require.NotEmpty(t, first.heard())
		require.Equal(t, first.heard(), second.heard())
	})
}

func TestEventsWithoutASubscriberAreKeptForTheNextForAWhile(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		w.sandbox("old")
		time.Sleep(4 * time.Minute)
		w.sandbox("new")
		time.Sleep(2 * time.Minute)
		require.Equal(t, "created new; started new", w.listen().heard())
		require.Empty(t, w.listen().heard())
	})
}

func TestScriptedEvents(t *testing.T) {
	const undisturbed = "created web; started web; created web/app; started web/app"
	isCreated := func(event *critest.Event) bool {
		return event.ContainerEventType == runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT
	}
	for name, test := range map[string]struct {
		fate    critest.Delivery
		atOnce  string
		atLast  string
		created bool
	}{
		"nothing": {critest.Delivery{}, undisturbed, undisturbed, true},
		"loss":    {critest.Delivery{Drop: true}, "started web; started web/app", "started web; started web/app", true},
		"doubling": {
			critest.Delivery{Duplicate: 1},
			"created web; created web; started web; created web/app; created web/app; started web/app",
			"created web; created web; started web; created web/app; created web/app; started web/app", true,
		},
		"delay": {
			critest.Delivery{Delay: time.Minute},
			"started web; started web/app", "started web; started web/app; created web; created web/app", true,
		},
		"reordering": {
			critest.Delivery{Behind: 1},
			"started web; created web; started web/app; created web/app",
			"started web; created web; started web/app; created web/app", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, node(), func(t *testing.T, w *world) {
				w.ScriptEvents(func(event *critest.Event) critest.Delivery {
					if isCreated(event) {
						return test.fate
					}
					return critest.Delivery{}
				})
				l := w.listen()
				w.app()
				require.Equal(t, test.atOnce, l.heard())
				time.Sleep(time.Hour)
				require.Equal(t, test.atLast, l.heard())
				w.ScriptEvents(nil)
				w.sandbox("other")
				require.Equal(t, test.atLast+"; created other; started other", l.heard())
			})
		})
	}
}

func TestEventScriptMayLookAtTheRuntime(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		var seen []string
		w.ScriptEvents(func(event *critest.Event) critest.Delivery {
			seen = append(seen, fmt.Sprint(w.ContainerID("web", "app") != "", w.Count("StartContainer")))
			return critest.Delivery{Drop: len(seen) < 4}
		})
		l := w.listen()
		w.app()
		require.Equal(t, []string{"false 0", "false 0", "true 0", "true 1"}, seen)
		require.Equal(t, "started web/app", l.heard())
		w.Restart(0)
	})
}

func TestEventsEndWithTheRuntimeAndAreLostMeanwhile(t *testing.T) {
	inBubble(t, node(runs(critest.Run{Duration: time.Minute})), func(t *testing.T, w *world) {
		l := w.listen()
		w.ScriptEvents(func(*critest.Event) critest.Delivery { return critest.Delivery{Delay: time.Second} })
		w.app()
		w.Restart(time.Hour)
		require.Equal(t, codes.Unavailable, status.Code(<-l.ended))
		require.Empty(t, l.heard())
		time.Sleep(2 * time.Hour)
		w.ScriptEvents(nil)
		again := w.listen()
		w.sandbox("other")
		require.Equal(t, "created other; started other", again.heard())
	})
}

func TestRuntimeWithoutEvents(t *testing.T) {
	inBubble(t, critest.Config{Profile: critest.Containerd16}, func(t *testing.T, w *world) {
		require.True(t, cri.IsUnimplemented(<-w.listen().ended))
	})
}

func TestSlowSubscriberHoldsUpNobody(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() {
			ended <- w.client.GetContainerEvents(ctx, make(chan *runtimeapi.ContainerEventResponse), nil)
		}()
		synctest.Wait()
		for i := range 2000 {
			w.sandbox(fmt.Sprint("web-", i))
		}
		cancel()
		require.Error(t, <-ended)
	})
}
