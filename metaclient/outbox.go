package metaclient

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxReports bounds what waits for the upstream: far more than the pods of a node,
// and some events. The oldest event gives way, or else the oldest report.
const maxReports = 1000

// topic is what a report is about; of each the newest report is kept.
type topic struct {
	kind string // reportStatus, reportNode or reportEvent
	key  string // uid, name, or namespace and name
}

const (
	reportStatus = "podstatus"
	reportNode   = "node"
	reportEvent  = "event"
)

func (t topic) String() string { return t.kind + "/" + t.key }

// topicOf is the other way round.
func topicOf(key string) topic {
	kind, rest, _ := strings.Cut(key, "/")
	return topic{kind, rest}
}

// report is the newest word on its topic.
type report struct {
	topic
	pod   *corev1.Pod // one of these; never changed
	node  *corev1.Node
	event *corev1.Event

	number uint64 // rises with each report
	unsent bool   // the upstream wants it and has not acknowledged it
	dirty  bool   // the store does not know how it stands
	turn   uint64 // for sending: what failed comes after what was not tried
}

// outbox keeps the newest report of each topic until it is stored and the upstream
// has acknowledged it.
type outbox struct {
	toStore, toSend chan struct{} // of size 1: there is something

	mu      sync.Mutex // guards the rest
	reports map[topic]*report
	heard   map[types.UID]heard // what the upstream last said of its pods
	last    uint64              // number or turn given out
	dropped int
}

// heard is what a report on a pod is held against.
type heard struct {
	wanted bool              // it is not being deleted
	status *corev1.PodStatus // as far as agree asks, nil if it says nothing
}

func newOutbox() *outbox {
	return &outbox{
		toStore: make(chan struct{}, 1), toSend: make(chan struct{}, 1),
		reports: map[topic]*report{}, heard: map[types.UID]heard{},
	}
}

// put takes a report that replaces the one before on its topic. A status may have been
// made before the upstream's last word reached its maker: it is brought in line with
// that, or not taken if the upstream has ended the pod, or wants it again.
func (o *outbox) put(next report) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.take(next)
}

// remind takes a report of what is stored, unless there is one on its topic: that is
// newer.
func (o *outbox) remind(next report) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.reports[next.topic] == nil {
		o.take(next)
	}
}

// take does it. mu is held.
func (o *outbox) take(next report) {
	if next.pod != nil && !o.align(&next) {
		return
	}
	o.last++
	next.number, next.turn = o.last, o.last
	if before, ok := o.reports[next.topic]; ok {
		next.turn = before.turn
	}
	o.reports[next.topic] = &next
	if next.dirty {
		hint(o.toStore)
	}
	if next.unsent {
		hint(o.toSend)
	}
	o.bound()
}

// bound drops what is too much. mu is held.
func (o *outbox) bound() {
	if len(o.reports) <= maxReports {
		return
	}
	var victim *report
	for _, r := range o.reports {
		if victim == nil || worse(r, victim) {
			victim = r
		}
	}
	delete(o.reports, victim.topic)
	o.dropped++
}

func worse(a, b *report) bool {
	if (a.kind == reportEvent) != (b.kind == reportEvent) {
		return a.kind == reportEvent
	}
	return a.number < b.number
}

// next returns the unsent report whose turn it is.
func (o *outbox) next() (report, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var first *report
	for _, r := range o.reports {
		if r.unsent && (first == nil || r.turn < first.turn) {
			first = r
		}
	}
	if first == nil {
		return report{}, false
	}
	return *first, true
}

// sent notes how the sending of a report went. One that has been replaced meanwhile
// stays unsent.
func (o *outbox) sent(r report, acknowledged bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, ok := o.reports[r.topic]
	if !ok {
		return
	}
	o.last++
	now.turn = o.last
	if acknowledged && now.number == r.number {
		now.unsent, now.dirty = false, true
		hint(o.toStore)
	}
}

func (o *outbox) has(t topic) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reports[t] != nil
}

// unstored returns the reports that the store does not know.
func (o *outbox) unstored() []report {
	o.mu.Lock()
	defer o.mu.Unlock()
	var dirty []report
	for _, r := range o.reports {
		if r.dirty {
			dirty = append(dirty, *r)
		}
	}
	return dirty
}

// stored notes that the store knows how these reports stand. What is sent as well
// is done with.
func (o *outbox) stored(reports []report) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range reports {
		now, ok := o.reports[r.topic]
		if !ok || now.number != r.number || now.unsent != r.unsent {
			continue
		}
		now.dirty = false
		if !now.unsent {
			delete(o.reports, r.topic)
		}
	}
}

// statuses returns the pod statuses that are newer than what is stored.
func (o *outbox) statuses() map[types.UID]corev1.PodStatus {
	o.mu.Lock()
	defer o.mu.Unlock()
	statuses := map[types.UID]corev1.PodStatus{}
	for _, r := range o.reports {
		if r.pod != nil && r.dirty {
			statuses[r.pod.UID] = r.pod.Status
		}
	}
	return statuses
}

// hear takes note of what the upstream says of its pods as soon as it says so, so that
// no report that contradicts it is sent, or stored on top.
func (o *outbox) hear(set storedSet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for uid, p := range set {
		now := heard{wanted: p.wanted, status: o.heard[uid].status}
		if p.hasStatus {
			now.status = &corev1.PodStatus{Phase: p.status.Phase, Conditions: slices.Clone(p.status.Conditions)}
		}
		o.heard[uid] = now
		t := topic{reportStatus, string(uid)}
		if r := o.reports[t]; r != nil && r.pod != nil && !o.align(r) {
			delete(o.reports, t)
		}
	}
}

// align brings the status of a pod in line with what the upstream says, or returns
// false if that overrides it. mu is held.
func (o *outbox) align(r *report) bool {
	upstream := o.heard[r.pod.UID]
	if upstream.wanted && r.pod.DeletionTimestamp != nil {
		return false // it ended a life before this one
	}
	if upstream.status == nil {
		return true
	}
	if upstreamWins(&r.pod.Status, *upstream.status) {
		return false
	}
	if agreed := agree(&r.pod.Status, *upstream.status); !sameStatus(agreed, r.pod.Status) {
		pod := *r.pod
		pod.Status = agreed
		o.last++
		r.pod, r.number = &pod, o.last // what is under way is not the newest any more
	}
	return true
}

// forgetOthers drops what is known of pods that are not in the set that has been
// stored.
func (o *outbox) forgetOthers(set storedSet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.heard, func(uid types.UID, _ heard) bool { _, ok := set[uid]; return !ok })
	maps.DeleteFunc(o.reports, func(_ topic, r *report) bool {
		if r.pod == nil {
			return false
		}
		_, ok := set[r.pod.UID]
		return !ok
	})
}

func (o *outbox) count() (unsent, dropped int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.reports {
		if r.unsent {
			unsent++
		}
	}
	return unsent, o.dropped
}

// encode renders a report as it waits in the store. The status of a pod lies there
// already.
func (r report) encode() []byte {
	var value []byte
	switch {
	case r.node != nil:
		value, _ = json.Marshal(withoutHeartbeats(r.node))
	case r.event != nil:
		value, _ = json.Marshal(r.event)
	default:
		value = []byte("{}")
	}
	return value
}

// decodeReport is the other way round, for all but pods.
func decodeReport(t topic, value []byte) (report, error) {
	r := report{topic: t, unsent: true}
	var err error
	switch t.kind {
	case reportStatus:
	case reportNode:
		r.node = &corev1.Node{}
		err = json.Unmarshal(value, r.node)
	case reportEvent:
		r.event = &corev1.Event{}
		err = json.Unmarshal(value, r.event)
	default:
		return report{}, fmt.Errorf("no report is about %q", t.kind)
	}
	if err != nil {
		return report{}, fmt.Errorf("decode report: %w", withoutText(err))
	}
	return r, nil
}
