package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What containers say may have many lines, and more in them than a terminal should be
// told.
func TestAnEventIsOneLineOfTheTable(t *testing.T) {
	now := time.Now()
	event := func(name, field, reason, message string) corev1.Event {
		return corev1.Event{
			InvolvedObject: corev1.ObjectReference{Namespace: "default", Name: name, FieldPath: field},
			LastTimestamp:  metav1.NewTime(now.Add(-time.Minute)), Count: 1, Type: "Warning", Reason: reason, Message: message,
		}
	}
	var out strings.Builder
	require.NoError(t, writeEvents(&out, []corev1.Event{
		event("web", "spec.containers{app}", "Unhealthy", "Liveness probe failed: one\ntwo\tthree\x1b[2J\n"),
		event("café", "", "BackOff", "back-off"),
	}, now))
	assert.Equal(t, `LAST SEEN   COUNT   TYPE      REASON      OBJECT                             MESSAGE
60s         1       Warning   Unhealthy   default/web spec.containers{app}   Liveness probe failed: one two three [2J
60s         1       Warning   BackOff     default/café                       back-off
`, out.String())
}

// A sidecar is restarted as a regular container is, and counted with those.
func TestTheTableTellsWhenASidecarWasRestarted(t *testing.T) {
	now := time.Now()
	always := corev1.ContainerRestartPolicyAlways
	pod := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "proxy", RestartPolicy: &always}},
			Containers:     []corev1.Container{{Name: "app"}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning,
			InitContainerStatuses: []corev1.ContainerStatus{{
				Name: "proxy", RestartCount: 3, Started: new(true), Ready: true,
				State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
				LastTerminationState: corev1.ContainerState{
					Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: metav1.NewTime(now.Add(-time.Minute))},
				},
			}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: "app", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
		},
	}
	assert.Equal(t, "3 (60s ago)", row(&pod, now)[4])
}
