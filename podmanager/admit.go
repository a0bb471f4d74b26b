package podmanager

import (
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
)

// Rejection says why a pod is not taken, as its status shows it.
type Rejection struct {
	Reason  string // one word in CamelCase, such as OutOfcpu
	Message string // for people
}

// step is what there is to do for a worker that is due.
type step int

const (
	nothing   step = iota // no work, or at work already
	wait                  // until its name is free
	ask                   // Admit
	goAndWork             // busy from now on
)

// takeDue returns the workers that are due, the oldest pod first: what it takes may
// be lacking for a younger one.
func (m *Manager) takeDue() []*worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	due := m.due
	m.due = nil
	slices.SortStableFunc(due, func(a, b *worker) int {
		return a.pod.CreationTimestamp.Compare(b.pod.CreationTimestamp.Time)
	})
	return due
}

// start reports whether w gets a goroutine now. It is called from Run only, so that
// pods are admitted one after the other.
func (m *Manager) start(w *worker) bool {
	next, pod, admitted := m.next(w)
	if next == ask {
		m.admit(w, pod, admitted)
		next, _, _ = m.next(w)
	}
	if next == wait {
		m.log.Info("pod waits until the other of its name is gone", w.fields()...)
	}
	return next == goAndWork
}

// next decides what to do for w, and with what to ask Admit.
func (m *Manager) next(w *worker) (next step, pod *corev1.Pod, admitted []*corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case w.busy || w.state == found || w.state == finished && !w.deleted:
		return nothing, nil, nil
	case w.state == waiting && !m.names.first(w.name, w.uid):
		return wait, nil, nil
	case w.state == waiting && !w.admitted:
		others := m.admittedPods()
		w.admitted = true // for Admitted: what is decided meanwhile must leave it its room
		return ask, w.pod, others
	case w.state == waiting:
		w.state = syncing
	}
	w.busy = true
	return goAndWork, nil, nil
}

// Admitted returns the pods that share the node, as Config.Admit is told of them, and
// the one that Admit is being asked about: the newest version of each that was admitted
// and has not ended. The pods are shared and must not be changed; the slice is the
// caller's.
func (m *Manager) Admitted() []*corev1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.admittedPods()
}

// admittedPods returns the pods that share the node. Orphans do not: nobody knows
// what they need. m.mu is held.
func (m *Manager) admittedPods() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, w := range m.workers {
		if w.admitted && w.state != finished {
			pods = append(pods, w.pod)
		}
	}
	return byName(pods)
}

// admit lets w begin, or ends it before it has begun. It is killed like any pod:
// nobody knows what an agent before this one has left of it, and Kill publishes
// that it has ended.
func (m *Manager) admit(w *worker, pod *corev1.Pod, admitted []*corev1.Pod) {
	why := m.cfg.Admit(pod, admitted)
	m.mu.Lock()
	ended := w.state != waiting // meanwhile, by others
	w.admitted = why == nil && !ended
	m.mu.Unlock()
	if why == nil || ended {
		return
	}
	m.log.Warn("pod rejected", w.fields(zap.String("reason", why.Reason), zap.String("message", why.Message))...)
	m.cfg.OnRejected(pod, *why)
	m.finish(w)
}

// started reports whether an agent has admitted the pod before and told so.
func started(pod *corev1.Pod) bool {
	return pod.Status.StartTime != nil || pod.Status.Phase == corev1.PodRunning
}
