package podmanager

import (
	"cmp"
	"reflect"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Set makes pod desired, or tells of its new version; the newest replaces one that
// was not yet looked at. The pod is shared from then on: nobody may change it, the
// caller included. A pod without a UID is ignored. Setting what is there already
// does nothing: to have a pod looked at, Wake it.
//
// A deletionTimestamp ends the pod as Delete does, with its
// deletionGracePeriodSeconds; a terminal phase ends what may still run of it.
// A pod that is set again after Delete starts anew once the old life is over.
//
// A UID that is new ends the pods of the same name, unless they were created later
// (then it waits behind them: it is an old message).
func (m *Manager) Set(pod *corev1.Pod) {
	if !m.valid(pod) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.workers[pod.UID]; w == nil || w.state == found {
		m.supersede(pod)
	}
	m.put(pod)
}

// Delete ends the pod within its grace; when nothing of it is left, OnRemoved is
// called. A pod that waits for its name never starts. Delete is an order, not the
// absence of a pod, so it is followed before the first Replace too, also for a pod
// that only runs. Unknown UIDs are ignored.
func (m *Manager) Delete(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.workers[uid]; w != nil {
		m.remove(w)
	}
}

// Replace makes pods the complete desired set: new ones begin, the oldest first,
// known ones are updated, and whatever else there is ends. From the first call on,
// orphans are ended: call it only when every source has delivered. It keeps the
// pods, as Set does, not the slice.
//
// Two pods of one name in one set are a fault of the source. They do not end each
// other; the later one waits until the earlier one leaves the set.
func (m *Manager) Replace(pods []*corev1.Pod) {
	pods = oldestFirst(slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return !m.valid(p) }))
	desired := make(map[types.UID]bool, len(pods))
	for _, pod := range pods {
		desired[pod.UID] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.replaced = true
	for uid, w := range m.workers {
		if !desired[uid] {
			m.remove(w)
		}
	}
	for _, pod := range pods {
		m.put(pod)
	}
}

// Wake has the pod synced at once, or once more when it is being synced now. Many
// wakes make one Sync. After failed Syncs in a row that wakes brought forward, the
// next wake has to wait, at most ErrorBackoff. Unknown and finished pods are ignored.
func (m *Manager) Wake(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.workers[uid]; w != nil {
		w.signal()
	}
}

// Pods returns the newest version of each pod that was set and is not yet gone,
// finished and terminating ones included, ordered by namespace and name. The pods
// are shared and must not be changed; the slice is the caller's.
func (m *Manager) Pods() []*corev1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	pods := make([]*corev1.Pod, 0, len(m.workers))
	for _, w := range m.workers {
		switch {
		case w.next != nil:
			pods = append(pods, w.next)
		case !w.orphan:
			pods = append(pods, w.pod)
		}
	}
	return byName(pods)
}

// Known reports whether anything of the pod may run or is to run. What cleans up
// after pods (volumes, directories, statuses) must leave known ones alone. Before
// the first Replace, and before List has answered, every UID is known.
func (m *Manager) Known(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.replaced || !m.surveyed || m.workers[uid] != nil
}

func (m *Manager) valid(pod *corev1.Pod) bool {
	if pod == nil {
		return false
	}
	if pod.UID == "" {
		m.log.Error("pod without UID ignored", zap.String("pod", fullName(pod)))
		return false
	}
	return true
}

// supersede ends the pods whose name pod, which is new, takes over. m.mu is held.
func (m *Manager) supersede(pod *corev1.Pod) {
	for _, uid := range m.names[fullName(pod)] {
		w := m.workers[uid]
		if w.next != nil && !createdAfter(w.next, pod) {
			w.next = nil
		}
		if uid == pod.UID || w.deleted || createdAfter(w.pod, pod) {
			continue
		}
		m.remove(w)
	}
}

// put adds or updates one pod. m.mu is held.
func (m *Manager) put(pod *corev1.Pod) {
	w := m.workers[pod.UID]
	switch {
	case w == nil:
		m.add(pod)
	case w.state == found:
		if w.name != fullName(pod) {
			m.forget(w) // what List said was wrong; else it keeps its place
		}
		m.add(pod)
		m.workers[pod.UID].admitted = true // it runs
	case w.deleted:
		m.putDeleted(w, pod)
	default:
		m.update(w, pod)
	}
}

// add begins a life of pod. m.mu is held.
func (m *Manager) add(pod *corev1.Pod) {
	w := newWorker(pod, waiting)
	w.admitted = started(pod)
	if pod.DeletionTimestamp != nil || terminal(pod) {
		// It may run since before the agent's restart, and it may hold volumes.
		w.state, w.grace = terminating, effectiveGrace(pod)
		w.deleted = pod.DeletionTimestamp != nil
		w.admitted = false // it counts if List finds something of it
	}
	m.workers[w.uid] = w
	m.names.join(w.name, w.uid)
	m.schedule(w)
}

// update takes a new version of a pod that is desired. m.mu is held.
func (m *Manager) update(w *worker, pod *corev1.Pod) {
	changed := w.pod != pod && !reflect.DeepEqual(w.pod, pod)
	w.pod = pod
	w.admitted = w.admitted || w.state == waiting && started(pod)
	switch {
	case pod.DeletionTimestamp != nil:
		m.remove(w)
	case terminal(pod):
		m.end(w)
	case changed:
		w.signal()
	}
}

// putDeleted takes a version of a pod that is deleted and not yet gone. m.mu is held.
func (m *Manager) putDeleted(w *worker, pod *corev1.Pod) {
	switch {
	case pod.DeletionTimestamp != nil:
		w.next, w.pod, w.orphan = nil, pod, false
		w.shorten(effectiveGrace(pod))
	case w.pod.DeletionTimestamp == nil:
		w.next = pod
		// Else it is an old message: a deletionTimestamp is never taken back.
	}
}

func terminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func fullName(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }

// byName sorts pods in place.
func byName(pods []*corev1.Pod) []*corev1.Pod {
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return pods
}

// createdAfter reports whether a was surely created later than b.
func createdAfter(a, b *corev1.Pod) bool {
	return !b.CreationTimestamp.IsZero() && a.CreationTimestamp.After(b.CreationTimestamp.Time)
}

// oldestFirst sorts pods in place by the time of their creation.
func oldestFirst(pods []*corev1.Pod) []*corev1.Pod {
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	return pods
}
