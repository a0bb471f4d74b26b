package podsync

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	firstCrashDelay = 10 * time.Second
	maxCrashDelay   = 5 * time.Minute
	// crashMemory is for how long a container has to run for its earlier crashes to be
	// forgotten, however short the longest delay is: as for the kubelet.
	crashMemory = 10 * time.Minute

	reasonCrashLoop = "CrashLoopBackOff"
)

// crash is the back-off of one container definition. The zero value has never
// crashed.
type crash struct {
	delay time.Duration
	armed time.Time
}

// until is when a container that finished at the given time may start again.
// It is in the past when there is nothing to wait for. A finish in the future
// comes from a clock that was set back: no wait can be derived from it. Where the
// runtime does not know the time, it was no earlier than the start.
func (c crash) until(finished, now time.Time) time.Time {
	if finished.IsZero() {
		finished = c.armed
	}
	if c.expired(finished) || finished.After(now) {
		return now
	}
	return finished.Add(c.delay)
}

// next is the back-off after a restart at now of a container that finished at
// the given time.
func (c crash) next(finished, now time.Time, limit time.Duration) crash {
	if c.expired(finished) {
		return crash{delay: min(firstCrashDelay, limit), armed: now}
	}
	return crash{delay: min(2*c.delay, limit), armed: now}
}

// expired reports whether the container had run for so long that its earlier
// crashes are forgotten.
func (c crash) expired(finished time.Time) bool {
	return c.delay == 0 || finished.Sub(c.armed) > crashMemory
}

// crashKey is the definition that a back-off belongs to: another image or other
// resources may well cure the crash, and start over.
func crashKey(container *corev1.Container) string {
	return container.Name + "\n" + container.Image + "\n" + container.Resources.String()
}

// sameContainer reports whether two keys are of definitions of one container.
func sameContainer(a, b string) bool {
	name, _, _ := strings.Cut(a, "\n")
	return strings.HasPrefix(b, name+"\n")
}

// crashLoop is what the status says of a container in back-off, in the
// kubelet's words.
func (c crash) crashLoop(pod *corev1.Pod, container string) corev1.ContainerStateWaiting {
	return corev1.ContainerStateWaiting{
		Reason: reasonCrashLoop,
		Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
			c.delay, container, pod.Name, pod.Namespace, pod.UID),
	}
}
