package podsync

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// recall adds to what was observed the containers that have ended and that the
// runtime has forgotten since, as the status tells of them: one that is not to run
// again must not, whoever has removed what was left of it. In a restart of all
// containers they were removed to be run again.
func recall(state *cri.PodState, status corev1.PodStatus) *cri.PodState {
	if wasRestartingAll(status) {
		return state
	}
	var forgotten []*cri.Container
	for _, c := range slices.Concat(status.InitContainerStatuses, status.ContainerStatuses) {
		if c.State.Terminated != nil && state.Newest(c.Name) == nil {
			forgotten = append(forgotten, recalled(c))
		}
	}
	if len(forgotten) == 0 {
		return state
	}
	whole := *state
	whole.Containers = slices.Concat(state.Containers, forgotten)
	return &whole
}

// recalled is a container as its status tells of it. It is in no sandbox.
func recalled(status corev1.ContainerStatus) *cri.Container {
	ended := status.State.Terminated
	return &cri.Container{ContainerStatus: &runtimeapi.ContainerStatus{
		State:       runtimeapi.ContainerState_CONTAINER_EXITED,
		ExitCode:    ended.ExitCode,
		Reason:      ended.Reason,
		FinishedAt:  ended.FinishedAt.UnixNano(),
		Labels:      map[string]string{cri.LabelContainerName: status.Name},
		Annotations: map[string]string{cri.AnnotationRestartCount: strconv.Itoa(int(status.RestartCount))},
	}}
}

// lastStatus is the last one that was made of the pod, by this agent or the one
// before it.
func lastStatus(pod *corev1.Pod, rec *record) corev1.PodStatus {
	if rec.published.Phase != "" {
		return rec.published
	}
	return pod.Status
}
