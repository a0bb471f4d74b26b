package statusmgr

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
)

// Run hands changed statuses to the Updater until ctx ends, then returns nil.
// It blocks and is to be called once. What is not handed on by then stays in
// Get and Pods; a new agent finds it out again from the runtime.
func (m *Manager) Run(ctx context.Context) error {
	full := time.NewTicker(m.cfg.FullSyncPeriod)
	defer full.Stop()
	for {
		for ctx.Err() == nil && m.reportNext(ctx) {
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.wake:
		case <-full.C:
			m.retryFailed()
		}
	}
}

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

// take returns the entry whose turn it is and a copy of its newest pod. Pods
// whose last report failed come after all others, so that however long they
// take, no change waits for more than one of them.
func (m *Manager) take() (*entry, *corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var first *entry
	for _, e := range m.entries {
		if e.due && (first == nil || e.before(first)) {
			first = e
		}
	}
	if first == nil {
		return nil, nil
	}
	first.due = false
	return first, first.pod.DeepCopy()
}

func (e *entry) before(other *entry) bool {
	if e.failed != other.failed {
		return other.failed
	}
	return e.turn < other.turn
}

// settle notes the outcome of a report and reports whether the one before had
// failed too.
func (m *Manager) settle(e *entry, failed bool) (again bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	again, e.failed = e.failed, failed
	return again
}

// retryFailed makes due what the Updater did not take.
func (m *Manager) retryFailed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.entries {
		e.due = e.due || e.failed
	}
}
