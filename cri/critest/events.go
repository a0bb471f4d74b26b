package critest

import (
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What containerd keeps of events for which there is no subscriber, to give
// them to the next one.
const (
	backlogTime = 5 * time.Minute
	backlogSize = 1000
)

// Event is a container event on its way to the subscribers.
type Event = runtimeapi.ContainerEventResponse

// Delivery says what happens to an event. The zero value delivers it at once
// and in order.
type Delivery struct {
	// Drop loses it.
	Drop bool
	// Duplicate delivers it so many times more.
	Duplicate int
	// Delay delivers it later; what happens meanwhile overtakes it.
	Delay time.Duration
	// Behind delivers it after so many later events.
	Behind int
}

// ScriptEvents has deliver decide about each event from now on; nil delivers
// all. It is called for one event at a time, in the order in which things
// happened, and must not change the runtime.
func (r *Runtime) ScriptEvents(deliver func(*Event) Delivery) {
	r.events.mu.Lock()
	defer r.events.mu.Unlock()
	r.events.script = deliver
}

// hub gives events to subscribers. Each subscriber has a queue without a limit,
// so that a slow one holds up nobody.
type hub struct {
	noteMu sync.Mutex // guards noted
	noted  []*Event

	mu          sync.Mutex // guards the rest, and is held while script decides
	script      func(*Event) Delivery
	delayed     []delayedEvent // by their times
	behind      []*latecomer
	subscribers map[*subscriber]struct{}
	backlog     []kept
}

type delayedEvent struct {
	event  *Event
	copies int
	due    time.Time
}

// latecomer is an event that waits for later ones to be delivered.
type latecomer struct {
	event  *Event
	copies int
	wait   int
}

// kept is an event that had no subscriber.
type kept struct {
	event *Event
	until time.Time
}

type subscriber struct {
	wake  chan struct{}
	queue []*Event // guarded by hub.mu
}

// emit notes that something happened to a container, or to a sandbox when its
// own ID is given. The event goes out when Runtime.mu, which the caller holds,
// is released.
func (r *Runtime) emit(sb *sandbox, id string, kind runtimeapi.ContainerEventType) {
	event := &Event{
		ContainerId:        id,
		ContainerEventType: kind,
		CreatedAt:          time.Now().UnixNano(),
		PodSandboxStatus:   r.sandboxStatus(sb),
	}
	for _, c := range sb.containers {
		event.ContainersStatuses = append(event.ContainersStatuses, r.containerStatus(c))
	}
	r.events.noteMu.Lock()
	defer r.events.noteMu.Unlock()
	r.events.noted = append(r.events.noted, event)
}

// flush sends what was noted on its way.
func (h *hub) flush() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, event := range h.take() {
		h.route(event)
	}
}

func (h *hub) take() []*Event {
	h.noteMu.Lock()
	defer h.noteMu.Unlock()
	noted := h.noted
	h.noted = nil
	return noted
}

func (h *hub) route(event *Event) {
	var fate Delivery
	if h.script != nil {
		fate = h.script(event)
	}
	copies := 1 + fate.Duplicate
	switch {
	case fate.Drop:
	case fate.Delay > 0:
		h.later(event, copies, fate.Delay)
	case fate.Behind > 0:
		h.behind = append(h.behind, &latecomer{event: event, copies: copies, wait: fate.Behind})
	default:
		h.deliver(event, copies)
	}
}

func (h *hub) later(event *Event, copies int, delay time.Duration) {
	h.delayed = append(h.delayed, delayedEvent{event: event, copies: copies, due: time.Now().Add(delay)})
	slices.SortStableFunc(h.delayed, func(a, b delayedEvent) int { return a.due.Compare(b.due) })
	time.AfterFunc(delay, h.deliverDue)
}

// deliverDue delivers the delayed events whose time has come, in the order of
// their times: several timers may fire at once.
func (h *hub) deliverDue() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for len(h.delayed) > 0 && !h.delayed[0].due.After(now) {
		next := h.delayed[0]
		h.delayed = h.delayed[1:]
		h.deliver(next.event, next.copies)
	}
}

// deliver gives an event to the subscribers, and after it those that have been
// waiting for it.
func (h *hub) deliver(event *Event, copies int) {
	for range copies {
		h.give(event)
	}
	var due []*latecomer
	h.behind = slices.DeleteFunc(h.behind, func(late *latecomer) bool {
		late.wait--
		if late.wait > 0 {
			return false
		}
		due = append(due, late)
		return true
	})
	for _, late := range due {
		h.deliver(late.event, late.copies)
	}
}

func (h *hub) give(event *Event) {
	if len(h.subscribers) == 0 {
		h.expireBacklog()
		h.backlog = append(h.backlog, kept{event: event, until: time.Now().Add(backlogTime)})
		return
	}
	for s := range h.subscribers {
		s.push(event)
	}
}

func (h *hub) expireBacklog() {
	now := time.Now()
	for len(h.backlog) >= backlogSize || len(h.backlog) > 0 && now.After(h.backlog[0].until) {
		h.backlog = h.backlog[1:]
	}
}

func (s *subscriber) push(event *Event) {
	s.queue = append(s.queue, event)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (h *hub) subscribe() *subscriber {
	s := &subscriber{wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expireBacklog()
	for _, old := range h.backlog {
		s.push(old.event)
	}
	h.backlog = nil
	if h.subscribers == nil {
		h.subscribers = map[*subscriber]struct{}{}
	}
	h.subscribers[s] = struct{}{}
	return s
}

func (h *hub) unsubscribe(s *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subscribers, s)
}

func (h *hub) drain(s *subscriber) []*Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	queue := s.queue
	s.queue = nil
	return queue
}

// reset loses every event that is on its way, as the restart of a daemon does.
func (h *hub) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.take()
	h.delayed, h.behind, h.backlog = nil, nil, nil
}

func (s *service) GetContainerEvents(_ *runtimeapi.GetEventsRequest, stream runtimeapi.RuntimeService_GetContainerEventsServer) error {
	subscriber := s.r.events.subscribe()
	defer s.r.events.unsubscribe(subscriber)
	ctx := stream.Context()
	for {
		for _, event := range s.r.events.drain(subscriber) {
			if err := stream.Send(event); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-subscriber.wake:
		}
	}
}
