package podsync

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// whereExit42RestartsAll is a pod that never restarts anything, but for the rule of
// its container a.
func whereExit42RestartsAll(containers ...string) *corev1.Pod {
	pod := podWith(corev1.RestartPolicyNever, containers...)
	a := specOf(pod, "a")
	a.RestartPolicy = new(corev1.ContainerRestartPolicyNever)
	a.RestartPolicyRules = []corev1.ContainerRestartRule{{
		Action: corev1.ContainerRestartRuleActionRestartAllContainers,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{
			Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42},
		},
	}}
	return pod
}

func TestARuleMayRestartAllContainers(t *testing.T) {
	for name, row := range map[string]struct {
		pod   *corev1.Pod
		state []string
		want  string
	}{
		"of a regular container": {
			whereExit42RestartsAll("init:i", "a", "b", "c"), []string{"ready", "a:exited(42)", "b:running", "c:exited(0)", "i:exited(0)"},
			"stop b-3",
		},
		"when nothing runs any more": {
			whereExit42RestartsAll("init:i", "a", "b", "c"), []string{"ready", "b:exited(137)", "a:exited(42)", "c:exited(0)", "i:exited(0)"},
			"remove b-4, remove c-2, remove i-1, remove a-3",
		},
		"one in unknown state": {
			whereExit42RestartsAll("a", "b"), []string{"ready", "b:unknown", "a:exited(42)"}, "stop b-2, remove b-2, remove a-1",
		},
		"of an init container": {whereExit42RestartsAll("init:a", "b"), []string{"ready", "a:exited(42)"}, "remove a-1"},
		"another code":         {whereExit42RestartsAll("a", "b"), []string{"ready", "a:exited(1)", "b:running"}, ""},
		"of an earlier sandbox": {
			whereExit42RestartsAll("a", "b"), []string{"ready", "notready", "a:exited(42)", "b:exited(0)"}, "start a",
		},
		"an ephemeral container stays": {
			whereExit42RestartsAll("a", "ephemeral:e"), []string{"ready", "a:exited(42)", "e:running"}, "remove a-2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			state := stateWith(row.state...)
			todo := plan(row.pod, state, known{now: now})
			assert.Equal(t, row.want, todo.written())
			for _, stop := range todo.stop {
				assert.Zero(t, stop.grace, "nobody gets time")
			}
		})
	}
}

func TestARestartOfAllWaitsForTheBackOff(t *testing.T) {
	pod := whereExit42RestartsAll("a", "b")
	crashes := map[string]crash{crashKey(specOf(pod, "a")): {delay: 20 * time.Second, armed: now.Add(-time.Minute)}}
	todo := plan(pod, stateWith("ready", "a:exited(42)", "b:running"), known{crashes: crashes, now: now})
	assert.Equal(t, "wait a", todo.written())
	assert.Equal(t, now.Add(19*time.Second), todo.retryAt)
}

// The sandbox may get lost before all are removed: none is held to have run.
func TestARestartOfAllGoesOnInANewSandbox(t *testing.T) {
	restarting := known{restartingAll: true, now: now}
	for name, row := range map[string]struct {
		pod   *corev1.Pod
		state []string
		want  string
	}{
		"before the removal":      {whereExit42RestartsAll("a", "b"), []string{"notready", "b:exited(137)", "a:exited(42)"}, "sandbox 1, remove b-2, remove a-1, start a, start b"},
		"with an init container":  {whereExit42RestartsAll("init:i", "a"), []string{"notready", "a:exited(42)", "i:exited(0)"}, "sandbox 1, remove a-2, remove i-1, start i"},
		"of an init container":    {whereExit42RestartsAll("init:a", "b"), []string{"notready", "a:exited(42)"}, "sandbox 1, remove a-1, start a"},
		"after one was made anew": {whereExit42RestartsAll("a", "b"), []string{"notready", "a:exited(255)"}, "sandbox 1, remove a-1, start a, start b"},
	} {
		t.Run(name, func(t *testing.T) {
			todo := plan(row.pod, stateWith(row.state...), restarting)
			assert.Equal(t, row.want, todo.written())
			assert.False(t, todo.finished)
		})
	}
}

// What has ended before a restart of all is not held against the pod, until all are
// there again.
func TestARestartOfAllForgetsEarlierEnds(t *testing.T) {
	pod := whereExit42RestartsAll("a", "b")
	status := corev1.PodStatus{
		Conditions: []corev1.PodCondition{{Type: corev1.AllContainersRestarting, Status: corev1.ConditionTrue}},
		ContainerStatuses: []corev1.ContainerStatus{
			{Name: "a", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 42}}},
			{Name: "b", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.Time{Time: now}}}},
		},
	}
	empty, half, whole := stateWith("ready"), stateWith("ready", "a:running"), stateWith("ready", "a:running", "b:running")
	assert.Equal(t, "start a, start b", plan(pod, recall(empty, status), known{now: now}).written())
	assert.True(t, restartingAll(pod, empty, actions{}, status))
	assert.True(t, restartingAll(pod, half, actions{}, status))
	assert.False(t, restartingAll(pod, whole, actions{}, status))
	assert.True(t, restartingAll(pod, whole, actions{newSandbox: true}, status), "those of the lost sandbox go")
	assert.False(t, restartingAll(pod, half, actions{}, corev1.PodStatus{}))
	assert.False(t, restartingAll(pod, whole, actions{newSandbox: true}, corev1.PodStatus{}))
	assert.True(t, restartingAll(pod, whole, actions{restartedBy: &start{}}, corev1.PodStatus{}))
}
