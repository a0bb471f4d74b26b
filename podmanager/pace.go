package podmanager

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	defaultGrace = corev1.DefaultTerminationGracePeriodSeconds
	minGrace     = 1 // seconds; also what a force delete gets
	firstRetry   = 100 * time.Millisecond
)

// effectiveGrace is how long the pod may take to end: what its deletion asks for,
// else what its spec says, at least a second.
func effectiveGrace(pod *corev1.Pod) time.Duration {
	seconds := int64(defaultGrace)
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		seconds = *s
	}
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		seconds = *s
	}
	seconds = min(max(seconds, minGrace), math.MaxInt64/int64(time.Second))
	return time.Duration(seconds) * time.Second
}

// rest is the time between two calls: until has passed, or a wake comes, but not
// before atLeast.
type rest struct {
	atLeast, until time.Duration
}

// hurries reports whether the next call comes as soon as it may.
func (r rest) hurries() bool { return r.atLeast == r.until }

// afterSync returns the rest after a Sync that did not finish the pod.
//
// A wake cuts it short at once, also after a failure: most often it brings what the
// Sync lacked. A failing Sync that causes its own wakes (a container that is
// created and dies) must not spin, though. So hurried counts the failed Syncs in a
// row that a wake, or their own wish, brought forward; the more there were, the
// longer the next wake has to wait, up to the back-off that there is anyway.
func (c Config) afterSync(now time.Time, res Result, err error, hurried int, random float64) rest {
	resync := jitter(c.Resync, random)
	retry := res.RetryAt.Sub(now)
	switch {
	case res.RetryAt.IsZero() && err == nil:
		return rest{until: resync}
	case res.RetryAt.IsZero():
		return rest{atLeast: ramp(hurried, c.ErrorBackoff), until: jitter(c.ErrorBackoff, random)}
	case err == nil && retry > 0:
		return rest{until: min(retry, resync)}
	default:
		atLeast := ramp(hurried, c.ErrorBackoff)
		return rest{atLeast: atLeast, until: max(atLeast, min(retry, resync))}
	}
}

// afterKill returns the rest after failures failed Kills in a row. Wakes do not
// shorten it: it is short at first, and Kill itself causes wakes.
func (c Config) afterKill(failures int, random float64) rest {
	d := jitter(ramp(failures, c.ErrorBackoff), random)
	return rest{atLeast: d, until: d}
}

// ramp is 0, then firstRetry, doubled with each n up to limit.
func ramp(n int, limit time.Duration) time.Duration {
	if n <= 0 {
		return 0
	}
	d := firstRetry
	for ; n > 1 && d < limit; n-- {
		d *= 2
	}
	return min(d, limit)
}

// jitter adds up to half of d, so that pods which began together drift apart.
// random is in [0, 1).
func jitter(d time.Duration, random float64) time.Duration {
	return d + time.Duration(random*float64(d)/2)
}
