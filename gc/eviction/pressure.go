package eviction

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Amount is how much there is of something, and how much of that is left.
type Amount struct {
	Available, Capacity int64
}

// pressure follows the thresholds over time.
type pressure struct {
	thresholds []Threshold
	transition time.Duration // how long a condition stays after the last cause
	since      []time.Time   // of each threshold: since when there is too little, zero if there is not
	due        []bool        // of each threshold: it was acted upon and is not over
	lately     map[corev1.NodeConditionType]time.Time
	reported   []corev1.NodeCondition
}

func newPressure(thresholds []Threshold, transition time.Duration) *pressure {
	return &pressure{
		thresholds: thresholds, transition: transition,
		since: make([]time.Time, len(thresholds)), due: make([]bool, len(thresholds)), lately: map[corev1.NodeConditionType]time.Time{},
	}
}

// observe takes what was measured, and returns the thresholds on which to act, the
// first one first. A signal that was not measured is enough.
func (p *pressure) observe(amounts map[Signal]Amount, now time.Time) []Threshold {
	var due []Threshold
	for _, signal := range signals {
		for i, t := range p.thresholds {
			if t.Signal == signal && p.isDue(i, amounts, now) {
				due = append(due, t)
			}
		}
	}
	p.report(now)
	return due
}

// isDue notes whether too little is left by the i-th threshold, and reports whether that
// has lasted for its grace.
func (p *pressure) isDue(i int, amounts map[Signal]Amount, now time.Time) bool {
	t := p.thresholds[i]
	amount, measured := amounts[t.Signal]
	if !measured || !tooLittle(t, amount, p.due[i]) {
		p.since[i], p.due[i] = time.Time{}, false
		return false
	}
	if p.since[i].IsZero() {
		p.since[i] = now
	}
	p.lately[t.Signal.condition()] = now
	p.due[i] = now.Sub(p.since[i]) >= t.Grace
	return p.due[i]
}

// tooLittle reports whether the threshold is met. One that was acted upon already has to
// be exceeded by its minimum reclaim.
func tooLittle(t Threshold, amount Amount, already bool) bool {
	wanted := t.Value.of(amount.Capacity)
	if already {
		wanted += t.MinReclaim.of(amount.Capacity)
	}
	return amount.Available < wanted
}

// has reports whether the node has the condition: it has, or had a cause not longer
// ago than the transition period, so that it does not flap.
func (p *pressure) has(kind corev1.NodeConditionType, now time.Time) bool {
	last, ok := p.lately[kind]
	return ok && now.Sub(last) < p.transition
}

// report renews the node's conditions.
func (p *pressure) report(now time.Time) {
	report := make([]corev1.NodeCondition, 0, len(conditions))
	for i, c := range conditions {
		next := corev1.NodeCondition{
			Type: c.kind, Status: corev1.ConditionFalse, Reason: c.ok, Message: c.allOK,
			LastHeartbeatTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
		}
		if p.has(c.kind, now) {
			next.Status, next.Reason, next.Message = corev1.ConditionTrue, c.low, c.messageLow
		}
		if i < len(p.reported) && p.reported[i].Status == next.Status {
			next.LastTransitionTime = p.reported[i].LastTransitionTime
		}
		report = append(report, next)
	}
	p.reported = report
}
