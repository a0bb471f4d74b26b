package statusmgr

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Summary is a pod in one line, in the words of kubectl get pods. Two pods that
// look the same there have equal summaries.
type Summary struct {
	// Ready of Containers are ready, counting regular ones and sidecars.
	Ready, Containers int
	// Status is the phase, or the reason that says more: CrashLoopBackOff,
	// Init:0/2, Completed, Terminating.
	Status string
	// Restarts is the sum over the same containers, or, as long as the pod is
	// being initialized, over the init containers.
	Restarts int
}

// Summarize returns the summary of the pod by its status. A nil pod has the
// zero Summary.
func Summarize(pod *corev1.Pod) Summary {
	if pod == nil {
		return Summary{}
	}
	s := Summary{Status: statusWord(pod)}
	s.count(pod)
	return s
}

func statusWord(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil && !terminal(pod.Status.Phase) {
		return "Terminating"
	}
	return cmp.Or(pod.Status.Reason, initWord(pod), regularWord(pod), string(pod.Status.Phase))
}

func (s *Summary) count(pod *corev1.Pod) {
	initRestarts := 0
	for _, c := range initContainers(pod) {
		status := statusOf(pod.Status.InitContainerStatuses, c.Name)
		initRestarts += int(status.RestartCount)
		if c.role == sidecar {
			s.add(status)
		}
	}
	for _, c := range regularContainers(pod) {
		s.add(statusOf(pod.Status.ContainerStatuses, c.Name))
	}
	if !initialized(pod, &pod.Status) {
		s.Restarts = initRestarts
	}
}

func (s *Summary) add(status corev1.ContainerStatus) {
	s.Containers++
	s.Restarts += int(status.RestartCount)
	if status.Ready && status.State.Running != nil {
		s.Ready++
	}
}

// initWord describes the init container that holds up the pod, "" if none does: not a
// sidecar that has ended well, as with an init container that failed.
func initWord(pod *corev1.Pod) string {
	if initialized(pod, &pod.Status) {
		return ""
	}
	inits := initContainers(pod)
	next := slices.IndexFunc(inits, func(c container) bool {
		status := statusOf(pod.Status.InitContainerStatuses, c.Name)
		ended := status.State.Terminated
		return !initDone(c, status) && (ended == nil || hasFailed(c, ended))
	})
	if next < 0 {
		return ""
	}
	state := statusOf(pod.Status.InitContainerStatuses, inits[next].Name).State
	if word := stateWord(state); word != "" && word != reasonInitializing {
		return "Init:" + word
	}
	return fmt.Sprintf("Init:%d/%d", next, len(inits))
}

// regularWord is the trouble of the first regular container that has one, ""
// if there is none. That one has completed is trouble only if nothing runs.
func regularWord(pod *corev1.Pod) string {
	word, running, ready := "", false, false
	for _, c := range pod.Status.ContainerStatuses {
		running = running || c.State.Running != nil
		ready = ready || c.State.Running != nil && c.Ready
		if found := stateWord(c.State); word == "" || word == reasonCompleted && found != "" {
			word = found
		}
	}
	switch {
	case word != reasonCompleted || !running:
		return word
	case ready:
		return string(corev1.PodRunning)
	default:
		return "NotReady"
	}
}

func stateWord(state corev1.ContainerState) string {
	switch {
	case state.Waiting != nil:
		return state.Waiting.Reason
	case state.Terminated != nil:
		return endWord(state.Terminated)
	default:
		return ""
	}
}

func endWord(ended *corev1.ContainerStateTerminated) string {
	switch {
	case ended.Reason != "":
		return ended.Reason
	case ended.Signal != 0:
		return fmt.Sprintf("Signal:%d", ended.Signal)
	default:
		return fmt.Sprintf("ExitCode:%d", ended.ExitCode)
	}
}
