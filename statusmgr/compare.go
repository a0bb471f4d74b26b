package statusmgr

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// sameStatus reports whether two normalized statuses mean the same: the times
// and the order of conditions do not matter, nor do conditions of others, whose
// owners report them themselves.
func sameStatus(a, b *corev1.PodStatus) bool {
	return equality.Semantic.DeepEqual(essence(a), essence(b))
}

// essence is the part of the status that is compared.
func essence(status *corev1.PodStatus) *corev1.PodStatus {
	essence := *status
	essence.Conditions = nil
	for _, c := range status.Conditions {
		if isOwned(c) {
			essence.Conditions = append(essence.Conditions, corev1.PodCondition{
				Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message,
			})
		}
	}
	slices.SortFunc(essence.Conditions, func(a, b corev1.PodCondition) int { return cmp.Compare(a.Type, b.Type) })
	return &essence
}

// checkTransition returns an error if the pod's status takes back, compared to
// the one before, what others have acted on.
func checkTransition(pod *corev1.Pod, before *corev1.PodStatus) error {
	if terminal(before.Phase) && !terminal(pod.Status.Phase) {
		return fmt.Errorf("phase %s would become %q", before.Phase, pod.Status.Phase)
	}
	if isRestartingAll(before) || isRestartingAll(&pod.Status) { // also what had ended for good
		return nil
	}
	err := checkRestarts(pod, regularContainers(pod), before.ContainerStatuses, pod.Status.ContainerStatuses)
	if err != nil {
		return err
	}
	return checkRestarts(pod, initContainers(pod), before.InitContainerStatuses, pod.Status.InitContainerStatuses)
}

func isRestartingAll(status *corev1.PodStatus) bool {
	said := conditionOf(status.Conditions, corev1.AllContainersRestarting)
	return said != nil && said.Status == corev1.ConditionTrue
}

// checkRestarts returns an error if a container that ended, and may not run
// again, is said to be on its way. Two may run again in spite of their restart
// policy: one whose image was changed, and an init container that succeeded, as
// a new sandbox has to be initialized too.
func checkRestarts(pod *corev1.Pod, containers []container, before, now []corev1.ContainerStatus) error {
	for _, c := range containers {
		was, is := statusOf(before, c.Name), statusOf(now, c.Name)
		ended := was.State.Terminated
		switch {
		case ended == nil || is.Name == "" || is.State.Terminated != nil:
		case mayRestart(pod, c, ended):
		case was.Image != is.Image:
		case c.role == initOnce && !hasFailed(c, ended):
		default:
			return fmt.Errorf("container %q ended with exit code %d and may not leave that state", c.Name, ended.ExitCode)
		}
	}
	return nil
}
