package statusmgr

import (
	"cmp"
	"container/list"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Limits of what is kept and reported. The figures are those that Kubernetes'
// components use for their events.
const (
	maxEventMessage = 1024
	maxEventReason  = 128
	// maxSimilar events of one object, type and reason are told apart by their
	// messages, until there was none of them for similarWithin.
	maxSimilar    = 10
	similarWithin = 10 * time.Minute
	// An object may cause reportBurst reports at once, and then one more in
	// each reportEvery.
	reportBurst = 25
	reportEvery = 5 * time.Minute

	combinedPrefix = "(combined from similar events): "
)

// journal holds what happened, the same and the similar counted instead of
// repeated. It holds at most capacity events, and nothing about objects that
// none of them is about.
type journal struct {
	capacity int
	source   corev1.EventSource

	// records holds *record, the one that happened last at the back.
	records  list.List
	byKey    map[recordKey]*list.Element
	groups   map[groupKey]*group
	subjects map[subjectKey]*subject
	turn     uint64
	stamp    int64 // of the newest name
}

// record is one event. Others get copies of it.
type record struct {
	delivery
	key   recordKey
	event *corev1.Event
}

// subjectKey is the object that an event is about.
type subjectKey struct {
	apiVersion, kind, namespace, name string
	uid                               types.UID
}

// groupKey is what similar events have in common.
type groupKey struct {
	subject           subjectKey
	eventType, reason string
}

// recordKey is what the same events have in common. The combined event of a
// group has no message and no field path of its own.
type recordKey struct {
	group              groupKey
	fieldPath, message string
	combined           bool
}

// group counts the messages that similar events had of late.
type group struct {
	records  int
	messages int
	last     time.Time
}

// subject counts what is kept and reported about an object.
type subject struct {
	records int
	// spent is up to when the object has used up its reports.
	spent time.Time
}

func newJournal(capacity int, source corev1.EventSource) journal {
	return journal{
		capacity: capacity,
		source:   source,
		byKey:    map[recordKey]*list.Element{},
		groups:   map[groupKey]*group{},
		subjects: map[subjectKey]*subject{},
	}
}

// add notes that something happened and reports whether its record has become
// due.
func (j *journal) add(about *corev1.ObjectReference, eventType, reason, message string, now time.Time) bool {
	key := keyOf(about, eventType, reason, message)
	at, known := j.byKey[key]
	if j.combines(key.group, known, now) {
		message = combinedPrefix + message
		key = recordKey{group: key.group, combined: true}
		at, known = j.byKey[key]
	}
	if !known {
		at = j.insert(key, about, now)
	}
	j.records.MoveToBack(at)
	r := at.Value.(*record)
	r.event.Message = clip(message, maxEventMessage)
	r.event.Count = increment(r.event.Count)
	r.event.LastTimestamp = metav1.NewTime(now)
	j.dropOldest()
	return j.makeDue(r, now)
}

func keyOf(about *corev1.ObjectReference, eventType, reason, message string) recordKey {
	return recordKey{
		group: groupKey{
			subject: subjectKey{
				apiVersion: about.APIVersion, kind: about.Kind,
				namespace: about.Namespace, name: about.Name, uid: about.UID,
			},
			eventType: eventType,
			reason:    clip(reason, maxEventReason),
		},
		fieldPath: about.FieldPath,
		message:   clip(message, maxEventMessage),
	}
}

// combines reports whether an event of the group is one too many to be told
// apart from the others.
func (j *journal) combines(key groupKey, known bool, now time.Time) bool {
	g, ok := j.groups[key]
	if !ok {
		g = &group{}
		j.groups[key] = g
	}
	if now.Sub(g.last) > similarWithin {
		g.messages = 0
	}
	g.last = now
	if known {
		return false
	}
	if g.messages >= maxSimilar {
		return true
	}
	g.messages++
	return false
}

func (j *journal) insert(key recordKey, about *corev1.ObjectReference, now time.Time) *list.Element {
	s, ok := j.subjects[key.group.subject]
	if !ok {
		s = &subject{}
		j.subjects[key.group.subject] = s
	}
	s.records++
	j.groups[key.group].records++
	at := j.records.PushBack(&record{key: key, event: j.newEvent(key, about, now)})
	j.byKey[key] = at
	return at
}

func (j *journal) newEvent(key recordKey, about *corev1.ObjectReference, now time.Time) *corev1.Event {
	// Clocks of small boards are coarse and jump; a name is used once.
	j.stamp = max(j.stamp+1, now.UnixNano())
	return &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Name:      fmt.Sprintf("%s.%x", about.Name, j.stamp),
			Namespace: cmp.Or(about.Namespace, metav1.NamespaceDefault),
		},
		InvolvedObject:      *about,
		Type:                key.group.eventType,
		Reason:              key.group.reason,
		Source:              j.source,
		FirstTimestamp:      metav1.NewTime(now),
		ReportingController: j.source.Component,
		ReportingInstance:   j.source.Host,
	}
}

// dropOldest drops the event that has not happened for the longest time, if
// there are too many.
func (j *journal) dropOldest() {
	if j.records.Len() <= j.capacity {
		return
	}
	key := j.records.Remove(j.records.Front()).(*record).key
	delete(j.byKey, key)
	if g := j.groups[key.group]; g.records > 1 {
		g.records--
	} else {
		delete(j.groups, key.group)
	}
	if s := j.subjects[key.group.subject]; s.records > 1 {
		s.records--
	} else {
		delete(j.subjects, key.group.subject)
	}
}

// makeDue has the record reported, if its object may cause one more report, and
// reports whether it was not due before. What was not taken yet needs no other
// report: it goes as it is by then.
func (j *journal) makeDue(r *record, now time.Time) bool {
	if r.due || r.failed || !j.subjects[r.key.group.subject].spend(now) {
		return false
	}
	r.due = true
	j.putLast(r)
	return true
}

func (j *journal) putLast(r *record) {
	j.turn++
	r.turn = j.turn
}

// spend uses up one report, false if none is left.
func (s *subject) spend(now time.Time) bool {
	spent := s.spent
	if full := now.Add(-reportBurst * reportEvery); spent.Before(full) {
		spent = full
	}
	spent = spent.Add(reportEvery)
	if spent.After(now) {
		return false
	}
	s.spent = spent
	return true
}

// first returns the record whose turn it is, nil if none is due.
func (j *journal) first() *record {
	var first *record
	for r := range j.all {
		if r.due && (first == nil || r.before(&first.delivery)) {
			first = r
		}
	}
	return first
}

// all iterates over the records, the one that happened last at the end.
func (j *journal) all(yield func(*record) bool) {
	for at := j.records.Front(); at != nil; at = at.Next() {
		if !yield(at.Value.(*record)) {
			return
		}
	}
}
