package pleg

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri"
)

// mark says which listing something is from. Listings are in the order in which
// they began, and what is known is in the order of the listings. The zero mark is
// before all.
type mark struct {
	seq int64
	at  time.Time
}

func (m mark) after(other mark) bool { return m.seq > other.seq }

// threshold is what a reader wants: a listing that began after a time. All that
// begin after the reader came do, if that time was past then, even if the clock
// has not moved since.
type threshold struct {
	notBefore time.Time
	future    bool
	seq       int64
}

func (t threshold) passed(m mark) bool {
	return m.at.After(t.notBefore) || !t.future && m.seq > t.seq
}

// pod is what is known of one pod, and what is still to be found out. A pod
// without records is one that the runtime does not know.
type pod struct {
	uid             types.UID
	namespace, name string

	// What listings said: records as of listed, the same since changed.
	records []record
	listed  mark
	changed mark
	// announced is of the first listing to begin after the last event of the pod.
	announced int64

	// What inspections said: state is right for every listing up to seen. err is
	// why the newest inspection failed, and failed the listing that it was for.
	state  *cri.PodState
	seen   mark
	err    error
	failed mark

	// What is to be done: a listing of at least this seq (asked), an inspection
	// that has not begun (stale) or has not ended (inspecting), and to tell of a
	// change when the next inspection succeeds (news).
	asked      int64
	stale      bool
	inspecting bool
	news       bool
	// owned pods are in the queue or in the hands of the goroutine that works on
	// them, of which there is at most one.
	owned bool

	// waiters is closed when more is known. It is made by the first who waits.
	waiters chan struct{}
}

// newPod returns a pod that the runtime did not know at the last listing of all
// pods.
func newPod(uid types.UID, relisted mark) *pod {
	p := &pod{uid: uid, listed: relisted}
	p.vanish(relisted)
	return p
}

// observe takes over what a listing says of the pod. It reports whether somebody has
// to look at what is learnt, and whether it is to be told that the pod has vanished. A
// listing that began before one that was taken over already says nothing new.
func (p *pod) observe(found listing, m mark) (learnt, vanished bool) {
	if !m.after(p.listed) {
		return false, false
	}
	defer p.wakeWaiters()
	p.listed = m
	p.namespace, p.name = found.podName()
	if !found.matches(p.records) {
		records := found.records()
		learnt = isNews(p.records, records)
		p.news = p.news || learnt
		p.records, p.changed, p.stale = records, m, true
	}
	if len(found) == 0 {
		p.vanish(m)
		vanished, p.news = p.news, false
	} else if !p.stale && !p.inspecting {
		p.seen = m
	}
	return learnt, vanished
}

// isAnnouncedSince reports whether an event of the pod came after that listing began.
func (p *pod) isAnnouncedSince(m mark) bool { return p.announced > m.seq }

// vanish makes the pod one that the runtime does not know: there is nothing to
// inspect.
func (p *pod) vanish(m mark) {
	p.state, p.seen = &cri.PodState{UID: p.uid}, m
	p.err = nil
	p.stale = false
}

// due reports whether the pod has to be inspected. What failed for a listing is
// tried again for a newer one only.
func (p *pod) due() bool {
	return p.stale && (p.err == nil || p.listed.after(p.failed))
}

// isForgotten reports whether a listing of the pod was asked for and failed, so that
// nobody but the next listing of all pods makes up for it.
func (p *pod) isForgotten() bool { return !p.owned && p.toBeListed() }

// toBeListed reports whether a listing of the pod was asked for and is still to come.
func (p *pod) toBeListed() bool { return p.asked > p.listed.seq }

// inspection is the task to ask for the status of each record of a pod.
type inspection struct {
	uid             types.UID
	namespace, name string

	records  []record
	from     mark // the listing that the records are from
	knownIPs []string
	lastErr  error // nil if the last inspection succeeded
	news     bool  // tell if it succeeds
}

func (p *pod) beginInspection() inspection {
	task := inspection{
		uid: p.uid, namespace: p.namespace, name: p.name,
		records: p.records, from: p.listed,
		knownIPs: p.state.IPs, lastErr: p.err, news: p.news,
	}
	p.stale, p.inspecting, p.news = false, true, false
	return task
}

// endInspection takes over the result of the inspection, and reports whether a
// change is to be told.
//
// The result holds for every listing since the one it was made for: no container
// returns to a state that it has left, so equal records mean that nothing has
// happened. If the records have changed, or somebody knows better and asked for a
// refresh, it holds for that one listing alone, and as the pod is stale the next
// inspection follows.
func (p *pod) endInspection(task inspection, state *cri.PodState, err error) (tell bool) {
	defer p.wakeWaiters()
	p.inspecting = false
	seen := p.listed
	if p.stale || p.changed.after(task.from) {
		seen = task.from
		if !seen.after(p.seen) {
			return task.news
		}
	}
	if err != nil {
		p.err, p.failed = err, seen
		p.stale = true
		p.news = p.news || task.news
		return false
	}
	p.state, p.seen, p.err = state, seen, nil
	return task.news
}

// snapshot returns the state as somebody else may have it.
func (p *pod) snapshot() *cri.PodState {
	snapshot := *p.state
	snapshot.Namespace, snapshot.Name = p.namespace, p.name
	snapshot.ObservedAt = p.seen.at
	return &snapshot
}

// wait returns a channel that is closed when more is known of the pod.
func (p *pod) wait() <-chan struct{} {
	if p.waiters == nil {
		p.waiters = make(chan struct{})
	}
	return p.waiters
}

func (p *pod) wakeWaiters() {
	if p.waiters != nil {
		close(p.waiters)
		p.waiters = nil
	}
}
