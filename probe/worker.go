package probe

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

// worker is one probe of one container. It has no goroutine but for its check in
// flight; Manager.mu guards all of it.
type worker struct {
	pod       *pod
	container *corev1.Container
	kind      Kind
	spec      *corev1.Probe

	id       string // of the running container, empty when none runs
	started  time.Time
	tracker  *Tracker
	onHold   bool // the verdict stands until the container is another one
	inFlight bool
	cancel   context.CancelFunc // ends the check in flight, nil when there is none

	due   time.Time
	index int // in the agenda
}

// notQueued is the index of a worker that is not in the agenda.
const notQueued = -1

// of returns the probe of that kind, nil if the container has none.
func (k Kind) of(c *corev1.Container) *corev1.Probe {
	switch k {
	case Liveness:
		return c.LivenessProbe
	case Readiness:
		return c.ReadinessProbe
	default:
		return c.StartupProbe
	}
}

// period is the time between two checks; the default is that of the Kubernetes API.
func (w *worker) period() time.Duration {
	if w.spec.PeriodSeconds <= 0 {
		return 10 * time.Second
	}
	return time.Duration(w.spec.PeriodSeconds) * time.Second
}

// change takes a new spec. What was found by the old one stands.
func (w *worker) change(spec *corev1.Probe) {
	tracker := NewTracker(w.kind, spec)
	if w.tracker != nil {
		tracker.verdict = w.tracker.verdict
	}
	w.spec, w.tracker = spec, tracker
}

// follow goes over to the container that runs now, and reports whether that is
// another one. What was found of the one before is forgotten.
func (w *worker) follow(status *corev1.ContainerStatus) (changed bool) {
	id, started := "", time.Time{}
	if status != nil && status.State.Running != nil {
		id, started = cri.BareID(status.ContainerID), status.State.Running.StartedAt.Time
	}
	if id == w.id {
		return false
	}
	w.id, w.started, w.onHold = id, started, false
	w.tracker = NewTracker(w.kind, w.spec)
	if id == "" {
		return true
	}
	switch {
	case !w.pod.first:
	case w.kind == Readiness && status.Ready && w.pod.ready():
		w.tracker.verdict = Success
	case w.kind == Startup && status.Started != nil && *status.Started:
		w.tracker.verdict, w.onHold = Success, true
	}
	return true
}

// abort cancels the check in flight: a hung one must not keep the next container
// waiting. Nothing else is checked by the worker before it has ended.
func (w *worker) abort() {
	if w.cancel != nil {
		w.cancel()
	}
}

// idle reports whether there is nothing to check now, and nothing will change that but
// a call of Set or the end of another check.
func (w *worker) idle() bool {
	return w.id == "" || w.onHold || w.kind != Readiness && w.pod.ending || w.kind != Startup && w.pod.starting(w.id)
}

// starting reports whether the container's startup probe has not succeeded yet.
func (p *pod) starting(id string) bool {
	for _, w := range p.workers {
		if w.kind == Startup && w.id == id {
			return w.tracker.Verdict() != Success
		}
	}
	return false
}

// ready reports whether the status says so of the pod as a whole.
func (p *pod) ready() bool {
	return slices.ContainsFunc(p.status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// first is when a container is checked for the first time: at once or after its
// initial delay, counted in whole seconds from its start, whatever has become of the
// clock since. Soon after the start of the agent the checks are spread over their
// period.
func (w *worker) first(now, began time.Time) time.Time {
	delay := time.Duration(w.spec.InitialDelaySeconds) * time.Second
	left := min(delay, max(0, w.started.Add(delay).Sub(now)))
	due := now.Add(left)
	if !began.IsZero() && now.Sub(began) < w.period() && w.started.Before(began) {
		due = due.Add(time.Duration(rand.Int64N(int64(w.period()))))
	}
	return due
}

// target is where the container is checked, as of now. A pod on the host network is
// where the node is: the address in its status is the one that the node had when the
// pod began.
func (w *worker) target() Target {
	ip := w.pod.status.PodIP
	if w.pod.pod.Spec.HostNetwork {
		ip = cmp.Or(w.pod.status.HostIP, ip)
	}
	return Target{ContainerID: w.id, PodIP: ip, Ports: w.container.Ports}
}

// conclude takes the outcome of a check and reports whether the verdict has changed.
// A container that has failed to start or to live is not checked again: it is to be
// ended. One that has started is not asked for that again.
func (w *worker) conclude(result Result) (changed bool) {
	changed = w.tracker.Observe(result)
	verdict := w.tracker.Verdict()
	w.onHold = w.kind == Liveness && verdict == Failure || w.kind == Startup && verdict != Unknown
	return changed
}
