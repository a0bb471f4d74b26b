package podsync

import (
	"cmp"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// deadlineExceeded is what the kubelet says of a pod that was active too long.
var deadlineExceeded = Failure{
	Reason:  "DeadlineExceeded",
	Message: "Pod was active on the node longer than the specified deadline",
}

// deadline is when the pod is to be ended whatever it does, zero if never. It
// counts from the start that this agent's status tells or, before the first of
// these, the one that the agent before has stored.
func deadline(pod *corev1.Pod, published corev1.PodStatus) time.Time {
	began := cmp.Or(published.StartTime, pod.Status.StartTime)
	if pod.Spec.ActiveDeadlineSeconds == nil || began == nil {
		return time.Time{}
	}
	return began.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
}

// passed reports whether there is a deadline and it is over.
func passed(end, now time.Time) bool { return !end.IsZero() && !now.Before(end) }
