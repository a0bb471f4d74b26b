package statusmgr

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

const (
	reasonPodCompleted     = "PodCompleted"
	reasonPodFailed        = "PodFailed"
	reasonNotInitialized   = "ContainersNotInitialized"
	reasonNotReady         = "ContainersNotReady"
	reasonGatesNotReady    = "ReadinessGatesNotReady"
	reasonUnknownStatuses  = "UnknownContainerStatuses"
	reasonSandboxNotReady  = "PodSandboxNotReady"
	messageIncomplete      = "containers with incomplete status: %v"
	messageUnready         = "containers with unready status: %v"
	messageGateMissing     = "readiness gate %q has no condition"
	messageGateNotTrue     = "readiness gate %q is %q"
	messageNoSandbox       = "the pod has no sandbox"
	messageManySandboxes   = "the pod has more than one ready sandbox"
	messageSandboxNotReady = "the pod's sandbox is not ready"
	messageSandboxNetwork  = "the pod's sandbox is not on the network that the pod asks for"
	messageSandboxNoIP     = "the pod's sandbox has no IP address"
)

// owned are the conditions that the agent decides. All others are somebody
// else's and are passed through from the pod.
var owned = []corev1.PodConditionType{
	corev1.PodReadyToStartContainers,
	corev1.PodInitialized,
	corev1.PodReady,
	corev1.ContainersReady,
	corev1.PodScheduled,
	corev1.AllContainersRestarting,
	corev1.DisruptionTarget,
	corev1.PodResizePending,
	corev1.PodResizeInProgress,
}

// conditions returns the agent's conditions and everybody else's.
func (g *generator) conditions(status *corev1.PodStatus) []corev1.PodCondition {
	conditions := []corev1.PodCondition{g.sandboxCondition(), initializedCondition(g.Pod, status)}
	conditions = append(conditions, readyConditions(g.Pod, status)...)
	conditions = append(conditions, isTrue(corev1.PodScheduled))
	if restarting := g.restartingCondition(); restarting != nil {
		conditions = append(conditions, *restarting)
	}
	if disruption := g.disruptionCondition(status); disruption != nil {
		conditions = append(conditions, *disruption)
	}
	conditions = append(conditions, resizeConditions(g.Resize)...)
	for i := range conditions {
		c := &conditions[i]
		if c.Type != corev1.PodResizeInProgress || g.Resize.Reason == "" {
			c.ObservedGeneration = g.Pod.Generation
		} // else it is of an earlier one
		date(c, g.previous.Conditions, g.Now)
	}
	return append(conditions, foreign(g.Pod.Status.Conditions)...)
}

// date keeps the time of a condition that has not changed its status. The observed
// generation never goes back.
func date(c *corev1.PodCondition, before []corev1.PodCondition, now time.Time) {
	c.LastTransitionTime = metav1.NewTime(now)
	previous := conditionOf(before, c.Type)
	if previous == nil {
		return
	}
	c.ObservedGeneration = max(c.ObservedGeneration, previous.ObservedGeneration)
	if previous.Status == c.Status {
		c.LastTransitionTime = previous.LastTransitionTime
	}
}

// restartingCondition says whether the pod is just being restarted as a whole; of a
// pod that never was, it says nothing.
func (g *generator) restartingCondition() *corev1.PodCondition {
	const kind = corev1.AllContainersRestarting
	condition := isFalse(kind, "", "")
	switch {
	case g.RestartingAll:
		condition = isTrue(kind)
	case conditionOf(g.previous.Conditions, kind) == nil:
		return nil
	}
	return &condition
}

// resizeConditions are there as long as there is something to tell.
func resizeConditions(resize Resize) []corev1.PodCondition {
	var conditions []corev1.PodCondition
	if resize.Reason != "" {
		pending := isTrue(corev1.PodResizePending)
		pending.Reason, pending.Message = resize.Reason, resize.Message
		conditions = append(conditions, pending)
	}
	if resize.Acting {
		acting := isTrue(corev1.PodResizeInProgress)
		if resize.Error != "" {
			acting.Reason, acting.Message = corev1.PodReasonError, resize.Error
		}
		conditions = append(conditions, acting)
	}
	return conditions
}

// disruptionCondition is there as soon as the pod has failed by a decision of the
// node, not before, and stays. Others may have set it first.
func (g *generator) disruptionCondition(status *corev1.PodStatus) *corev1.PodCondition {
	const kind = corev1.DisruptionTarget
	if g.Failure != nil && g.Failure.Disruption != "" && status.Phase == corev1.PodFailed {
		return &corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, Reason: g.Failure.Disruption, Message: g.Failure.Message}
	}
	return cmp.Or(conditionOf(g.Pod.Status.Conditions, kind), conditionOf(g.previous.Conditions, kind))
}

// sandboxCondition is False whenever the worker has to replace the sandbox
// before it can start anything. Before the first look it stays as it was.
func (g *generator) sandboxCondition() corev1.PodCondition {
	const kind = corev1.PodReadyToStartContainers
	if g.State == nil {
		if previous := conditionOf(g.previous.Conditions, kind); previous != nil {
			return corev1.PodCondition{Type: kind, Status: previous.Status, Reason: previous.Reason, Message: previous.Message}
		}
		return isFalse(kind, reasonSandboxNotReady, messageNoSandbox)
	}
	if trouble := sandboxTrouble(g.Pod, g.State); trouble != "" {
		return isFalse(kind, reasonSandboxNotReady, trouble)
	}
	return isTrue(kind)
}

// sandboxTrouble says why the pod's sandbox will not do, "" if it will. One of which
// the runtime tells no network at all is kept, so it will.
func sandboxTrouble(pod *corev1.Pod, state *cri.PodState) string {
	if len(state.Sandboxes) == 0 {
		return messageNoSandbox
	}
	newest := state.Sandboxes[0]
	switch {
	case len(state.ReadySandboxes()) > 1:
		return messageManySandboxes
	case newest.GetState() != runtimeapi.PodSandboxState_SANDBOX_READY:
		return messageSandboxNotReady
	case !cri.NetworkFits(newest, pod.Spec.HostNetwork):
		return messageSandboxNetwork
	case !pod.Spec.HostNetwork && newest.GetNetwork() != nil && len(cri.SandboxIPs(newest)) == 0:
		return messageSandboxNoIP
	default:
		return ""
	}
}

func initializedCondition(pod *corev1.Pod, status *corev1.PodStatus) corev1.PodCondition {
	condition := isTrue(corev1.PodInitialized)
	switch {
	case status.Phase == corev1.PodSucceeded:
		condition.Reason = reasonPodCompleted
	case !initialized(pod, status):
		return isFalse(corev1.PodInitialized, reasonNotInitialized,
			fmt.Sprintf(messageIncomplete, unfinishedInits(pod, status)))
	}
	return condition
}

// readyConditions are those that follow from which containers are ready.
func readyConditions(pod *corev1.Pod, status *corev1.PodStatus) []corev1.PodCondition {
	containersReady := containersReadyCondition(pod, status)
	return []corev1.PodCondition{readyCondition(pod, containersReady), containersReady}
}

func containersReadyCondition(pod *corev1.Pod, status *corev1.PodStatus) corev1.PodCondition {
	const kind = corev1.ContainersReady
	unready := unreadyContainers(pod, status)
	switch {
	case status.Phase == corev1.PodSucceeded:
		return isFalse(kind, reasonPodCompleted, "")
	case status.Phase == corev1.PodFailed:
		return isFalse(kind, reasonPodFailed, "")
	case len(status.ContainerStatuses) == 0:
		return isFalse(kind, reasonUnknownStatuses, "")
	case len(unready) > 0:
		return isFalse(kind, reasonNotReady, fmt.Sprintf(messageUnready, unready))
	default:
		return isTrue(kind)
	}
}

// unreadyContainers names the sidecars and regular containers that are not
// ready.
func unreadyContainers(pod *corev1.Pod, status *corev1.PodStatus) []string {
	var names []string
	for _, c := range initContainers(pod) {
		if c.role == sidecar && !statusOf(status.InitContainerStatuses, c.Name).Ready {
			names = append(names, c.Name)
		}
	}
	for _, c := range regularContainers(pod) {
		if !statusOf(status.ContainerStatuses, c.Name).Ready {
			names = append(names, c.Name)
		}
	}
	return names
}

// readyCondition is ContainersReady and all readiness gates, which are
// conditions that somebody else sets (KEP-580).
func readyCondition(pod *corev1.Pod, containersReady corev1.PodCondition) corev1.PodCondition {
	if containersReady.Status != corev1.ConditionTrue {
		return isFalse(corev1.PodReady, containersReady.Reason, containersReady.Message)
	}
	var closed []string
	for _, gate := range pod.Spec.ReadinessGates {
		condition := conditionOf(pod.Status.Conditions, gate.ConditionType)
		switch {
		case condition == nil:
			closed = append(closed, fmt.Sprintf(messageGateMissing, gate.ConditionType))
		case condition.Status != corev1.ConditionTrue:
			closed = append(closed, fmt.Sprintf(messageGateNotTrue, gate.ConditionType, condition.Status))
		}
	}
	if len(closed) > 0 {
		return isFalse(corev1.PodReady, reasonGatesNotReady, strings.Join(closed, ", "))
	}
	return isTrue(corev1.PodReady)
}

func isTrue(kind corev1.PodConditionType) corev1.PodCondition {
	return corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue}
}

func isFalse(kind corev1.PodConditionType, reason, message string) corev1.PodCondition {
	return corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message}
}

func conditionOf(conditions []corev1.PodCondition, kind corev1.PodConditionType) *corev1.PodCondition {
	i := slices.IndexFunc(conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &conditions[i]
}

// agents returns the conditions that are the agent's.
func agents(conditions []corev1.PodCondition) []corev1.PodCondition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c corev1.PodCondition) bool { return !isOwned(c) })
}

// foreign returns those that are not.
func foreign(conditions []corev1.PodCondition) []corev1.PodCondition {
	return slices.DeleteFunc(slices.Clone(conditions), isOwned)
}

func isOwned(c corev1.PodCondition) bool { return slices.Contains(owned, c.Type) }
