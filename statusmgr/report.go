package statusmgr

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
)

// Run hands changed statuses to the Updater until ctx ends, then returns nil.
// It blocks and is to be called once. What is not handed on by then stays in
// Get and Pods; a new agent finds it out again from the runtime, but for the node's
// own decisions of the last moments (Input.Failure), which are lost.
func (m *Manager) Run(ctx context.Context) error {
	deliver(ctx, m.wake, m.cfg.FullSyncPeriod, m.reportNext, m.retryFailed)
	return nil
}

// deliver calls next until it returns false, and does so again when it is woken
// and, after a call of retry, in each period. It returns when ctx ends.
func deliver(ctx context.Context, wake <-chan struct{}, period time.Duration, next func(context.Context) bool, retry func()) {
	full := time.NewTicker(period)
	defer full.Stop()
	for {
		for ctx.Err() == nil && next(ctx) {
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-full.C:
			retry()
		}
	}
}

// notify wakes who reads from wake, which has the size 1.
func notify(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// delivery is the place of something in the order in which things are handed
// on.
type delivery struct {
	// due says that it is to be handed on, turn in which order.
	due  bool
	turn uint64
	// failed says that the last call was in vain.
	failed bool
}

// before puts what failed last after all others, so that however long that
// takes, no change waits for more than one of them.
func (d *delivery) before(other *delivery) bool {
	if d.failed != other.failed {
		return other.failed
	}
	return d.turn < other.turn
}

// retry makes due what failed.
func (d *delivery) retry() { d.due = d.due || d.failed }

// reportNext hands on the status whose turn it is, false if nothing is due.
func (m *Manager) reportNext(ctx context.Context) bool {
	e, pod := m.take()
	if e == nil {
		return false
	}
	callCtx, cancel := context.WithTimeout(ctx, m.cfg.UpdateTimeout)
	err := m.updater.ReportPodStatus(callCtx, pod)
	cancel()
	if ctx.Err() != nil {
		return false
	}
	again := m.settle(e, err != nil)
	switch {
	case err != nil && again:
		m.log.Debug("status still not taken, will retry", append(podFields(pod), zap.Error(err))...)
	case err != nil:
		m.log.Warn("status not taken, will retry", append(podFields(pod), zap.Error(err))...)
	case again:
		m.log.Info("status taken again", podFields(pod)...)
	}
	return true
}

// take returns the entry whose turn it is and a copy of its newest pod.
func (m *Manager) take() (*entry, *corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var first *entry
	for _, e := range m.entries {
		if e.due && (first == nil || e.before(&first.delivery)) {
			first = e
		}
	}
	if first == nil {
		return nil, nil
	}
	first.due = false
	return first, first.pod.DeepCopy()
}

// settle notes the outcome of a report and reports whether the one before had
// failed too.
func (m *Manager) settle(e *entry, failed bool) (again bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	again, e.failed = e.failed, failed
	if uid := e.pod.UID; e.removed && !e.due && !failed && m.entries[uid] == e {
		delete(m.entries, uid)
	}
	return again
}

// retryFailed makes due what the Updater did not take.
func (m *Manager) retryFailed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.entries {
		e.retry()
	}
}
