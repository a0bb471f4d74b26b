package statusmgr

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

// podMessageBudget is the size in bytes of all termination messages of a pod,
// shared alike by its containers. (Kubernetes docs, "Determine the Reason for
// Pod Failure".)
const podMessageBudget = 12288

// terminationMessage is what the runtime says of the container's end and what
// the container itself left behind. The latter is gone with the pod's files, so
// that a message once known stays.
func (g *generator) terminationMessage(c *cri.Container, known *corev1.ContainerStateTerminated) string {
	said, left := c.GetMessage(), g.Messages[c.GetId()]
	switch {
	case left == "" && seenEnd(c, known) && known.Message != "":
		return known.Message
	case left == "" || said == "":
		return said + left
	default:
		return said + ": " + left
	}
}

// seenEnd reports whether the known end is the one that the runtime tells of,
// and not one that was concluded, which has no time.
func seenEnd(c *cri.Container, known *corev1.ContainerStateTerminated) bool {
	return known != nil && !known.FinishedAt.IsZero() && known.FinishedAt.Time.Equal(c.FinishedTime().Truncate(time.Second))
}

// clipMessages cuts the termination messages to their share of the budget.
func clipMessages(status *corev1.PodStatus) {
	lists := containerLists(status)
	share := podMessageBudget / max(1, len(lists[0])+len(lists[1])+len(lists[2]))
	for _, list := range lists {
		for i := range list {
			clipMessage(&list[i].State, share)
			clipMessage(&list[i].LastTerminationState, share)
		}
	}
}

func clipMessage(state *corev1.ContainerState, size int) {
	if state.Terminated != nil {
		state.Terminated.Message = clip(state.Terminated.Message, size)
	}
}
