package conformance

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// That a container's start failed is not among the events of containerd, nor is every other change: an agent that has
// events lists all the same.
func eventExpectations() []expectation {
	return []expectation{
		{"events tell of a container's life", eventsContainer},
		{"events tell of a sandbox's life", eventsSandbox},
		{"events tell the state of the sandbox and its containers", eventsState},
		{"every subscriber gets the events", eventsSubscribers},
		{"a subscription ends with its context", eventsEnd},
	}
}

// recorder keeps the events of a subscription.
type recorder struct {
	s     *subject
	ended chan struct{}
	stop  context.CancelFunc
	err   error // of the subscription, once ended

	mu     sync.Mutex // guards events
	events []*runtimeapi.ContainerEventResponse
}

// record subscribes, and skips the test for a runtime without events. It returns when the runtime has the subscription.
func (s *subject) record() *recorder {
	ctx, cancel := context.WithCancel(s.ctx)
	r := &recorder{s: s, ended: make(chan struct{}), stop: cancel}
	events := make(chan *runtimeapi.ContainerEventResponse)
	subscribed := make(chan struct{})
	go func() {
		defer close(r.ended)
		r.err = s.rt.GetContainerEvents(ctx, events, func(runtimeapi.RuntimeService_GetContainerEventsClient) { close(subscribed) })
	}()
	go r.collect(events)
	s.t.Cleanup(func() {
		cancel()
		<-r.ended
	})
	r.awaitFirst(subscribed)
	return r
}

// awaitFirst makes sure that the runtime has the subscription, and the call at all: that a stream was opened says
// neither, an event does. As those of before the subscription may be lost, it makes some until one comes.
func (r *recorder) awaitFirst(subscribed <-chan struct{}) {
	s := r.s
	select {
	case <-subscribed:
	case <-r.ended:
	}
	for number, came := 1, false; !came; number++ {
		require.Less(s.t, number, 10, "there are no events")
		p := s.runPod(fmt.Sprintf("first-%d", number))
		for until := time.Now().Add(time.Second); !came && time.Now().Before(until); time.Sleep(beat) {
			r.requireGoingOn()
			came = len(r.of(p.id)) > 0
		}
		require.NoError(s.t, s.rt.RemovePodSandbox(s.ctx, p.id))
	}
}

// requireGoingOn skips the test when the subscription has ended because the runtime has no events.
func (r *recorder) requireGoingOn() {
	select {
	case <-r.ended:
		if cri.IsUnimplemented(r.err) {
			r.s.t.Skip("the runtime has no events")
		}
		require.NoError(r.s.t, r.err, "the subscription ended")
	default:
	}
}

func (r *recorder) collect(events <-chan *runtimeapi.ContainerEventResponse) {
	for {
		select {
		case event := <-events:
			r.mu.Lock()
			r.events = append(r.events, event)
			r.mu.Unlock()
		case <-r.ended:
			return
		}
	}
}

// of are the events of one container, or of one sandbox, which is told of by the same events.
func (r *recorder) of(id string) []*runtimeapi.ContainerEventResponse {
	r.mu.Lock()
	defer r.mu.Unlock()
	var events []*runtimeapi.ContainerEventResponse
	for _, event := range r.events {
		if event.GetContainerId() == id {
			events = append(events, event)
		}
	}
	return events
}

// requireEvents waits for a container's or sandbox's events and holds them to be these, in this order.
func (r *recorder) requireEvents(id string, types ...runtimeapi.ContainerEventType) {
	r.s.t.Helper()
	r.s.await("events", func() bool { return len(r.of(id)) >= len(types) })
	var got []runtimeapi.ContainerEventType
	for _, event := range r.of(id) {
		r.s.requireNow(event.GetCreatedAt())
		got = append(got, event.GetContainerEventType())
	}
	require.Equal(r.s.t, types, got)
}

const (
	createdEvent = runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT
	startedEvent = runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT
	stoppedEvent = runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT
	deletedEvent = runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT
)

func eventsContainer(s *subject) {
	r := s.record()
	p := s.runPod("events")
	app := s.create(p, "app", Program{})
	r.requireEvents(app, createdEvent)
	require.NoError(s.t, s.rt.StartContainer(s.ctx, app))
	r.requireEvents(app, createdEvent, startedEvent, stoppedEvent)
	s.requireEnd(app, 0, "Completed")
	require.NoError(s.t, s.rt.RemoveContainer(s.ctx, app))
	r.requireEvents(app, createdEvent, startedEvent, stoppedEvent, deletedEvent)
}

func eventsSandbox(s *subject) {
	r := s.record()
	p := s.runPod("events")
	r.requireEvents(p.id, createdEvent, startedEvent)
	app := s.start(p, "app", Program{Lasts: Forever})
	r.requireEvents(app, createdEvent, startedEvent)
	require.NoError(s.t, s.rt.StopPodSandbox(s.ctx, p.id))
	r.requireEvents(app, createdEvent, startedEvent, stoppedEvent)
	r.requireEvents(p.id, createdEvent, startedEvent, stoppedEvent)
	require.NoError(s.t, s.rt.RemovePodSandbox(s.ctx, p.id))
	r.requireEvents(app, createdEvent, startedEvent, stoppedEvent, deletedEvent)
	r.requireEvents(p.id, createdEvent, startedEvent, stoppedEvent, deletedEvent)
}

func eventsState(s *subject) {
	r := s.record()
	p := s.runPod("events")
	app := s.finished(p, "app", Program{ExitCode: 3})
	r.requireEvents(app, createdEvent, startedEvent, stoppedEvent)
	event := r.of(app)[2]
	assert.Equal(s.t, s.sandboxStatus(p.id).String(), event.GetPodSandboxStatus().String())
	require.Len(s.t, event.GetContainersStatuses(), 1)
	told := event.GetContainersStatuses()[0]
	assert.Equal(s.t, app, told.GetId())
	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_EXITED, told.GetState())
	assert.Equal(s.t, int32(3), told.GetExitCode())

	require.NoError(s.t, s.rt.RemovePodSandbox(s.ctx, p.id))
	r.requireEvents(p.id, createdEvent, startedEvent, stoppedEvent, deletedEvent)
	// containerd 1.7 leaves the status out of a sandbox's last event.
	if last := r.of(p.id)[3].GetPodSandboxStatus(); last != nil {
		assert.Equal(s.t, p.id, last.GetId())
		assert.Equal(s.t, p.config.Metadata.String(), last.GetMetadata().String())
	}
}

// containerd 1.7 gives each event to one of its subscribers.
func eventsSubscribers(s *subject) {
	version, err := s.rt.Version(s.ctx, "0.1.0")
	require.NoError(s.t, err)
	if version.GetRuntimeName() == "containerd" && strings.HasPrefix(version.GetRuntimeVersion(), "1.7.") {
		s.t.Skip("containerd 1.7 has one subscriber at a time")
	}
	one, two := s.record(), s.record()
	p := s.runPod("events")
	for _, r := range []*recorder{one, two} {
		r.requireEvents(p.id, createdEvent, startedEvent)
	}
	two.stop()
	<-two.ended
	require.NoError(s.t, s.rt.RemovePodSandbox(s.ctx, p.id))
	one.requireEvents(p.id, createdEvent, startedEvent, stoppedEvent, deletedEvent)
}

func eventsEnd(s *subject) {
	r := s.record()
	r.stop()
	<-r.ended
	require.Error(s.t, r.err)
}
