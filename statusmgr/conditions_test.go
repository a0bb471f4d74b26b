package statusmgr_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/statusmgr"
)

// said is a condition without its times.
type said struct {
	status          corev1.ConditionStatus
	reason, message string
}

func about(status corev1.PodStatus, kind corev1.PodConditionType) said {
	c := condition(status, kind)
	return said{c.Status, c.Reason, c.Message}
}

var yes = said{status: corev1.ConditionTrue}

func no(reason, message string) said { return said{corev1.ConditionFalse, reason, message} }

func TestConditionsFollowFromContainers(t *testing.T) {
	type words = []string
	tests := map[string]struct {
		policy                corev1.RestartPolicy
		containers, runs      words
		initialized, allReady said
	}{
		"nothing started": {
			policy: always, containers: words{"b", "a"},
			initialized: yes, allReady: no("ContainersNotReady", "containers with unready status: [b a]"),
		},
		"one of two ready": {
			policy: always, containers: words{"a", "b"}, runs: words{"a#0 running"},
			initialized: yes, allReady: no("ContainersNotReady", "containers with unready status: [b]"),
		},
		"all ready": {
			policy: always, containers: words{"init:i", "side:s", "a"}, runs: words{"i#0 exited 0", "s#0 running", "a#0 running"},
			initialized: yes, allReady: yes,
		},
		"an init container is not done": {
			policy: always, containers: words{"init:i", "side:s", "a"}, runs: words{"i#0 running"},
			initialized: no("ContainersNotInitialized", "containers with incomplete status: [i s]"),
			allReady:    no("ContainersNotReady", "containers with unready status: [s a]"),
		},
		"an init container has failed": {
			policy: always, containers: words{"init:i", "a"}, runs: words{"i#0 exited 1"},
			initialized: no("ContainersNotInitialized", "containers with incomplete status: [i]"),
			allReady:    no("ContainersNotReady", "containers with unready status: [a]"),
		},
		"an init container ran out of memory": {
			policy: always, containers: words{"init:i", "a"}, runs: words{"i#0 exited 0 OOMKilled"},
			initialized: no("ContainersNotInitialized", "containers with incomplete status: [i]"),
			allReady:    no("ContainersNotReady", "containers with unready status: [a]"),
		},
		"initialized stays when a sidecar goes down": {
			policy: always, containers: words{"side:s", "a"}, runs: words{"s#0 exited 1", "a#0 running"},
			initialized: yes, allReady: no("ContainersNotReady", "containers with unready status: [s]"),
		},
		"initialized stays when the init container runs again": {
			policy: always, containers: words{"init:i", "a"}, runs: words{"i#1 running", "a#0 exited 137"},
			initialized: yes, allReady: no("ContainersNotReady", "containers with unready status: [a]"),
		},
		"ephemeral containers do not count": {
			policy: always, containers: words{"a", "debug:d"}, runs: words{"a#0 running"},
			initialized: yes, allReady: yes,
		},
		"succeeded": {
			policy: never, containers: words{"init:i", "a"}, runs: words{"a#0 exited 0"},
			initialized: said{status: corev1.ConditionTrue, reason: "PodCompleted"}, allReady: no("PodCompleted", ""),
		},
		"failed": {
			policy: never, containers: words{"a"}, runs: words{"a#0 exited 1"},
			initialized: yes, allReady: no("PodFailed", ""),
		},
		"no containers at all": {
			policy: always, initialized: yes, allReady: no("UnknownContainerStatuses", ""),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status := statusmgr.Generate(input(newPod(test.policy, test.containers...), observed(test.runs...)))
			assert.Equal(t, yes, about(status, corev1.PodScheduled))
			assert.Equal(t, test.initialized, about(status, corev1.PodInitialized))
			assert.Equal(t, test.allReady, about(status, corev1.ContainersReady))
			assert.Equal(t, test.allReady, about(status, corev1.PodReady), "there are no readiness gates")
		})
	}
}

func TestTerminalPodIsNotReadyWhateverRuns(t *testing.T) {
	status := then(corev1.PodStatus{Phase: failed}, input(newPod(always, "app"), observed("app#0 running")))
	assert.Equal(t, no("PodFailed", ""), about(status, corev1.ContainersReady))
	assert.Equal(t, no("PodFailed", ""), about(status, corev1.PodReady))
}

func TestReadinessGates(t *testing.T) {
	gate := corev1.PodConditionType("example.org/lb")
	generate := func(run string, conditions ...corev1.PodCondition) corev1.PodStatus {
		pod := newPod(always, "app")
		pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: gate}}
		pod.Status.Conditions = conditions
		return statusmgr.Generate(input(pod, observed(run)))
	}
	t.Run("without a condition the pod is not ready", func(t *testing.T) {
		status := generate("app#0 running")
		assert.Equal(t, yes, about(status, corev1.ContainersReady))
		assert.Equal(t, no("ReadinessGatesNotReady", `readiness gate "example.org/lb" has no condition`), about(status, corev1.PodReady))
	})
	t.Run("with a false condition the pod is not ready", func(t *testing.T) {
		status := generate("app#0 running", corev1.PodCondition{Type: gate, Status: corev1.ConditionFalse})
		assert.Equal(t, no("ReadinessGatesNotReady", `readiness gate "example.org/lb" is "False"`), about(status, corev1.PodReady))
	})
	t.Run("with a true condition the pod is ready, and the condition is kept", func(t *testing.T) {
		set := corev1.PodCondition{Type: gate, Status: corev1.ConditionTrue, Reason: "Registered", LastTransitionTime: metav1.NewTime(now)}
		status := generate("app#0 running", set)
		assert.Equal(t, yes, about(status, corev1.PodReady))
		assert.Equal(t, set, condition(status, gate))
	})
	t.Run("unready containers are told first", func(t *testing.T) {
		assert.Equal(t, "ContainersNotReady", about(generate("app#0 exited 1"), corev1.PodReady).reason)
	})
}

func TestConditionsOfOthersComeFromThePod(t *testing.T) {
	pod := newPod(always, "app")
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: "example.org/audited", Status: corev1.ConditionTrue},
		{Type: corev1.PodReady, Status: corev1.ConditionUnknown, Reason: "NodeStatusUnknown"},
	}
	previous := corev1.PodStatus{Phase: running, Conditions: []corev1.PodCondition{
		{Type: "example.org/audited", Status: corev1.ConditionFalse},
		{Type: "example.org/withdrawn", Status: corev1.ConditionTrue},
	}}
	status := then(previous, input(pod, observed("app#0 running")))

	assert.Equal(t, corev1.ConditionTrue, condition(status, "example.org/audited").Status)
	assert.Empty(t, condition(status, "example.org/withdrawn"))
	assert.Equal(t, yes, about(status, corev1.PodReady), "the agent's own are not")
	assert.Len(t, status.Conditions, 6)
}

func TestPodReadyToStartContainersFollowsTheSandbox(t *testing.T) {
	type sandboxes = []*runtimeapi.PodSandboxStatus
	tests := map[string]struct {
		sandboxes   sandboxes
		hostNetwork bool
		want        string
	}{
		"one ready with an address":           {sandboxes: sandboxes{sandbox(0, "10.0.0.5")}},
		"a dead one behind it":                {sandboxes: sandboxes{sandbox(1, "10.0.0.5"), stopped(sandbox(0))}},
		"on the host network without address": {sandboxes: sandboxes{hostSandbox()}, hostNetwork: true},
		"none":                                {want: "the pod has no sandbox"},
		"several ready":                       {sandboxes: sandboxes{sandbox(1, "10.0.0.6"), sandbox(0, "10.0.0.5")}, want: "the pod has more than one ready sandbox"},
		"not ready":                           {sandboxes: sandboxes{stopped(sandbox(0, "10.0.0.5"))}, want: "the pod's sandbox is not ready"},
		"the newest not ready":                {sandboxes: sandboxes{stopped(sandbox(1)), sandbox(0, "10.0.0.5")}, want: "the pod's sandbox is not ready"},
		"no address":                          {sandboxes: sandboxes{sandbox(0)}, want: "the pod's sandbox has no IP address"},
		"addresses that are not told":         {sandboxes: sandboxes{{Id: "sandbox-0", State: runtimeapi.PodSandboxState_SANDBOX_READY}}},
		"a network that is not told":          {sandboxes: sandboxes{sandbox(0, "10.0.0.5")}, hostNetwork: true},
		"own network instead of the host's":   {sandboxes: sandboxes{ownSandbox("10.0.0.5")}, hostNetwork: true, want: "the pod's sandbox is not on the network that the pod asks for"},
		"host network instead of one's own":   {sandboxes: sandboxes{hostSandbox()}, want: "the pod's sandbox is not on the network that the pod asks for"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			state := observed()
			state.Sandboxes = test.sandboxes
			pod := newPod(always, "app")
			pod.Spec.HostNetwork = test.hostNetwork
			want := yes
			if test.want != "" {
				want = no("PodSandboxNotReady", test.want)
			}
			assert.Equal(t, want, about(statusmgr.Generate(input(pod, state)), corev1.PodReadyToStartContainers))
		})
	}
	t.Run("is False before the first look at a new pod", func(t *testing.T) {
		status := statusmgr.Generate(input(newPod(always, "app"), nil))
		assert.Equal(t, "PodSandboxNotReady", about(status, corev1.PodReadyToStartContainers).reason)
	})
}

func TestLastTransitionTimeChangesOnlyWithTheStatus(t *testing.T) {
	pod := newPod(always, "a", "b")
	at := func(later time.Duration, previous corev1.PodStatus, runs ...string) corev1.PodStatus {
		in := input(pod, observed(runs...))
		in.Now = now.Add(later)
		return then(previous, in)
	}
	changed := func(status corev1.PodStatus) time.Time {
		return condition(status, corev1.PodReady).LastTransitionTime.Time
	}
	first := at(0, corev1.PodStatus{})
	assert.Equal(t, now, changed(first))

	reason := at(time.Minute, first, "a#0 running")
	assert.NotEqual(t, about(first, corev1.PodReady).message, about(reason, corev1.PodReady).message)
	assert.Equal(t, now, changed(reason), "another message is no transition")

	ready := at(2*time.Minute, reason, "a#0 running", "b#0 running")
	assert.Equal(t, now.Add(2*time.Minute), changed(ready))
	assert.Equal(t, now, condition(ready, corev1.PodScheduled).LastTransitionTime.Time)

	broken := at(3*time.Minute, ready, "a#0 running", "b#0 exited 1")
	assert.Equal(t, now.Add(3*time.Minute), changed(broken))
}

func TestObservedGenerationFollowsThePodAndNeverFalls(t *testing.T) {
	pod := newPod(always, "app")
	pod.Generation = 4
	status := statusmgr.Generate(input(pod, observed()))
	assert.EqualValues(t, 4, status.ObservedGeneration)
	assert.EqualValues(t, 4, condition(status, corev1.PodReady).ObservedGeneration)

	pod.Generation = 3
	status = then(status, input(pod, observed()))
	assert.EqualValues(t, 4, status.ObservedGeneration)
	assert.EqualValues(t, 4, condition(status, corev1.PodReady).ObservedGeneration)

	pod.Generation = 5
	status = then(status, input(pod, observed()))
	assert.EqualValues(t, 5, status.ObservedGeneration)
	assert.EqualValues(t, 5, condition(status, corev1.PodReady).ObservedGeneration)
}

func TestARestartOfAllContainers(t *testing.T) {
	pod := newPod(never, "app", "other")
	in := input(pod, observed("app#0 exited 42", "other#0 exited 0"))
	in.RestartingAll = true
	status := statusmgr.Generate(in)
	assert.Equal(t, corev1.PodRunning, status.Phase)
	assert.Equal(t, corev1.ConditionTrue, condition(status, corev1.AllContainersRestarting).Status)

	in = input(pod, observed("app#1 running")) // the others are removed, and not made again yet
	in.RestartingAll = true
	status = then(status, in)
	assert.Equal(t, corev1.PodRunning, status.Phase)
	other := container(status, "other")
	assert.NotNil(t, other.State.Waiting)
	assert.EqualValues(t, 0, other.LastTerminationState.Terminated.ExitCode)

	status = then(status, input(pod, observed("app#1 running", "other#1 running")))
	assert.Equal(t, corev1.ConditionFalse, condition(status, corev1.AllContainersRestarting).Status)
	assert.EqualValues(t, 1, container(status, "other").RestartCount)
}

func TestAPodThatWasNeverInitializedStaysPendingWhenAllAreRestarted(t *testing.T) {
	pod := newPod(never, "init:i", "app")
	status := statusmgr.Generate(input(pod, observed("i#0 running")))
	assert.Equal(t, pending, status.Phase)
	in := input(pod, observed("i#0 exited 42"))
	in.RestartingAll = true
	assert.Equal(t, pending, then(status, in).Phase)
}

func TestADisruptionIsToldWithTheEnd(t *testing.T) {
	pod := newPod(always, "app")
	in := input(pod, observed("app#0 running"))
	in.Failure = &statusmgr.Failure{Reason: "Evicted", Message: "The node was low on resource: memory.", Disruption: "TerminationByKubelet"}
	status := statusmgr.Generate(in)
	assert.Equal(t, corev1.PodConditionType(""), condition(status, corev1.DisruptionTarget).Type, "not while it runs")

	in.State = observed("app#0 exited 137")
	status = then(status, in)
	want := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
		Reason: "TerminationByKubelet", Message: "The node was low on resource: memory.",
	}
	got := condition(status, corev1.DisruptionTarget)
	got.LastTransitionTime, got.ObservedGeneration = metav1.Time{}, 0
	assert.Equal(t, want, got)
	assert.Equal(t, []string{"Failed", "Evicted"}, []string{string(status.Phase), status.Reason})

	again := then(status, input(pod, observed("app#0 exited 137"))) // by an agent that knows the status only
	assert.Equal(t, condition(status, corev1.DisruptionTarget), condition(again, corev1.DisruptionTarget))
}
