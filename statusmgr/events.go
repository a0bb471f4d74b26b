package statusmgr

import (
	"cmp"
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// EventReporter takes the events that are to be known outside the node.
type EventReporter interface {
	// ReportEvent takes an event that is new or has changed; the event is the
	// reporter's to keep. An event that has changed has the same name and
	// namespace as before, and a higher count. It is called from one goroutine
	// and must return when ctx ends.
	//
	// An error means that no event can be taken now: reporting pauses, and the
	// event comes again. An event that will never be taken is no error.
	ReportEvent(ctx context.Context, event *corev1.Event) error
}

// EventsConfig configures Events. The zero value works.
type EventsConfig struct {
	// Reporter is told new and changed events. Default: nobody is told; they
	// can be read on the node.
	Reporter EventReporter
	// Component is the name of the agent in the events' source. Default
	// "edged".
	Component string
	// Host is the name of the node in the events' source. Default: none.
	Host string
	// Capacity is how many events are kept. Default 1000.
	Capacity int
	// FullSyncPeriod is the time after which the Reporter is asked again when
	// it failed. Default 10 s.
	FullSyncPeriod time.Duration
	// ReportTimeout bounds each call of the Reporter. Default 10 s.
	ReportTimeout time.Duration
	// Logger is where failing reports go. Default: none.
	Logger *zap.Logger
}

// Events keeps what happened to the objects of this node, in the form in which
// Kubernetes' users read it, and offers it to a reporter. Its methods may be
// called from any goroutine.
//
// What happens again, with the same object, container, type, reason and
// message, is one event with a count. Of one object, type and reason ten
// messages are told apart; what differs from those is one more event, which
// shows the last of the messages, until nothing of the kind has happened for
// ten minutes. When there are too many events, the one that has not happened
// for the longest time is dropped, reported or not.
//
// One object may cause 25 reports at once and then one each five minutes. What
// is beyond that is kept and counted, and its report waits for the next time
// that it happens; several changes that wait for one report need only that one.
type Events struct {
	cfg  EventsConfig
	log  *zap.Logger
	wake chan struct{} // size 1: an event is due
	// failing is whether the last report was in vain; it is Run's.
	failing bool

	mu      sync.Mutex // guards journal
	journal journal
}

// NewEvents returns Events that hold none yet. Nothing is reported before Run.
func NewEvents(cfg EventsConfig) *Events {
	cfg.Component = cmp.Or(cfg.Component, "edged")
	cfg.FullSyncPeriod = orDefault(cfg.FullSyncPeriod)
	cfg.ReportTimeout = orDefault(cfg.ReportTimeout)
	if cfg.Capacity <= 0 {
		cfg.Capacity = 1000
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return &Events{
		cfg:     cfg,
		log:     cfg.Logger.Named("events"),
		wake:    make(chan struct{}, 1),
		journal: newJournal(cfg.Capacity, corev1.EventSource{Component: cfg.Component, Host: cfg.Host}),
	}
}

// Event notes that something happened to the object, which is not kept. The
// type is corev1.EventTypeNormal or EventTypeWarning, the reason one word in
// CamelCase of at most 128 bytes, the message a sentence; a longer one is cut to
// 1024 bytes. It does not block. Without an object it does nothing.
func (e *Events) Event(about *corev1.ObjectReference, eventType, reason, message string) {
	if about == nil {
		return
	}
	e.mu.Lock()
	due := e.journal.add(about, eventType, reason, message, time.Now())
	e.mu.Unlock()
	if due {
		notify(e.wake)
	}
}

// List returns copies of all events, the one that happened last at the end. It
// does not block.
func (e *Events) List() []*corev1.Event {
	return e.list(func(*corev1.Event) bool { return true })
}

// Of returns copies of the events about the object with the UID, as List does.
func (e *Events) Of(uid types.UID) []*corev1.Event {
	return e.list(func(event *corev1.Event) bool { return event.InvolvedObject.UID == uid })
}

func (e *Events) list(wanted func(*corev1.Event) bool) []*corev1.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	var events []*corev1.Event
	for r := range e.journal.all {
		if wanted(r.event) {
			events = append(events, r.event.DeepCopy())
		}
	}
	return events
}

// Run hands new and changed events to the Reporter until ctx ends, then returns
// nil. It blocks and is to be called once. When the Reporter fails, it is not
// called again before the next event or the next full pass.
func (e *Events) Run(ctx context.Context) error {
	if e.cfg.Reporter == nil {
		<-ctx.Done()
		return nil
	}
	deliver(ctx, e.wake, e.cfg.FullSyncPeriod, e.reportNext, e.retryFailed)
	return nil
}

// reportNext hands on the event whose turn it is, false if nothing is due or
// the call was in vain.
func (e *Events) reportNext(ctx context.Context) bool {
	r, event := e.take()
	if r == nil {
		return false
	}
	callCtx, cancel := context.WithTimeout(ctx, e.cfg.ReportTimeout)
	err := e.cfg.Reporter.ReportEvent(callCtx, event)
	cancel()
	if ctx.Err() != nil {
		return false
	}
	e.settle(r, err != nil)
	switch {
	case err != nil && !e.failing:
		e.log.Warn("event not taken, will retry", zap.String("event", event.Name), zap.Error(err))
	case err == nil && e.failing:
		e.log.Info("events are taken again")
	}
	e.failing = err != nil
	return err == nil
}

func (e *Events) take() (*record, *corev1.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.journal.first()
	if r == nil {
		return nil, nil
	}
	r.due = false
	return r, r.event.DeepCopy()
}

// settle notes the outcome of a report. What failed comes after all others, as
// the reporter may dislike this one alone.
func (e *Events) settle(r *record, failed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r.failed = failed
	if failed {
		e.journal.putLast(r)
	}
}

func (e *Events) retryFailed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for r := range e.journal.all {
		r.retry()
	}
}
