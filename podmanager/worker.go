package podmanager

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// state of a pod; a worker only goes down this list.
type state int

const (
	found       state = iota // runs, and nobody has asked for it or against it
	waiting                  // for Run, for its turn at its name, and to be admitted
	syncing                  // Sync after Sync
	terminating              // Kill until it succeeds
	finished                 // nothing of it runs
)

// worker is one life of one pod.
type worker struct {
	uid  types.UID
	name string        // namespace/name
	wake chan struct{} // size 1

	// Guarded by Manager.mu.
	state     state
	busy      bool               // has a goroutine
	pod       *corev1.Pod        // newest version
	orphan    bool               // pod is from List: nobody has set it
	admitted  bool               // may start, or has; counts until it is finished
	deleted   bool               // when finished, it is forgotten
	deletedAt time.Time          // by whatever means
	next      *corev1.Pod        // set again after deletion: the next life
	grace     time.Duration      // from terminating on
	interrupt context.CancelFunc // ends the call in flight and the rest after it
	ended     chan struct{}      // closed when finished

	// Owned by the goroutine.
	streak  int    // failed Kills in a row, or failed Syncs that were hurried
	failure string // the last failure that was logged
}

func newWorker(pod *corev1.Pod, s state) *worker {
	return &worker{
		uid:       pod.UID,
		name:      fullName(pod),
		wake:      make(chan struct{}, 1),
		state:     s,
		pod:       pod,
		interrupt: func() {},
		ended:     make(chan struct{}),
	}
}

func (w *worker) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) fields(more ...zap.Field) []zap.Field {
	return append([]zap.Field{zap.String("pod", w.name), zap.String("uid", string(w.uid))}, more...)
}

// remove ends w and has it forgotten then. m.mu is held.
func (m *Manager) remove(w *worker) {
	w.next = nil
	if w.deleted {
		return
	}
	w.deleted, w.deletedAt = true, time.Now()
	m.end(w)
}

// end moves w on towards finished. m.mu is held.
func (m *Manager) end(w *worker) { m.endWithin(w, effectiveGrace(w.pod)) }

// endWithin is end with another grace than the pod's. m.mu is held.
func (m *Manager) endWithin(w *worker, grace time.Duration) {
	switch w.state {
	case found, waiting, syncing: // a waiting one may run since before the agent's restart
		w.state, w.grace = terminating, grace
		w.interrupt()
	case terminating:
		w.shorten(grace)
	}
	m.schedule(w)
}

// shorten applies a grace that is shorter than what the pod has. Manager.mu is held.
func (w *worker) shorten(grace time.Duration) {
	if w.state == terminating && grace < w.grace {
		w.grace = grace
		w.interrupt()
	}
}

// forget drops w and lets the next of its name begin. m.mu is held.
func (m *Manager) forget(w *worker) {
	delete(m.workers, w.uid)
	if uid, ok := m.names.leave(w.name, w.uid); ok {
		m.schedule(m.workers[uid])
	}
}

// turn is one call and the rest after it.
type turn struct {
	ctx    context.Context // ends when the worker has something else to do
	cancel context.CancelFunc
	state  state
	pod    *corev1.Pod
	orphan bool
	grace  time.Duration
}

// work is the goroutine of w: turn after turn, until the pod is finished or ctx ends.
func (m *Manager) work(ctx context.Context, w *worker) {
	for last := (turn{}); ctx.Err() == nil; {
		t := m.begin(ctx, w)
		if t.state != last.state || t.grace != last.grace {
			w.streak, w.failure = 0, ""
			m.logNews(w, last, t)
		}
		switch t.state {
		case syncing:
			m.sync(w, t)
		case terminating:
			m.kill(w, t)
		default:
			m.retire(w)
			t.cancel()
			return
		}
		t.cancel()
		last = t
	}
}

func (m *Manager) begin(ctx context.Context, w *worker) turn {
	select {
	case <-w.wake: // what it tells of is seen by this turn
	default:
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	ctx, w.interrupt = context.WithCancel(ctx)
	return turn{ctx: ctx, cancel: w.interrupt, state: w.state, pod: w.seen(), orphan: w.orphan, grace: w.grace}
}

// seen is the pod as the Syncer sees it: one that was deleted has a deletionTimestamp,
// also if its source only left it out. Manager.mu is held.
func (w *worker) seen() *corev1.Pod {
	if !w.deleted || w.pod.DeletionTimestamp != nil {
		return w.pod
	}
	pod, grace := *w.pod, int64(w.grace/time.Second) // what pod points to is shared, and not changed
	pod.DeletionTimestamp = &metav1.Time{Time: w.deletedAt.Add(w.grace)}
	pod.DeletionGracePeriodSeconds = &grace
	return &pod
}

func (m *Manager) sync(w *worker, t turn) {
	res, err := m.syncer.Sync(t.ctx, t.pod)
	switch {
	case t.ctx.Err() != nil:
		return
	case err == nil && res.Finished:
		m.finish(w)
		return
	}
	r := m.cfg.afterSync(time.Now(), res, err, w.streak, rand.Float64())
	m.logFailure(w, "sync failed, will be retried", err)
	if woken := w.pause(t.ctx, r); r.hurries() || err != nil && woken {
		w.streak++
	} else {
		w.streak = 0
	}
}

// finish ends a pod that has run to its end.
func (m *Manager) finish(w *worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(w)
}

func (m *Manager) kill(w *worker, t turn) {
	err := m.syncer.Kill(t.ctx, t.pod, t.grace)
	switch {
	case err == nil:
		m.killed(w)
	case t.ctx.Err() == nil:
		w.streak++
		m.logFailure(w, "kill failed, will be retried", err)
		w.pause(t.ctx, m.cfg.afterKill(w.streak, rand.Float64()))
	}
}

func (m *Manager) killed(w *worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w.state = finished
	close(w.ended)
}

// retire is a finished worker's last act: it stays without a goroutine, or is
// forgotten. OnRemoved comes first, so that no new life overtakes it. A pod that
// ended by itself is not killed again when it is deleted: Kill has found nothing
// running and nothing was started since; what shows up all the same is an orphan.
func (m *Manager) retire(w *worker) {
	m.mu.Lock()
	if !w.deleted {
		w.busy = false
		m.mu.Unlock()
		return
	}
	pod := w.pod
	m.mu.Unlock()

	m.cfg.OnRemoved(pod)

	m.log.Info("pod removed", w.fields()...)

	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(w)
	if w.next != nil {
		m.add(w.next)
	}
}

// pause waits r out and reports whether a wake came. The end of ctx ends it.
func (w *worker) pause(ctx context.Context, r rest) bool {
	if !sleep(ctx, r.atLeast) || r.hurries() {
		return false
	}
	timer := time.NewTimer(r.until - r.atLeast)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-w.wake:
		return true
	}
	return false
}

// sleep reports whether it lasted to the end of d.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// logNews tells what became of the pod since the turn before.
func (m *Manager) logNews(w *worker, last, t turn) {
	switch {
	case t.state == syncing:
		m.log.Info("pod begins", w.fields()...)
	case t.state == terminating:
		m.log.Info("pod is ending", w.fields(zap.Duration("grace", t.grace), zap.Bool("orphan", t.orphan))...)
	case last.state == terminating:
		m.log.Info("pod has ended", w.fields()...)
	}
}

// logFailure warns of a failure when it is not the one of last time: a pod that
// fails the same way for days must not fill the flash.
func (m *Manager) logFailure(w *worker, msg string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != w.failure {
		m.log.Warn(msg, w.fields(zap.Error(err))...)
	}
	w.failure = text
}
