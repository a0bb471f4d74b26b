package podsync

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// endedStatus is one in which the container has ended with the code.
func endedStatus(container string, code int32) corev1.PodStatus {
	return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
		Name: container, RestartCount: 3,
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: code, FinishedAt: metav1.NewTime(now.Add(-time.Second)),
		}},
	}}}
}

func TestWhatHasEndedForGoodIsNotStartedWhenTheRuntimeHasForgottenIt(t *testing.T) {
	for _, row := range []struct {
		name   string
		policy corev1.RestartPolicy
		code   int32
		state  []string
		want   string
	}{
		{"succeeded, OnFailure", corev1.RestartPolicyOnFailure, 0, []string{"ready", "b:running"}, ""},
		{"failed, OnFailure", corev1.RestartPolicyOnFailure, 1, []string{"ready", "b:running"}, "start a"},
		{"failed, Never", corev1.RestartPolicyNever, 1, []string{"ready", "b:running"}, ""},
		{"succeeded, Always", corev1.RestartPolicyAlways, 0, []string{"ready", "b:running"}, "start a"},
		{"the sandbox is gone too", corev1.RestartPolicyOnFailure, 0, nil, "sandbox 0, start b"},
		{"the runtime remembers a later run", corev1.RestartPolicyOnFailure, 0, []string{"ready", "a:exited(1)", "b:running"}, "start a"},
	} {
		t.Run(row.name, func(t *testing.T) {
			state := recall(stateWith(row.state...), endedStatus("a", row.code))
			todo := plan(podWith(row.policy, "a", "b"), state, known{now: now})
			assert.Equal(t, row.want, todo.written())
		})
	}
}

func TestAForgottenContainerIsCountedOn(t *testing.T) {
	state := recall(stateWith("ready"), endedStatus("a", 1))
	todo := plan(podWith(corev1.RestartPolicyAlways, "a"), state, known{now: now})
	assert.Equal(t, 3, todo.start[0].previous.RestartCount())
}
