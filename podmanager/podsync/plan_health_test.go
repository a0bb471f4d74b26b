package podsync

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// withProbe is the pod with a probe of its first container, of either sort, that
// gives it three seconds to end.
func withProbe(pod *corev1.Pod) *corev1.Pod {
	containers := pod.Spec.Containers
	if len(pod.Spec.InitContainers) > 0 {
		containers = pod.Spec.InitContainers
	}
	containers[0].LivenessProbe = &corev1.Probe{TerminationGracePeriodSeconds: new(int64(3))}
	containers[0].StartupProbe = containers[0].LivenessProbe
	return pod
}

func TestFailedProbesEndTheirContainer(t *testing.T) {
	const (
		always    = corev1.RestartPolicyAlways
		onFailure = corev1.RestartPolicyOnFailure
		never     = corev1.RestartPolicyNever
	)
	for name, row := range map[string]struct {
		pod    *corev1.Pod
		state  string
		failed KillingProbe
		want   string
		why    string
	}{
		"liveness":                {podWith(always, "a"), "a:running", LivenessProbe, "stop a-1, start a", "Container a failed liveness probe, will be restarted"},
		"startup":                 {podWith(always, "a"), "a:running", StartupProbe, "stop a-1, start a", "Container a failed startup probe, will be restarted"},
		"liveness, OnFailure":     {podWith(onFailure, "a"), "a:running", LivenessProbe, "stop a-1, start a", "Container a failed liveness probe, will be restarted"},
		"liveness, Never":         {podWith(never, "a"), "a:running", LivenessProbe, "stop a-1", "Container a failed liveness probe"},
		"of a sidecar, Never":     {podWith(never, "sidecar:a", "b"), "a:running", LivenessProbe, "stop a-1, start a", "Container a failed liveness probe, will be restarted"},
		"of one that has exited":  {podWith(always, "a"), "a:exited(1)", LivenessProbe, "start a", ""},
		"of one that has no more": {podWith(always, "a"), "a:running", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			todo := plan(withProbe(row.pod), stateWith("ready", row.state), known{
				health: map[string]Health{"a-1": {Failed: row.failed}}, now: now,
			})
			assert.Equal(t, row.want, todo.written())
			assert.False(t, todo.finished)
			if row.why != "" {
				assert.Equal(t, row.why, todo.stop[0].why)
				assert.Equal(t, 3*time.Second, todo.stop[0].grace, "the probe's own grace period")
			}
		})
	}
}

func TestAFailureOfAnEarlierContainerIsNotHeldAgainstTheNext(t *testing.T) {
	todo := plan(podWith(corev1.RestartPolicyAlways, "a"), stateWith("ready", "a:running", "a:exited(137)"), known{
		health: map[string]Health{"a-1": {Failed: LivenessProbe}}, now: now,
	})
	assert.Empty(t, todo.written())
}

func TestAContainerThatFailsItsProbeAgainWaitsAfterItsEnd(t *testing.T) {
	pod := withProbe(podWith(corev1.RestartPolicyAlways, "a"))
	todo := plan(pod, stateWith("ready", "a:running"), known{
		health:  map[string]Health{"a-1": {Failed: LivenessProbe}},
		crashes: map[string]crash{crashKey(&pod.Spec.Containers[0]): {delay: 20 * time.Second, armed: now.Add(-time.Minute)}},
		now:     now,
	})
	assert.Equal(t, "stop a-1, wait a", todo.written())
	assert.Equal(t, now.Add(20*time.Second), todo.retryAt)
}

func TestTheGraceOfADeletionIsLongerThanNoProbes(t *testing.T) {
	pod := withProbe(podWith(corev1.RestartPolicyAlways, "a"))
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &metav1.Time{Time: now}, new(int64(40))
	todo := plan(pod, stateWith("ready", "a:running"), known{health: map[string]Health{"a-1": {Failed: LivenessProbe}}, now: now})
	assert.Equal(t, 40*time.Second, todo.stop[0].grace)
	assert.Empty(t, todo.start, "a pod that is being deleted restarts nothing")
}

func TestWhatFollowsASidecarWaitsForItsStartupProbe(t *testing.T) {
	pod := withProbe(podWith(corev1.RestartPolicyAlways, "sidecar:a", "b"))
	starting := known{health: map[string]Health{"a-1": {Starting: true}}, now: now}
	assert.Empty(t, plan(pod, stateWith("ready", "a:running"), starting).written())
	assert.Equal(t, "start b", plan(pod, stateWith("ready", "a:running"), known{now: now}).written())
	assert.Empty(t, plan(pod, stateWith("ready", "b:running", "a:running"), known{
		health: map[string]Health{"a-1": {Starting: true}}, now: now,
	}).written(), "a sidecar that starts again stops nothing that runs")
}
