package podmanager

import (
	"context"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	listTimeout  = 2 * time.Minute
	maxListRetry = 5 * time.Second
)

// firstSurvey repeats survey until it has worked: a pod that started before might
// meet an older one of its name. It reports whether it did; if not, ctx has ended.
func (m *Manager) firstSurvey(ctx context.Context) bool {
	for n := 1; ; n++ {
		err := m.survey(ctx)
		if err == nil {
			return true
		}
		if n == 1 && ctx.Err() == nil {
			m.log.Warn("no pod is started before what runs is known, will be retried", zap.Error(err))
		}
		if !sleep(ctx, ramp(n, maxListRetry)) {
			return false
		}
	}
}

// housekeep surveys in each period until ctx ends. What List does not say is not
// acted on: after an error nothing is ended.
func (m *Manager) housekeep(ctx context.Context) {
	failed := false
	for sleep(ctx, m.cfg.HousekeepingPeriod) {
		err := m.survey(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			m.log.Warn("housekeeping failed, will be retried", zap.Error(err))
		}
		failed = err != nil
	}
}

// survey lists what runs, notes what nobody has asked for, and ends that if it
// may. A UID that was known before the list or is known after it is left alone.
func (m *Manager) survey(ctx context.Context) error {
	m.mu.Lock()
	before := maps.Clone(m.workers)
	m.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	running, err := m.lister.List(ctx)
	if err != nil {
		return fmt.Errorf("list running pods: %w", err)
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	runs := make(map[types.UID]bool, len(running))
	for _, pod := range running {
		if pod == nil || pod.UID == "" {
			continue
		}
		runs[pod.UID] = true
		switch w := m.workers[pod.UID]; {
		case w == nil && before[pod.UID] == nil:
			m.addFound(pod)
		case w != nil && !m.surveyed: // set before Run, and still running: the name is its
			m.names.joinFirst(w.name, w.uid)
			w.admitted = true
		}
	}
	m.dropFound(runs)
	m.surveyed = true
	return nil
}

// addFound notes a pod that runs and that nobody has set. It keeps its name from
// other pods. It is ended if one of them is desired, or if all that is desired is
// known and it is not. m.mu is held.
func (m *Manager) addFound(pod *corev1.Pod) {
	w := newWorker(pod, found)
	w.orphan = true
	m.workers[w.uid] = w
	m.names.joinFirst(w.name, w.uid)
	if m.replaced || m.nameWanted(w) {
		m.remove(w)
	}
}

func (m *Manager) nameWanted(w *worker) bool {
	for _, uid := range m.names[w.name] {
		if other := m.workers[uid]; other.state != found && (!other.deleted || other.next != nil) {
			return true
		}
	}
	return false
}

// dropFound forgets what was found and has ended by itself since. m.mu is held.
func (m *Manager) dropFound(runs map[types.UID]bool) {
	for uid, w := range m.workers {
		if w.state == found && !runs[uid] {
			m.forget(w)
		}
	}
}
