package imagepull

import (
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// key is what a back-off is for: containers of a pod with the same image share
// it, pods do not.
type key struct {
	pod   types.UID
	image string
}

// failure is the last failed pull and how long it is left at that.
type failure struct {
	reason, message string
	at              time.Time
	delay           time.Duration
}

func (f failure) retryAt() time.Time { return f.at.Add(f.delay) }

// failures remembers the last failed pull of each key.
type failures struct {
	initial, max time.Duration
	byKey        map[key]failure
}

// active returns the failure of which the back-off still lasts.
func (f *failures) active(k key, now time.Time) (failure, bool) {
	last, failed := f.byKey[k]
	return last, failed && now.Before(last.retryAt())
}

// add remembers a failure, with twice the delay of the one before, and drops
// all that are too old to count.
func (f *failures) add(k key, next failure, now time.Time) failure {
	maps.DeleteFunc(f.byKey, func(_ key, old failure) bool { return now.Sub(old.at) > 2*f.max })
	next.at, next.delay = now, f.initial
	if last, failed := f.byKey[k]; failed {
		next.delay = min(2*last.delay, f.max)
	}
	f.byKey[k] = next
	return next
}

func (f *failures) forget(pod types.UID) {
	maps.DeleteFunc(f.byKey, func(k key, _ failure) bool { return k.pod == pod })
}
