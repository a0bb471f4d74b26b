package statusmgr

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// setPhase sets phase, reason and message. What is terminal stays so, whoever
// said it: the agent before, or upstream, where a controller may give up a pod
// that runs here.
func (g *generator) setPhase(status *corev1.PodStatus) {
	for _, said := range []*corev1.PodStatus{&g.previous, &g.Pod.Status} {
		if terminal(said.Phase) {
			status.Phase, status.Reason, status.Message = said.Phase, said.Reason, said.Message
			return
		}
	}
	status.Phase = g.heldPhase(status)
	status.Reason, status.Message = "", ""
	switch {
	case g.Failure != nil && status.Phase == corev1.PodFailed:
		status.Reason, status.Message = g.Failure.Reason, g.Failure.Message
	case status.Phase == g.previous.Phase:
		status.Reason, status.Message = g.previous.Reason, g.previous.Message
	}
}

// heldPhase is the phase that may be told. A terminal one is not as long as
// something may run: upstream takes it for the permission to delete the pod, or
// to start its successor.
func (g *generator) heldPhase(status *corev1.PodStatus) corev1.PodPhase {
	phase := g.truePhase(status)
	switch {
	case !terminal(phase) || !g.mayRun():
		return phase
	case g.previous.Phase == corev1.PodRunning || g.previous.Phase == corev1.PodPending:
		return g.previous.Phase
	case initialized(g.Pod, status):
		return corev1.PodRunning
	default:
		return corev1.PodPending
	}
}

func (g *generator) truePhase(status *corev1.PodStatus) corev1.PodPhase {
	switch {
	case g.Failure != nil:
		return corev1.PodFailed
	case g.Finished:
		return finalPhase(status.ContainerStatuses)
	case g.RestartingAll && g.previous.Phase == corev1.PodPending: // by an init container
		return corev1.PodPending
	case g.RestartingAll:
		return corev1.PodRunning
	default:
		return g.phaseOf(status)
	}
}

// mayRun reports whether something of the pod may be running, be it in the spec
// or not.
func (g *generator) mayRun() bool {
	if g.Finished {
		return false
	}
	if g.State == nil {
		return anyRunning(&g.previous)
	}
	for _, c := range g.State.Containers {
		if c.Running() || c.GetState() == runtimeapi.ContainerState_CONTAINER_UNKNOWN {
			return true
		}
	}
	return false
}

func anyRunning(status *corev1.PodStatus) bool {
	for _, list := range containerLists(status) {
		for _, c := range list {
			if c.State.Running != nil {
				return true
			}
		}
	}
	return false
}

// phaseOf is the phase that the containers' states and restart rules add up to.
func (g *generator) phaseOf(status *corev1.PodStatus) corev1.PodPhase {
	if phase := initPhase(g.Pod, status); phase != corev1.PodRunning {
		return phase
	}
	return g.regularPhase(status)
}

// initPhase is Failed if an init container failed for good, Pending if the
// regular containers have to wait for one, else Running.
func initPhase(pod *corev1.Pod, status *corev1.PodStatus) corev1.PodPhase {
	phase := corev1.PodRunning
	startedOnce := anyStarted(status.ContainerStatuses)
	for _, c := range initContainers(pod) {
		s := statusOf(status.InitContainerStatuses, c.Name)
		switch {
		case c.role == sidecar:
			if !startedOnce && !initDone(c, s) {
				phase = corev1.PodPending
			}
		case initDone(c, s):
		case failedForGood(pod, c, s):
			return corev1.PodFailed
		default:
			phase = corev1.PodPending
		}
	}
	return phase
}

// failedForGood reports whether an init container has failed and does not run again; one
// that waits does, however it ended before.
func failedForGood(pod *corev1.Pod, c container, status corev1.ContainerStatus) bool {
	ended := status.State.Terminated
	return ended != nil && hasFailed(c, ended) && !mayRestart(pod, c, ended)
}

// regularPhase looks at the regular containers once the pod is initialized. A
// container in a crash loop counts as stopped, and its pod as running.
// Sidecars keep a pod running that has nothing else left, until they are
// stopped; how they end does not matter.
func (g *generator) regularPhase(status *corev1.PodStatus) corev1.PodPhase {
	var running, stopped, failed, restarting int
	for _, c := range regularContainers(g.Pod) {
		s := statusOf(status.ContainerStatuses, c.Name)
		ended := lastEnd(s)
		switch {
		case s.State.Running != nil:
			running++
		case ended == nil:
			return corev1.PodPending
		default:
			stopped++
			if hasFailed(c, ended) {
				failed++
			}
			if mayRestart(g.Pod, c, ended) || g.restarts(c) {
				restarting++
			}
		}
	}
	switch {
	case running+runningSidecars(g.Pod, status) > 0, restarting > 0:
		return corev1.PodRunning
	case stopped == 0:
		return corev1.PodPending
	case failed > 0:
		return corev1.PodFailed
	default:
		return corev1.PodSucceeded
	}
}

func runningSidecars(pod *corev1.Pod, status *corev1.PodStatus) int {
	count := 0
	for _, c := range initContainers(pod) {
		if c.role == sidecar && statusOf(status.InitContainerStatuses, c.Name).State.Running != nil {
			count++
		}
	}
	return count
}

// finalPhase is the phase of a pod that is over: restart rules are of no
// account any more, and what never ran has not succeeded.
func finalPhase(statuses []corev1.ContainerStatus) corev1.PodPhase {
	if len(statuses) == 0 {
		return corev1.PodFailed
	}
	for _, s := range statuses {
		if s.State.Terminated == nil || s.State.Terminated.ExitCode != 0 {
			return corev1.PodFailed
		}
	}
	return corev1.PodSucceeded
}

// lastEnd is how a container that is not running ended last, nil if it never did.
func lastEnd(status corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if status.State.Running != nil {
		return nil
	}
	return cmp.Or(status.State.Terminated, status.LastTerminationState.Terminated)
}

// initialized reports whether the pod's regular containers may start, or have
// started at any time.
func initialized(pod *corev1.Pod, status *corev1.PodStatus) bool {
	return anyStarted(status.ContainerStatuses) || len(unfinishedInits(pod, status)) == 0
}

// unfinishedInits names the init containers that hold up the regular ones.
func unfinishedInits(pod *corev1.Pod, status *corev1.PodStatus) []string {
	var names []string
	for _, c := range initContainers(pod) {
		if !initDone(c, statusOf(status.InitContainerStatuses, c.Name)) {
			names = append(names, c.Name)
		}
	}
	return names
}

// initDone reports whether the init container lets the next one start.
func initDone(c container, status corev1.ContainerStatus) bool {
	if c.role == sidecar {
		return status.Started != nil && *status.Started
	}
	return status.Ready
}

func anyStarted(statuses []corev1.ContainerStatus) bool { return lastStarted(statuses) >= 0 }

func terminal(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}
