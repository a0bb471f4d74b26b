package statusmgr_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/statusmgr"
)

var (
	isReady    = statusmgr.Health{Started: true, Ready: true}
	isNotReady = statusmgr.Health{Started: true}
	isStarting = statusmgr.Health{Ready: true}
)

// The worker of a pod may be busy for long. What a probe has found shows without it, and
// as it would show if the worker came.
func TestHealthShowsAtOnceAsItWouldLater(t *testing.T) {
	type words = []string
	tests := map[string]struct {
		containers, runs words
		gate             corev1.ConditionStatus
		id               string
		before, after    statusmgr.Health
		allReady, ready  said
	}{
		"not ready any more": {
			containers: words{"app", "b"}, runs: words{"app#1 running", "app#0 exited 1", "b#0 running"},
			id: "app-1", before: isReady, after: isNotReady,
			allReady: no("ContainersNotReady", "containers with unready status: [app]"),
			ready:    no("ContainersNotReady", "containers with unready status: [app]"),
		},
		"ready": {
			containers: words{"app"}, runs: words{"app#0 running"},
			id: "app-0", before: isNotReady, after: isReady, allReady: yes, ready: yes,
		},
		"started and ready": {
			containers: words{"app"}, runs: words{"app#0 running"},
			id: "app-0", before: isStarting, after: isReady, allReady: yes, ready: yes,
		},
		"ready, but another is not": {
			containers: words{"app", "b"}, runs: words{"app#0 running", "b#0 exited 1"},
			id: "app-0", before: isNotReady, after: isReady,
			allReady: no("ContainersNotReady", "containers with unready status: [b]"),
			ready:    no("ContainersNotReady", "containers with unready status: [b]"),
		},
		"a sidecar not ready any more": {
			containers: words{"init:i", "side:s", "app"}, runs: words{"i#0 exited 0", "s#0 running", "app#0 running"},
			id: "s-0", before: isReady, after: isNotReady,
			allReady: no("ContainersNotReady", "containers with unready status: [s]"),
			ready:    no("ContainersNotReady", "containers with unready status: [s]"),
		},
		"ready, and the gate is open": {
			containers: words{"app"}, runs: words{"app#0 running"}, gate: corev1.ConditionTrue,
			id: "app-0", before: isNotReady, after: isReady, allReady: yes, ready: yes,
		},
		"ready, but the gate is closed": {
			containers: words{"app"}, runs: words{"app#0 running"}, gate: corev1.ConditionFalse,
			id: "app-0", before: isNotReady, after: isReady, allReady: yes,
			ready: no("ReadinessGatesNotReady", `readiness gate "example.org/lb" is "False"`),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inRun(t, statusmgr.Config{}, func(m *statusmgr.Manager, u *fakeUpdater) {
				pod := newPod(always, test.containers...)
				if test.gate != "" {
					pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.org/lb"}}
					pod.Status.Conditions = []corev1.PodCondition{{Type: "example.org/lb", Status: test.gate}}
				}
				in := input(pod, observed(test.runs...))
				in.Now = time.Now()
				in.Health = map[string]statusmgr.Health{"app-0": isReady, "app-1": isReady, "b-0": isReady, "s-0": isReady}
				in.Health[test.id] = test.before
				before := statusmgr.Generate(in)
				m.Set(pod, before)
				time.Sleep(5*time.Minute + 700*time.Millisecond)

				m.SetHealth(pod.UID, test.id, test.after)
				got, _ := m.Get(pod.UID)
				in.Now = time.Now()
				in.Health[test.id] = test.after
				assert.Equal(t, then(before, in), got)
				assert.Equal(t, test.allReady, about(got, corev1.ContainersReady))
				assert.Equal(t, test.ready, about(got, corev1.PodReady))
				synctest.Wait()
				require.Len(t, u.calls, 2)
				assert.Equal(t, got, u.calls[1].Status)
				assert.Equal(t, time.Now(), u.times[1])

				m.SetHealth(pod.UID, test.id, test.after)
				m.Set(pod, then(before, in))
				synctest.Wait()
				assert.Len(t, u.calls, 2, "the worker has nothing to add")
			})
		})
	}
}

// A status that changes nothing but somebody else's condition is not reported, but what a
// probe finds next counts with the gate as it is by then.
func TestHealthCountsWithTheNewestGates(t *testing.T) {
	const gate = "example.org/lb"
	tests := map[string]struct {
		before, after corev1.ConditionStatus
		ready         said
	}{
		"opened": {corev1.ConditionFalse, corev1.ConditionTrue, yes},
		"closed": {corev1.ConditionTrue, corev1.ConditionFalse, no("ReadinessGatesNotReady", `readiness gate "example.org/lb" is "False"`)},
		"new":    {"", corev1.ConditionTrue, yes},
		"gone":   {corev1.ConditionTrue, "", no("ReadinessGatesNotReady", `readiness gate "example.org/lb" has no condition`)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inRun(t, statusmgr.Config{}, func(m *statusmgr.Manager, u *fakeUpdater) {
				pod := newPod(always, "app")
				pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: gate}}
				in := input(pod, observed("app#0 running"))
				in.Health = map[string]statusmgr.Health{"app-0": isNotReady}
				for _, status := range []corev1.ConditionStatus{test.before, test.after} {
					pod.Status.Conditions = nil
					if status != "" {
						pod.Status.Conditions = []corev1.PodCondition{{Type: gate, Status: status}}
					}
					in.Previous, _ = m.Get(pod.UID)
					m.Set(pod, statusmgr.Generate(in))
					in.Now = in.Now.Add(time.Minute)
				}
				synctest.Wait()
				require.Len(t, u.calls, 1)
				got, _ := m.Get(pod.UID)
				assert.Equal(t, test.after, condition(got, gate).Status)
				assert.Equal(t, metav1.NewTime(now), condition(got, corev1.PodReady).LastTransitionTime)

				m.SetHealth(pod.UID, "app-0", isReady)
				got, _ = m.Get(pod.UID)
				assert.Equal(t, test.ready, about(got, corev1.PodReady))
			})
		})
	}
}

func TestHealthOfWhatDoesNotRunIsNotTaken(t *testing.T) {
	pod := newPod(always, "init:i", "app", "down", "debug:d")
	running := statusmgr.Generate(input(pod, observed("i#0 running", "app#1 running", "app#0 exited 1", "down#0 exited 0", "d#0 running")))
	ended := *running.DeepCopy()
	ended.Phase = failed
	tests := map[string]struct {
		status corev1.PodStatus
		uid    types.UID
		id     string
	}{
		"an unknown pod":                   {running, "stranger", "app-1"},
		"an unknown container":             {running, "u1", "app-2"},
		"no container":                     {running, "u1", ""},
		"a container that was replaced":    {running, "u1", "app-0"},
		"a container that has ended":       {running, "u1", "down-0"},
		"an init container":                {running, "u1", "i-0"},
		"an ephemeral container":           {running, "u1", "d-0"},
		"a part of an ID":                  {running, "u1", "pp-1"},
		"a container of a pod that failed": {ended, "u1", "app-1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			changes := 0
			m := statusmgr.New(&fakeUpdater{}, statusmgr.Config{OnChange: func(_, _ *corev1.Pod) { changes++ }})
			m.Set(pod, test.status)
			for _, health := range []statusmgr.Health{{}, isReady, isNotReady} {
				m.SetHealth(test.uid, test.id, health)
			}
			got, _ := m.Get(pod.UID)
			assert.Equal(t, test.status, got)
			assert.Equal(t, 1, changes)
		})
	}
}

func TestTheChangeOfHealthIsTold(t *testing.T) {
	var told [][2]corev1.ConditionStatus
	m := statusmgr.New(&fakeUpdater{}, statusmgr.Config{OnChange: func(previous, current *corev1.Pod) {
		if previous != nil {
			told = append(told, [2]corev1.ConditionStatus{
				condition(previous.Status, corev1.PodReady).Status, condition(current.Status, corev1.PodReady).Status,
			})
		}
	}})
	pod := newPod(always, "app")
	m.Set(pod, statusmgr.Generate(input(pod, observed("app#0 running"))))
	m.SetHealth(pod.UID, "app-0", isNotReady)
	m.SetHealth(pod.UID, "app-0", isNotReady)
	m.SetHealth(pod.UID, "app-0", isReady)
	assert.Equal(t, [][2]corev1.ConditionStatus{{"True", "False"}, {"False", "True"}}, told)
}

func TestHealthShowsInAStatusWithoutConditions(t *testing.T) {
	m := statusmgr.New(&fakeUpdater{}, statusmgr.Config{})
	pod := newPod(always, "app")
	pod.Generation = 3
	status := statusmgr.Generate(input(pod, observed("app#0 running")))
	status.Conditions = nil
	m.Set(pod, status)
	m.SetHealth(pod.UID, "app-0", isNotReady)
	got, _ := m.Get(pod.UID)
	assert.Len(t, got.Conditions, 2)
	assert.Equal(t, corev1.ConditionFalse, condition(got, corev1.PodReady).Status)
	assert.EqualValues(t, 3, condition(got, corev1.PodReady).ObservedGeneration)
}
