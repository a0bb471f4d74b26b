package statusmgr

import corev1 "k8s.io/api/core/v1"

// How a container ended of which only the status is left. The exit code is that
// of a killed process, which is what becomes of those that a reboot ends.
const (
	reasonLost = "ContainerStatusUnknown"
	exitLost   = 137
)

// endAll gives the containers of a pod of which nothing runs any more an end if
// they have none. Those that cannot have run, as the pod did not get that far,
// are left waiting.
func endAll(pod *corev1.Pod, status *corev1.PodStatus) {
	if initialized(pod, status) {
		for i := range status.ContainerStatuses {
			end(&status.ContainerStatuses[i])
		}
	}
	inits := status.InitContainerStatuses
	for i := range inits[:lastStarted(inits)+1] {
		end(&inits[i])
	}
	for i := range status.EphemeralContainerStatuses {
		if status.EphemeralContainerStatuses[i].State.Running != nil {
			end(&status.EphemeralContainerStatuses[i])
		}
	}
}

// lastStarted is the index of the last container that ever started, -1 if none
// did.
func lastStarted(statuses []corev1.ContainerStatus) int {
	for i := len(statuses) - 1; i >= 0; i-- {
		if everStarted(statuses[i]) {
			return i
		}
	}
	return -1
}

func everStarted(status corev1.ContainerStatus) bool {
	return status.State.Running != nil || status.State.Terminated != nil ||
		status.LastTerminationState.Terminated != nil
}

// end marks a container as lost, unless its end is known.
func end(status *corev1.ContainerStatus) {
	if status.State.Terminated != nil {
		return
	}
	terminated := lost(*status, "the container was not found when the pod had ended")
	status.State = corev1.ContainerState{Terminated: terminated}
	status.Ready = false
	if status.Started != nil {
		status.Started = new(false)
	}
}

// lost is the end of the container of the status.
func lost(status corev1.ContainerStatus, message string) *corev1.ContainerStateTerminated {
	terminated := &corev1.ContainerStateTerminated{
		Reason:      reasonLost,
		Message:     message,
		ExitCode:    exitLost,
		ContainerID: status.ContainerID,
	}
	if status.State.Running != nil {
		terminated.StartedAt = status.State.Running.StartedAt
	}
	return terminated
}
