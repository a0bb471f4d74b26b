package statusmgr

import (
	"cmp"
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// The states that Kubernetes' users know containers by when the runtime has
// nothing to say of them.
const (
	reasonCreating     = "ContainerCreating"
	reasonInitializing = "PodInitializing"
	reasonCompleted    = "Completed"
)

// containerStatuses returns one status for each of the containers.
func (g *generator) containerStatuses(containers []container, previous []corev1.ContainerStatus) []corev1.ContainerStatus {
	if len(containers) == 0 {
		return nil
	}
	statuses := make([]corev1.ContainerStatus, 0, len(containers))
	for _, c := range containers {
		before := statusOf(previous, c.Name)
		status := g.containerStatus(c, before)
		if status.ContainerID == "" && g.mayBeMade(c) {
			status.AllocatedResources, status.Resources = c.Resources.Requests.DeepCopy(), c.Resources.DeepCopy()
		}
		g.applyWaiting(c, &status)
		g.setReadiness(c, &status, before)
		statuses = append(statuses, status)
	}
	return statuses
}

// mayBeMade reports whether the node has set aside something for a container that was
// never made: what its spec asks for may be another by the time that an agent makes it.
func (g *generator) mayBeMade(c container) bool {
	return c.role != ephemeral && g.State != nil && !terminal(g.previous.Phase)
}

// containerStatus is the status as it follows from the runtime's containers of
// that name. A previous status without a name means that there is none.
func (g *generator) containerStatus(c container, previous corev1.ContainerStatus) corev1.ContainerStatus {
	if g.State == nil {
		return g.unobserved(c, previous)
	}
	runs := g.State.ContainersNamed(c.Name)
	if len(runs) == 0 {
		return g.vanished(c, previous)
	}
	return g.observed(c, previous, runs)
}

// observed is the status of a container that the runtime has: the newest run of
// it is its state, the second newest its last state, older ones are history.
func (g *generator) observed(c container, previous corev1.ContainerStatus, runs []*cri.Container) corev1.ContainerStatus {
	newest := runs[0]
	status := corev1.ContainerStatus{
		Name:               c.Name,
		RestartCount:       max(previous.RestartCount, clamp(newest.RestartCount())),
		Image:              cmp.Or(newest.GetImage().GetImage(), c.Image),
		ImageID:            newest.GetImageRef(),
		ContainerID:        g.containerID(newest),
		AllocatedResources: c.Resources.Requests.DeepCopy(),
		Resources:          resourcesOf(c, newest),
		VolumeMounts:       volumeMounts(c, newest.GetMounts()),
		User:               userOf(newest),
	}
	switch newest.GetState() {
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(newest.StartedTime())}
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		status.State.Terminated = g.termination(newest, previous)
	case runtimeapi.ContainerState_CONTAINER_UNKNOWN:
		setUnknown(&status, previous)
	default:
		status.State.Waiting = &corev1.ContainerStateWaiting{}
	}
	status.LastTerminationState.Terminated = g.lastTermination(previous, runs)
	if c.role == initOnce && g.beginsAnew(newest) {
		status.LastTerminationState.Terminated, status.State = status.State.Terminated, g.notCreated()
	}
	return status
}

// beginsAnew reports whether an init container that has ended is to run again: the pod
// has got another sandbox since, in which nothing has come so far.
func (g *generator) beginsAnew(ended *cri.Container) bool {
	if !ended.Exited() || len(g.State.Sandboxes) == 0 || g.Pod.DeletionTimestamp != nil || g.Finished || g.pastInit() {
		return false
	}
	newest := g.State.Sandboxes[0]
	return newest.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY && newest.GetId() != ended.SandboxID
}

// setUnknown sets the state of a container that the runtime has lost track of.
// One that was seen running ran, so it must not look as if it never had: a
// container that runs once would be run twice.
func setUnknown(status *corev1.ContainerStatus, previous corev1.ContainerStatus) {
	if known := terminationIn(previous, status.ContainerID); known != nil {
		status.State.Terminated = known
		return
	}
	if previous.State.Running == nil || previous.ContainerID != status.ContainerID {
		status.State.Waiting = &corev1.ContainerStateWaiting{}
		return
	}
	status.State.Terminated = lost(previous, "the runtime no longer knows the state of the container")
	status.RestartCount = max(status.RestartCount, increment(previous.RestartCount))
}

// lastTermination is how the run before the newest one ended. What the runtime
// has forgotten of it the previous status still knows.
func (g *generator) lastTermination(previous corev1.ContainerStatus, runs []*cri.Container) *corev1.ContainerStateTerminated {
	if len(runs) > 1 && runs[1].Exited() {
		return g.termination(runs[1], previous)
	}
	id := g.containerID(runs[0])
	if t := previous.State.Terminated; t != nil && cmp.Or(t.ContainerID, previous.ContainerID) != id {
		return t
	}
	if previous.State.Running != nil && previous.ContainerID != id && len(runs) == 1 {
		return lost(previous, "the container was replaced before its end was seen")
	}
	if t := previous.LastTerminationState.Terminated; t != nil && t.ContainerID != id {
		return t
	}
	return nil
}

// terminationIn returns the end of the container with the ID, if the status
// knows it.
func terminationIn(status corev1.ContainerStatus, id string) *corev1.ContainerStateTerminated {
	if t := status.State.Terminated; t != nil && cmp.Or(t.ContainerID, status.ContainerID) == id {
		return t
	}
	if t := status.LastTerminationState.Terminated; t != nil && t.ContainerID == id {
		return t
	}
	return nil
}

// unobserved is the status of a container of a pod that nobody has looked at.
func (g *generator) unobserved(c container, previous corev1.ContainerStatus) corev1.ContainerStatus {
	status := inherited(c, previous)
	if status.State == (corev1.ContainerState{}) {
		status.State = g.notCreated()
	}
	return status
}

// vanished is the status of a container that the runtime does not have: it was
// not created yet, or somebody removed it.
func (g *generator) vanished(c container, previous corev1.ContainerStatus) corev1.ContainerStatus {
	status := inherited(c, previous)
	ended := previous.State.Terminated
	passed := c.role == initOnce && g.pastInit()
	switch {
	case ended != nil && g.RestartingAll:
		status.LastTerminationState.Terminated = ended
		status.State = g.notCreated()
	case ended != nil && (!hasFailed(c, ended) || !passed):
	case passed:
		status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			Reason:      reasonCompleted,
			Message:     "the container was removed after the pod had been initialized",
			ContainerID: previous.ContainerID,
		}}
	case previous.State.Running != nil && g.Finished:
		end(&status)
	case previous.State.Running != nil:
		status.LastTerminationState.Terminated = lost(previous, "the container vanished from the runtime while it ran")
		status.State = g.notCreated()
		if g.Pod.DeletionTimestamp == nil {
			status.RestartCount = increment(previous.RestartCount)
		}
	default:
		status.State = g.notCreated()
	}
	return status
}

// pastInit reports whether a regular container exists in the newest sandbox:
// such a pod is through with its init containers, even if they are gone. Those
// of older sandboxes prove nothing, as a new sandbox is initialized again.
func (g *generator) pastInit() bool {
	sandbox := ""
	if len(g.State.Sandboxes) > 0 {
		sandbox = g.State.Sandboxes[0].GetId()
	}
	for _, c := range regularContainers(g.Pod) {
		run := g.State.Newest(c.Name)
		if run != nil && (sandbox == "" || run.SandboxID == sandbox) {
			return true
		}
	}
	return false
}

// notCreated is the state of a container that is still to be created.
func (g *generator) notCreated() corev1.ContainerState {
	reason := reasonCreating
	if len(g.Pod.Spec.InitContainers) > 0 {
		reason = reasonInitializing
	}
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
}

// applyWaiting shows why the container does not start, if it is to start. What
// ended before then is the last termination.
func (g *generator) applyWaiting(c container, status *corev1.ContainerStatus) {
	waiting, ok := g.Waiting[c.Name]
	if !ok && g.restarts(c) {
		waiting, ok = *g.notCreated().Waiting, true
	}
	if !ok || status.State.Running != nil || g.Pod.DeletionTimestamp != nil || g.Finished {
		return
	}
	if t := status.State.Terminated; t != nil {
		if !mayRestart(g.Pod, c, t) && !g.restarts(c) {
			return
		}
		status.LastTerminationState = corev1.ContainerState{Terminated: t}
	}
	status.State = corev1.ContainerState{Waiting: &waiting}
}

// restarts reports whether the container has ended and runs again whatever its exit
// code is.
func (g *generator) restarts(c container) bool {
	if g.State == nil {
		return false
	}
	newest := g.State.Newest(c.Name)
	return newest != nil && newest.Exited() && g.Restarting[newest.GetId()]
}

func (g *generator) termination(c *cri.Container, previous corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	id := g.containerID(c)
	return &corev1.ContainerStateTerminated{
		ExitCode:    c.GetExitCode(),
		Reason:      c.GetReason(),
		Message:     g.terminationMessage(c, terminationIn(previous, id)),
		StartedAt:   metav1.NewTime(c.StartedTime()),
		FinishedAt:  metav1.NewTime(c.FinishedTime()),
		ContainerID: id,
	}
}

func (g *generator) containerID(c *cri.Container) string {
	return g.RuntimeName + "://" + c.GetId()
}

// inherited is the previous status, or an empty one of that container.
func inherited(c container, previous corev1.ContainerStatus) corev1.ContainerStatus {
	if previous.Name == "" {
		return corev1.ContainerStatus{Name: c.Name, Image: c.Image, VolumeMounts: volumeMounts(c, nil)}
	}
	return previous
}

// statusOf returns the status of that name, the zero status if there is none.
func statusOf(statuses []corev1.ContainerStatus, name string) corev1.ContainerStatus {
	for _, status := range statuses {
		if status.Name == name {
			return status
		}
	}
	return corev1.ContainerStatus{}
}

// clamp fits a count that may come from a stranger's annotation.
func clamp(count int) int32 { return int32(min(count, math.MaxInt32)) }

func increment(count int32) int32 {
	if count == math.MaxInt32 {
		return count
	}
	return count + 1
}
