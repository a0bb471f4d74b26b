package statusmgr

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/cri"
)

// Input is everything that a pod's status depends on.
type Input struct {
	// Pod is the desired pod; required. Its own Status is what upstream says:
	// its terminal phase wins, its conditions that are not the agent's (such as
	// readiness gates) are taken over, and it stands in for Previous.
	Pod *corev1.Pod
	// State is what the runtime was seen to have of the pod. Nil means that
	// nothing has been observed yet, which is no news: what Previous says of
	// the containers stands, and none counts as vanished.
	State *cri.PodState
	// Previous is the last status generated, or the one stored. Without a phase
	// it counts as missing and Pod.Status is used.
	Previous corev1.PodStatus
	// Waiting says, by container name, why a container could not be started:
	// ErrImagePull, CrashLoopBackOff, CreateContainerConfigError and so on. It
	// shows only on containers that are to be started; leave an entry in until
	// the start succeeded.
	Waiting map[string]corev1.ContainerStateWaiting
	// Messages is what containers left behind when they ended, by the runtime's
	// container ID: the content of the termination message file, or what stands
	// in for it. Of each name the newest two runs matter. What Previous says of
	// an ended container is kept when the message is no longer here.
	Messages map[string]string
	// Health is what the probes of the running containers have found, by the
	// runtime's container ID. Of a container that is not in it, nothing has been
	// found yet: what Previous says of that very container stands, and one that is
	// new is not ready, or not started, if it has a probe for that. Nil means that
	// nobody probes: what runs is started and ready.
	Health map[string]Health
	// Restarting are the ended containers, by the runtime's container ID, that run
	// again whatever their exit code is, as a failed probe has had them ended. They are
	// shown as waiting.
	Restarting map[string]bool
	// RestartingAll: a restart rule has had every container of the pod ended and
	// removed, and not all are made again yet (KEP-5532).
	RestartingAll bool
	// Resize is how far the node follows a change of the pod's resources.
	Resize Resize
	// Failure condemns the pod whatever its containers did: it is Failed, for
	// this reason, as soon as none of them may run any more.
	Failure *Failure
	// RuntimeName is the scheme of container IDs, as the runtime's Version call
	// returns it: "containerd".
	RuntimeName string
	// HostIPs are the node's addresses, the primary one first. Without any, the
	// previous ones are kept.
	HostIPs []string
	// Finished says that the pod's worker has ended and nothing of the pod runs
	// or will run again. The status is then final: the phase is Succeeded or
	// Failed, and a container that has no termination gets one.
	Finished bool
	// Now dates the start of the pod and the changes of its conditions.
	Now time.Time
}

// Health is what the probes of a running container have found.
type Health struct {
	// Started: its startup probe has succeeded, or it has none.
	Started bool
	// Ready: its readiness probe succeeds, or it has none. It shows only on a
	// container that is started.
	Ready bool
}

// Resize is how far the node follows a pod whose resources were changed (KEP-1287).
// The zero value says that nothing is left to do.
type Resize struct {
	// Allocated is the pod with the resources that the node has set aside for it, nil
	// if they are those of the spec.
	Allocated *corev1.Pod
	// Reason and Message tell why they are not, Deferred or Infeasible; empty if they
	// are.
	Reason, Message string
	// Acting: containers do not have yet what is set aside for them.
	Acting bool
	// Error is what was in the way when they were to be given it.
	Error string
}

// Failure is why a pod is failed by a decision of the node instead of by its
// containers: DeadlineExceeded, Evicted, OutOfcpu and so on.
type Failure struct {
	Reason, Message string
	// Disruption is the reason of the condition DisruptionTarget, which tells a
	// controller that the pod failed by no fault of its own (KEP-3329); empty for no
	// such condition.
	Disruption string
}

// Generate returns the status of the pod. It is pure and deterministic, changes
// nothing that it is given, and its result shares no memory with the input.
// Given its own result as Previous, and all else the same, it returns the same
// again.
//
// The phase stays as it was, Pending or Running, until the containers that make
// it terminal have ended and no other container of the pod is seen in the state
// RUNNING or UNKNOWN; Finished ends that waiting.
//
// The restart count of a container is the highest known. Who creates the next
// container must count on from here, as the runtime's count starts over when
// the runtime loses its containers: the count is at least this status', and
// more than that of the newest container that exists.
func Generate(in Input) corev1.PodStatus {
	g := newGenerator(in)
	pod := cmp.Or(in.Resize.Allocated, in.Pod)
	status := *in.Pod.Status.DeepCopy()

	status.InitContainerStatuses = g.containerStatuses(initContainers(pod), g.previous.InitContainerStatuses)
	status.ContainerStatuses = g.containerStatuses(regularContainers(pod), g.previous.ContainerStatuses)
	status.EphemeralContainerStatuses = g.containerStatuses(ephemeralContainers(in.Pod), g.previous.EphemeralContainerStatuses)
	if in.Finished {
		endAll(in.Pod, &status)
	}

	g.setPhase(&status)
	g.setAddresses(&status)
	status.QOSClass = qosClass(pod)
	status.ObservedGeneration = max(g.previous.ObservedGeneration, in.Pod.Generation)
	status.StartTime = g.startTime()
	status.Conditions = g.conditions(&status)
	normalize(&status)
	return status
}

// generator is one run of Generate.
type generator struct {
	Input
	// previous is a copy of the status before, parts of which go into the
	// result.
	previous corev1.PodStatus
}

func newGenerator(in Input) *generator {
	previous := &in.Previous
	if previous.Phase == "" {
		previous = &in.Pod.Status
	}
	return &generator{Input: in, previous: *previous.DeepCopy()}
}

// startTime is set once and then kept, as deadlines count from it.
func (g *generator) startTime() *metav1.Time {
	if start := cmp.Or(g.previous.StartTime, g.Pod.Status.StartTime); start != nil {
		return start.DeepCopy()
	}
	return new(metav1.NewTime(g.Now))
}

// normalize gives the status the form in which it is compared and sent: times
// in whole seconds, as that is all that survives JSON, containers sorted by
// name, except for init containers, whose order in the spec means something, and
// termination messages of a size that upstream takes.
func normalize(status *corev1.PodStatus) {
	if status.StartTime != nil {
		truncate(status.StartTime)
	}
	for i := range status.Conditions {
		truncate(&status.Conditions[i].LastProbeTime)
		truncate(&status.Conditions[i].LastTransitionTime)
	}
	sortByName(status.ContainerStatuses)
	sortByName(status.EphemeralContainerStatuses)
	clipMessages(status)
	for _, list := range containerLists(status) {
		for i := range list {
			truncateState(&list[i].State)
			truncateState(&list[i].LastTerminationState)
		}
	}
}

func truncateState(state *corev1.ContainerState) {
	if state.Running != nil {
		truncate(&state.Running.StartedAt)
	}
	if state.Terminated != nil {
		truncate(&state.Terminated.StartedAt)
		truncate(&state.Terminated.FinishedAt)
	}
}

func truncate(t *metav1.Time) {
	t.Time = t.UTC().Truncate(time.Second)
}

func sortByName(statuses []corev1.ContainerStatus) {
	slices.SortStableFunc(statuses, func(a, b corev1.ContainerStatus) int {
		return cmp.Compare(a.Name, b.Name)
	})
}

// containerLists returns the three lists of container statuses, not a joined
// one: appending one to another could write into its spare room.
func containerLists(status *corev1.PodStatus) [3][]corev1.ContainerStatus {
	return [3][]corev1.ContainerStatus{
		status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses,
	}
}
