package probe

import (
	"container/heap"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
)

// The words of events, as the kubelet has them.
const (
	reasonUnhealthy = "Unhealthy"
	reasonWarning   = "ProbeWarning"
)

const (
	// tries is how often a check is tried that finds nothing out.
	tries = 3
	// slack is how long a command may take beyond its timeout before another may run
	// in its place.
	slack = time.Second
)

// agenda is a heap of the workers that wait for their time.
type agenda []*worker

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].due.Before(a[j].due) }

func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}

func (a *agenda) Push(x any) {
	w := x.(*worker)
	w.index = len(*a)
	*a = append(*a, w)
}

func (a *agenda) Pop() any {
	last := len(*a) - 1
	w := (*a)[last]
	(*a)[last] = nil
	*a, w.index = (*a)[:last], notQueued
	return w
}

// lane is a bound on the checks of a sort that are under way, and who waits for it.
type lane struct {
	limit, running int
	waiting        []*worker
}

// enter reports whether the worker may go; else it waits.
func (l *lane) enter(w *worker) bool {
	if l.running >= l.limit {
		l.waiting = append(l.waiting, w)
		return false
	}
	l.running++
	return true
}

// leave makes room, and returns who may go now, nil if nobody waits.
func (l *lane) leave() *worker {
	l.running--
	if len(l.waiting) == 0 {
		return nil
	}
	next := l.waiting[0]
	l.waiting = l.waiting[1:]
	return next
}

// Run checks containers until ctx ends, and returns nil when all checks in flight have
// ended. It is called once.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	m.began = time.Now()
	for _, p := range m.pods {
		for _, w := range p.workers {
			m.replace(w)
		}
	}
	m.mu.Unlock()
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(m.startDue(ctx, &running))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-m.wake:
		}
	}
}

// never is longer than any period.
const never = 24 * time.Hour

// startDue starts the checks whose time has come and returns how long it is to the
// next.
func (m *Manager) startDue(ctx context.Context, running *sync.WaitGroup) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for len(m.agenda) > 0 {
		if first := m.agenda[0]; first.due.After(now) {
			return first.due.Sub(now)
		}
		w := heap.Pop(&m.agenda).(*worker)
		w.inFlight = true
		if m.laneOf(w).enter(w) {
			m.launch(ctx, running, w)
		}
	}
	return never
}

func (m *Manager) laneOf(w *worker) *lane {
	if w.spec.Exec != nil {
		return &m.execs
	}
	return &m.checks
}

// launch has the worker's check done. m.mu is held.
func (m *Manager) launch(ctx context.Context, running *sync.WaitGroup, w *worker) {
	m.metrics.InFlight++
	c := check{worker: w, lane: m.laneOf(w), kind: w.kind, spec: w.spec, target: w.target(), pod: w.pod.pod, container: w.container, began: time.Now()}
	whole := ctx // a check that is cancelled still makes room for others
	ctx, w.cancel = context.WithCancel(ctx)
	cancel := w.cancel
	running.Go(func() {
		defer cancel()
		yield := sync.OnceFunc(func() { m.yield(whole, running, c.lane) })
		late := time.AfterFunc(timeoutOf(c.spec)+slack, yield) // it counts no more, and may hang
		found, err := m.check(ctx, c)
		late.Stop()
		m.finish(c, found, err, ctx.Err() != nil)
		yield()
	})
}

// yield gives a place in the lane to the next that waits for it.
func (m *Manager) yield(ctx context.Context, running *sync.WaitGroup, l *lane) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for next := l.leave(); next != nil; next = l.leave() {
		l.running++
		if next.pod.has(next) && !next.idle() && !next.due.IsZero() && m.laneOf(next) == l && ctx.Err() == nil {
			m.launch(ctx, running, next)
			return
		}
		next.inFlight = false // it is another container or probe, or none, since it waited
		m.place(next)
	}
}

// has reports whether the worker is still one of the pod's.
func (p *pod) has(w *worker) bool { return slices.Contains(p.workers, w) }

// check is one check in flight, with what it began with.
type check struct {
	worker    *worker
	lane      *lane
	kind      Kind
	spec      *corev1.Probe
	target    Target
	pod       *corev1.Pod
	container *corev1.Container
	began     time.Time
}

// check does one check. One that finds nothing out is tried again at once, some times.
func (m *Manager) check(ctx context.Context, c check) (found Outcome, err error) {
	spec := c.spec
	if spec.Exec != nil {
		expanded := *spec
		expanded.Exec = &corev1.ExecAction{Command: m.cfg.Command(c.container, spec.Exec.Command)}
		spec = &expanded
	}
	for range tries {
		if found, err = m.guarded(ctx, spec, c.target); err == nil || ctx.Err() != nil {
			break
		}
	}
	return found, err
}

// guarded is a check that, whatever it meets, takes down nothing else.
func (m *Manager) guarded(ctx context.Context, spec *corev1.Probe, target Target) (found Outcome, err error) {
	defer func() {
		if trouble := recover(); trouble != nil {
			found, err = Outcome{}, fmt.Errorf("the probe panicked: %v", trouble)
		}
	}()
	return m.checker.Check(ctx, spec, target)
}

// finish takes the outcome of a check, unless the container is another one meanwhile,
// and puts the worker on the agenda again.
func (m *Manager) finish(c check, found Outcome, err error, cancelled bool) {
	m.mu.Lock()
	w := c.worker
	w.inFlight, w.cancel = false, nil
	m.metrics.InFlight--
	m.metrics.Checks++
	if err != nil {
		m.metrics.Errors++
	}
	stale := cancelled || !w.pod.has(w) || w.id != c.target.ContainerID || w.spec != c.spec || w.idle()
	changed := !stale && err == nil && w.conclude(found.Result)
	if now := time.Now(); !stale {
		w.due = c.began.Add(w.period())
		if w.due.Before(now) {
			m.metrics.Overruns += int(now.Sub(c.began) / w.period())
			w.due = now
		}
	}
	m.place(w)
	if changed && w.kind == Startup {
		for _, other := range w.pod.workers {
			m.place(other) // those that have waited for it
		}
	}
	uid := c.pod.UID
	m.mu.Unlock()
	if !stale {
		m.tell(c, found, err)
	}
	if changed {
		m.log.Info("verdict has changed", zap.String("pod", c.pod.Namespace+"/"+c.pod.Name), zap.String("uid", string(uid)),
			zap.String("container", c.container.Name), zap.String("probe", string(c.kind)), zap.Stringer("result", found.Result))
		m.cfg.OnResult(uid)
	}
}

// tell words what went wrong.
func (m *Manager) tell(c check, found Outcome, err error) {
	switch {
	case err != nil:
		m.cfg.OnEvent(c.pod, c.container, corev1.EventTypeWarning, reasonUnhealthy, fmt.Sprintf("%s probe errored: %s", c.kind, clip(err.Error())))
	case found.Result == Failure:
		m.cfg.OnEvent(c.pod, c.container, corev1.EventTypeWarning, reasonUnhealthy, fmt.Sprintf("%s probe failed: %s", c.kind, found.Output))
	case found.Result == Warning:
		m.cfg.OnEvent(c.pod, c.container, corev1.EventTypeWarning, reasonWarning, fmt.Sprintf("%s probe warning: %s", c.kind, found.Output))
	}
}

// place puts the worker where it belongs: on the agenda, or off it. m.mu is held.
func (m *Manager) place(w *worker) {
	if !w.pod.has(w) {
		m.drop(w)
		return
	}
	if w.follow(containerStatus(&w.pod.status, w.container.Name)) {
		w.due = time.Time{}
		m.unqueue(w)
		w.abort()
	}
	if w.pod.ending && w.kind != Readiness {
		w.tracker.verdict = Success
	}
	switch {
	case w.idle():
		w.abort()
		m.unqueue(w)
		w.due = time.Time{}
	case w.inFlight: // put there when it ends
	case w.due.IsZero():
		w.due = w.first(time.Now(), m.began)
		m.queue(w)
	case w.index == notQueued:
		m.queue(w)
	}
}

// replace has the worker's first check at a new time.
func (m *Manager) replace(w *worker) {
	if w.index != notQueued {
		m.unqueue(w)
		w.due = time.Time{}
		m.place(w)
	}
}

func (m *Manager) queue(w *worker) {
	heap.Push(&m.agenda, w)
	if m.agenda[0] == w {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

func (m *Manager) unqueue(w *worker) {
	if w.index != notQueued {
		heap.Remove(&m.agenda, w.index)
	}
}

// drop ends the worker. A check in flight is cancelled and finds it gone.
func (m *Manager) drop(w *worker) {
	w.abort()
	m.unqueue(w)
	w.id = ""
}
