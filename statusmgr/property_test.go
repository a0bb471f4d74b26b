package statusmgr_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/statusmgr"
)

// FuzzGenerate follows a pod through observations that need not make sense, as
// those of a broken runtime do not, and checks what must hold nevertheless.
func FuzzGenerate(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkHistory)) }

func TestWhatHoldsForEveryHistory(t *testing.T) { rapid.Check(t, checkHistory) }

func checkHistory(t *rapid.T) {
	pod := drawPod(t)
	var previous corev1.PodStatus
	for step := range rapid.IntRange(1, 8).Draw(t, "steps") {
		in := drawInput(t, pod, step)
		in.Previous = previous
		untouched := in.Pod.DeepCopy()

		status := statusmgr.Generate(in)
		require.Equal(t, untouched, in.Pod, "the pod is not changed")
		checkOne(t, in, status)
		checkNext(t, in, previous, status)

		in.Previous = status
		again := statusmgr.Generate(in)
		require.Truef(t, equality.Semantic.DeepEqual(status, again), "the same input gives the same status:\n%+v\n%+v", status, again)
		previous = status
	}
}

// checkOne checks what holds for a status by itself.
func checkOne(t *rapid.T, in statusmgr.Input, status corev1.PodStatus) {
	require.Len(t, status.ContainerStatuses, len(in.Pod.Spec.Containers))
	require.Len(t, status.InitContainerStatuses, len(in.Pod.Spec.InitContainers))
	require.Len(t, status.EphemeralContainerStatuses, len(in.Pod.Spec.EphemeralContainers))
	for _, list := range [][]corev1.ContainerStatus{
		status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses,
	} {
		for _, c := range list {
			states := 0
			for _, set := range []bool{c.State.Waiting != nil, c.State.Running != nil, c.State.Terminated != nil} {
				if set {
					states++
				}
			}
			require.Equalf(t, 1, states, "container %s has one state", c.Name)
			if c.State.Terminated != nil {
				require.True(t, utf8.ValidString(c.State.Terminated.Message))
			}
		}
	}
	over := status.Phase == succeeded || status.Phase == failed
	if in.Finished {
		require.True(t, over, "a finished pod has a terminal phase")
	}
	if over {
		require.Equal(t, corev1.ConditionFalse, condition(status, corev1.PodReady).Status)
	}
	require.NotEmpty(t, status.Phase)
	require.NotNil(t, status.StartTime)
}

// checkNext checks what holds for a status after another.
func checkNext(t *rapid.T, in statusmgr.Input, previous, status corev1.PodStatus) {
	wasOver := previous.Phase == succeeded || previous.Phase == failed
	isOver := status.Phase == succeeded || status.Phase == failed
	if wasOver {
		require.Equal(t, previous.Phase, status.Phase, "terminal phases are not left")
	}
	if isOver && !wasOver && !in.Finished && in.State != nil {
		for _, c := range in.State.Containers {
			require.False(t, c.Running(), "nothing runs when a phase becomes terminal")
		}
	}
	for _, c := range previous.ContainerStatuses {
		now := container(status, c.Name)
		require.GreaterOrEqualf(t, now.RestartCount, c.RestartCount, "restart count of %s", c.Name)
		if last := c.LastTerminationState.Terminated; last != nil && last.ContainerID != now.ContainerID {
			require.Truef(t, now.LastTerminationState.Terminated != nil || now.State.Terminated != nil, "last end of %s", c.Name)
		}
	}
	if previous.StartTime != nil {
		require.True(t, previous.StartTime.Equal(status.StartTime))
	}
}

func drawPod(t *rapid.T) *corev1.Pod {
	words := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "init:i", "init:j", "side:s", "debug:d"}), 0, 6,
		rapid.ID[string]).Draw(t, "containers")
	pod := newPod(rapid.SampledFrom([]corev1.RestartPolicy{always, onFailure, never}).Draw(t, "policy"), words...)
	pod.Spec.HostNetwork = rapid.Bool().Draw(t, "hostNetwork")
	return pod
}

func drawInput(t *rapid.T, pod *corev1.Pod, step int) statusmgr.Input {
	in := statusmgr.Input{
		Pod:         pod.DeepCopy(),
		RuntimeName: "containerd",
		HostIPs:     rapid.SliceOfN(rapid.SampledFrom([]string{"192.0.2.7", "2001:db8::7", "nonsense"}), 0, 3).Draw(t, "hostIPs"),
		Finished:    rapid.IntRange(0, 9).Draw(t, "finished") == 0,
		Now:         now.Add(time.Duration(step) * time.Minute),
		Waiting:     map[string]corev1.ContainerStateWaiting{},
		Messages:    rapid.MapOfN(runIDs, rapid.String(), 0, 3).Draw(t, "messages"),
	}
	if rapid.IntRange(0, 9).Draw(t, "deleted") == 0 {
		in.Pod.DeletionTimestamp = &metav1.Time{Time: now}
	}
	if rapid.IntRange(0, 9).Draw(t, "failure") == 0 {
		in.Failure = &statusmgr.Failure{Reason: "DeadlineExceeded"}
	}
	for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "i", "s", "d"}), 0, 2).Draw(t, "waiting") {
		in.Waiting[name] = corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}
	}
	if rapid.IntRange(0, 9).Draw(t, "observed") > 0 {
		in.State = drawState(t)
	}
	return in
}

// runIDs are the IDs of a few runs of containers in and out of the spec.
var runIDs = rapid.StringMatching(`(a|b|i|j|s|d|stranger|)-[0-3]`)

// drawState draws a few containers and sandboxes of any state.
func drawState(t *rapid.T) *cri.PodState {
	state := &cri.PodState{UID: "u1"}
	for i := range rapid.IntRange(0, 3).Draw(t, "sandboxes") {
		s := sandbox(uint32(i), rapid.SampledFrom([]string{"", "10.0.0.5", "fd00::5", "nonsense"}).Draw(t, "ip"))
		s.State = runtimeapi.PodSandboxState(rapid.Int32Range(0, 2).Draw(t, "sandbox state"))
		state.Sandboxes = append(state.Sandboxes, s)
		state.IPs = append(state.IPs, cri.SandboxIPs(s)...)
	}
	for _, id := range rapid.SliceOfNDistinct(runIDs, 0, 6, rapid.ID[string]).Draw(t, "runs") {
		name, attempt, _ := strings.Cut(id, "-")
		state.Containers = append(state.Containers, &cri.Container{
			SandboxID: rapid.SampledFrom([]string{"sandbox-0", "sandbox-1", ""}).Draw(t, "sandbox"),
			ContainerStatus: &runtimeapi.ContainerStatus{
				Id:         id,
				State:      runtimeapi.ContainerState(rapid.Int32Range(0, 4).Draw(t, "state")),
				CreatedAt:  int64(attempt[0]),
				StartedAt:  rapid.Int64().Draw(t, "startedAt"),
				FinishedAt: rapid.Int64().Draw(t, "finishedAt"),
				ExitCode:   rapid.Int32Range(0, 2).Draw(t, "exitCode"),
				Message:    rapid.SampledFrom([]string{"", "it broke"}).Draw(t, "message"),
				Labels:     map[string]string{cri.LabelContainerName: name},
				Annotations: map[string]string{
					cri.AnnotationRestartCount: rapid.SampledFrom([]string{"", "0", "1", "2", "-1", "9999999999", "x"}).Draw(t, "restartCount"),
				},
			},
		})
	}
	state.Sort()
	return state
}

// FuzzSet sets a status and then the same in another order and at other times:
// whatever it says, that is no change.
func FuzzSet(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		pod := drawPod(t)
		status := statusmgr.Generate(drawInput(t, pod, 0))
		changes := 0
		m := statusmgr.New(&fakeUpdater{}, statusmgr.Config{OnChange: func(_, _ *corev1.Pod) { changes++ }})
		m.Set(pod, status)
		require.Equal(t, 1, changes)

		same := *status.DeepCopy()
		same.Conditions = rapid.Permutation(same.Conditions).Draw(t, "conditions")
		if len(same.ContainerStatuses) > 0 {
			same.ContainerStatuses = rapid.Permutation(same.ContainerStatuses).Draw(t, "statuses")
		}
		for i := range same.Conditions {
			same.Conditions[i].LastTransitionTime = metav1.NewTime(time.Unix(rapid.Int64Range(0, 1e9).Draw(t, "time"), 0))
		}
		m.Set(pod, same)
		require.Equal(t, 1, changes, "order and times are no change")

		same.QOSClass += "!"
		m.Set(pod, same)
		require.Equal(t, 2, changes, "anything else is")
	}))
}
