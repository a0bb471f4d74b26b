package podsync

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// deadlineExceeded is what the kubelet says of a pod that was active too long.
var deadlineExceeded = Failure{
	Reason:  "DeadlineExceeded",
	Message: "Pod was active on the node longer than the specified deadline",
}

// deadline is when the pod is to be ended whatever it does, zero if never. It
// counts from the start that the status has kept over restarts of the agent.
func deadline(pod *corev1.Pod, status corev1.PodStatus) time.Time {
	if pod.Spec.ActiveDeadlineSeconds == nil || status.StartTime == nil {
		return time.Time{}
	}
	return status.StartTime.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
}
