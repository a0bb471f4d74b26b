package statusmgr_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/statusmgr"
)

func names(statuses []corev1.ContainerStatus) []string {
	var names []string
	for _, s := range statuses {
		names = append(names, s.Name)
	}
	return names
}

func TestEverySpecContainerHasOneStatus(t *testing.T) {
	pod := newPod(always, "web", "app", "init:z", "side:b", "debug:y", "debug:x")
	status := statusmgr.Generate(input(pod, observed("app#1 running", "app#0 exited 1", "stranger#0 running")))

	assert.Equal(t, []string{"app", "web"}, names(status.ContainerStatuses), "sorted by name")
	assert.Equal(t, []string{"z", "b"}, names(status.InitContainerStatuses), "in the order of the spec")
	assert.Equal(t, []string{"x", "y"}, names(status.EphemeralContainerStatuses), "sorted by name")
}

func TestContainerThatDoesNotExistYetWaits(t *testing.T) {
	plain := statusmgr.Generate(input(newPod(always, "app"), observed()))
	assert.Equal(t, &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}, container(plain, "app").State.Waiting)
	assert.Equal(t, "example.org/app:1", container(plain, "app").Image)

	withInit := statusmgr.Generate(input(newPod(always, "init:i", "app"), observed()))
	for _, name := range []string{"i", "app"} {
		assert.Equal(t, &corev1.ContainerStateWaiting{Reason: "PodInitializing"}, container(withInit, name).State.Waiting)
	}
}

func TestCreatedContainerWaitsWithoutReason(t *testing.T) {
	status := statusmgr.Generate(input(newPod(always, "app"), observed("app#0 created")))
	assert.Equal(t, &corev1.ContainerStateWaiting{}, container(status, "app").State.Waiting)
	assert.Equal(t, "containerd://app-0", container(status, "app").ContainerID)
}

func TestRunningContainer(t *testing.T) {
	c := container(statusmgr.Generate(input(newPod(always, "app"), observed("app#2 running"))), "app")
	assert.Equal(t, corev1.ContainerStatus{
		Name:         "app",
		State:        corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(-58 * time.Minute))}},
		Ready:        true,
		Started:      new(true),
		RestartCount: 2,
		Image:        "registry.example/app:1",
		ImageID:      "sha256:app",
		ContainerID:  "containerd://app-2",
		Resources:    &corev1.ResourceRequirements{},
	}, c)
}

func TestImageIsTheSpecsWhenTheRuntimeNamesNone(t *testing.T) {
	state := observed("app#0 running")
	state.Containers[0].Image = nil
	assert.Equal(t, "example.org/app:1", container(statusmgr.Generate(input(newPod(always, "app"), state)), "app").Image)
}

func TestExitedContainerTellsHow(t *testing.T) {
	c := container(statusmgr.Generate(input(newPod(always, "app"), observed("app#2 exited 7"))), "app")
	assert.Equal(t, &corev1.ContainerStateTerminated{
		ExitCode:    7,
		Reason:      "Error",
		Message:     "it broke",
		StartedAt:   metav1.NewTime(now.Add(-58 * time.Minute)),
		FinishedAt:  metav1.NewTime(now.Add(-58*time.Minute + 30*time.Second)),
		ContainerID: "containerd://app-2",
	}, c.State.Terminated)
	assert.False(t, c.Ready)
	assert.Equal(t, new(false), c.Started)
}

func TestSecondNewestRunIsTheLastState(t *testing.T) {
	state := observed("app#0 exited 1", "app#1 exited 2", "app#2 running")
	c := container(statusmgr.Generate(input(newPod(always, "app"), state)), "app")
	require.NotNil(t, c.State.Running)
	require.NotNil(t, c.LastTerminationState.Terminated)
	assert.EqualValues(t, 2, c.LastTerminationState.Terminated.ExitCode)
	assert.EqualValues(t, 2, c.RestartCount)
}

func TestLastStateSurvivesWhenTheRuntimeForgets(t *testing.T) {
	pod := newPod(always, "app")
	exit := func(status corev1.PodStatus) *corev1.ContainerStateTerminated {
		return container(status, "app").LastTerminationState.Terminated
	}
	tests := map[string]struct {
		before, after []string
		wantCode      int32
		wantReason    string
	}{
		"the older run was collected":               {[]string{"app#0 exited 3", "app#1 running"}, []string{"app#1 running"}, 3, "Error"},
		"the ended run was replaced and collected":  {[]string{"app#0 exited 4"}, []string{"app#1 running"}, 4, "Error"},
		"a running one was replaced unseen":         {[]string{"app#0 running"}, []string{"app#1 running"}, 137, "ContainerStatusUnknown"},
		"the successor is only created":             {[]string{"app#0 exited 5"}, []string{"app#1 created"}, 5, "Error"},
		"the successor has ended too":               {[]string{"app#0 exited 6"}, []string{"app#1 exited 1"}, 6, "Error"},
		"what is newer in the runtime is preferred": {[]string{"app#0 exited 6"}, []string{"app#1 exited 8", "app#2 running"}, 8, "Error"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := statusmgr.Generate(input(pod, observed(test.before...)))
			after := then(before, input(pod, observed(test.after...)))
			require.NotNil(t, exit(after))
			assert.Equal(t, test.wantCode, exit(after).ExitCode)
			assert.Equal(t, test.wantReason, exit(after).Reason)
		})
	}
	t.Run("a container's own end is not also its last state", func(t *testing.T) {
		before := statusmgr.Generate(input(pod, observed("app#0 exited 1")))
		assert.Nil(t, exit(then(before, input(pod, observed("app#0 exited 1")))))
	})
	t.Run("nor does a second run that goes on hide it", func(t *testing.T) {
		before := statusmgr.Generate(input(pod, observed("app#0 exited 9", "app#1 running")))
		after := then(before, input(pod, observed("app#1 running", "app#2 running")))
		require.NotNil(t, exit(after))
		assert.EqualValues(t, 9, exit(after).ExitCode)
	})
}

func TestVanishedContainer(t *testing.T) {
	pod := newPod(always, "app")
	before := statusmgr.Generate(input(pod, observed("app#2 running")))

	t.Run("that ran is lost, waits and counts a restart", func(t *testing.T) {
		c := container(then(before, input(pod, observed())), "app")
		assert.Equal(t, "ContainerCreating", c.State.Waiting.Reason)
		require.NotNil(t, c.LastTerminationState.Terminated)
		assert.Equal(t, "ContainerStatusUnknown", c.LastTerminationState.Terminated.Reason)
		assert.EqualValues(t, 137, c.LastTerminationState.Terminated.ExitCode)
		assert.Equal(t, "containerd://app-2", c.LastTerminationState.Terminated.ContainerID)
		assert.EqualValues(t, 3, c.RestartCount)
	})
	t.Run("counts one restart however often it is looked for", func(t *testing.T) {
		status := then(before, input(pod, observed()))
		status = then(status, input(pod, observed()))
		assert.EqualValues(t, 3, container(status, "app").RestartCount)
	})
	t.Run("counts no restart in a pod that is being deleted", func(t *testing.T) {
		deleted := pod.DeepCopy()
		deleted.DeletionTimestamp = &metav1.Time{Time: now}
		c := container(then(before, input(deleted, observed())), "app")
		assert.EqualValues(t, 2, c.RestartCount)
		assert.NotNil(t, c.LastTerminationState.Terminated)
	})
	t.Run("that had ended keeps its status", func(t *testing.T) {
		once := newPod(never, "app", "other")
		ended := statusmgr.Generate(input(once, observed("app#0 exited 3", "other#0 running")))
		c := container(then(ended, input(once, observed("other#0 running"))), "app")
		assert.Equal(t, container(ended, "app"), c)
	})
	t.Run("that was waiting keeps count and last state", func(t *testing.T) {
		in := input(pod, observed("app#5 exited 3"))
		in.Waiting = waiting("app", "CrashLoopBackOff")
		crashing := statusmgr.Generate(in)
		c := container(then(crashing, input(pod, observed())), "app")
		assert.EqualValues(t, 5, c.RestartCount)
		require.NotNil(t, c.LastTerminationState.Terminated)
		assert.EqualValues(t, 3, c.LastTerminationState.Terminated.ExitCode)
	})
	t.Run("does not count as ended in a pod that may restart it", func(t *testing.T) {
		assert.Equal(t, running, then(before, input(pod, observed())).Phase)
	})
	t.Run("that ran to its unseen end fails a pod that may not restart it", func(t *testing.T) {
		once := newPod(never, "app")
		ran := statusmgr.Generate(input(once, observed("app#0 running")))
		assert.Equal(t, failed, then(ran, input(once, observed())).Phase)
	})
}

func TestNothingVanishesBeforeTheFirstLook(t *testing.T) {
	pod := newPod(always, "init:i", "app", "new")
	before := statusmgr.Generate(input(newPod(always, "init:i", "app"), observed("i#0 exited 0", "app#2 running")))
	status := then(before, input(pod, nil))

	assert.Equal(t, container(before, "app"), container(status, "app"))
	assert.Equal(t, container(before, "i"), container(status, "i"))
	assert.Equal(t, "PodInitializing", container(status, "new").State.Waiting.Reason)
	assert.Equal(t, corev1.ConditionTrue, condition(status, corev1.PodReadyToStartContainers).Status)
	assert.Equal(t, "10.0.0.5", status.PodIP)
}

func TestContainerInUnknownState(t *testing.T) {
	pod := newPod(always, "app")
	before := statusmgr.Generate(input(pod, observed("app#2 running")))

	t.Run("that ran is terminated with 137", func(t *testing.T) {
		c := container(then(before, input(pod, observed("app#2 unknown"))), "app")
		require.NotNil(t, c.State.Terminated)
		assert.Equal(t, "ContainerStatusUnknown", c.State.Terminated.Reason)
		assert.EqualValues(t, 137, c.State.Terminated.ExitCode)
		assert.EqualValues(t, 3, c.RestartCount)
	})
	t.Run("whose end was seen keeps it", func(t *testing.T) {
		ended := statusmgr.Generate(input(pod, observed("app#2 exited 4")))
		c := container(then(ended, input(pod, observed("app#2 unknown"))), "app")
		require.NotNil(t, c.State.Terminated)
		assert.EqualValues(t, 4, c.State.Terminated.ExitCode)
		assert.EqualValues(t, 2, c.RestartCount)
	})
	t.Run("keeps its end through a back-off", func(t *testing.T) {
		in := input(pod, observed("app#2 unknown"))
		in.Waiting = waiting("app", "CrashLoopBackOff")
		status := then(then(before, in), in)
		c := container(then(status, in), "app")
		require.NotNil(t, c.State.Waiting)
		require.NotNil(t, c.LastTerminationState.Terminated)
		assert.EqualValues(t, 137, c.LastTerminationState.Terminated.ExitCode)
		assert.EqualValues(t, 3, c.RestartCount)
	})
	t.Run("that was never seen running waits", func(t *testing.T) {
		c := container(statusmgr.Generate(input(pod, observed("app#0 unknown"))), "app")
		assert.NotNil(t, c.State.Waiting)
	})
}

func TestRestartCountNeverFalls(t *testing.T) {
	pod := newPod(always, "app")
	before := statusmgr.Generate(input(pod, observed("app#7 exited 1")))
	tests := map[string]struct {
		state *cri.PodState
		want  int32
	}{
		"the runtime starts over":    {observed("app#0 running"), 7},
		"the runtime goes on":        {observed("app#8 running"), 8},
		"the runtime lost it":        {observed(), 7},
		"nothing was observed":       {nil, 7},
		"the annotation is no count": {annotated("app#8 running", "many"), 7},
		"the annotation is too big":  {annotated("app#8 running", "3000000000"), math.MaxInt32},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, container(then(before, input(pod, test.state)), "app").RestartCount)
		})
	}
}

func annotated(line, restartCount string) *cri.PodState {
	state := observed(line)
	state.Containers[0].Annotations[cri.AnnotationRestartCount] = restartCount
	return state
}

func TestReasonNotToStartShowsAsWaiting(t *testing.T) {
	tests := map[string]struct {
		policy   corev1.RestartPolicy
		run      []string
		reason   string
		wantLast bool
	}{
		"never created":                {always, nil, "ErrImagePull", false},
		"created but not started":      {always, []string{"app#0 created"}, "RunContainerError", false},
		"out of memory, Always":        {always, []string{"app#0 exited 0 OOMKilled"}, "CrashLoopBackOff", true},
		"ended, to be restarted":       {always, []string{"app#0 exited 1"}, "CrashLoopBackOff", true},
		"ended well, Always":           {always, []string{"app#0 exited 0"}, "CrashLoopBackOff", true},
		"failed, OnFailure":            {onFailure, []string{"app#0 exited 1"}, "ImagePullBackOff", true},
		"never created in a Never pod": {never, nil, "CreateContainerConfigError", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := input(newPod(test.policy, "app"), observed(test.run...))
			in.Waiting = waiting("app", test.reason)
			c := container(statusmgr.Generate(in), "app")
			assert.Equal(t, &corev1.ContainerStateWaiting{Reason: test.reason, Message: "because of " + test.reason}, c.State.Waiting)
			assert.Nil(t, c.State.Terminated)
			assert.Equal(t, test.wantLast, c.LastTerminationState.Terminated != nil)
			assert.False(t, c.Ready)
		})
	}
}

func TestReasonNotToStartIsIgnoredWhereNothingIsToStart(t *testing.T) {
	deleted := func(pod *corev1.Pod) *corev1.Pod {
		pod.DeletionTimestamp = &metav1.Time{Time: now}
		return pod
	}
	tests := map[string]struct {
		pod      *corev1.Pod
		runs     []string
		name     string
		finished bool
	}{
		"running":                  {newPod(always, "app"), []string{"app#0 running"}, "app", false},
		"ended, Never":             {newPod(never, "app"), []string{"app#0 exited 1"}, "app", false},
		"done, OnFailure":          {newPod(onFailure, "app"), []string{"app#0 exited 0"}, "app", false},
		"out of memory, OnFailure": {newPod(onFailure, "app"), []string{"app#0 exited 0 OOMKilled"}, "app", false},
		"out of memory, Never":     {newPod(never, "init:i", "app"), []string{"i#0 exited 0 OOMKilled"}, "i", false},
		"init container is done":   {newPod(always, "init:i", "app"), []string{"i#0 exited 0"}, "i", false},
		"ephemeral container done": {newPod(always, "app", "debug:d"), []string{"d#0 exited 1"}, "d", false},
		"pod is being deleted":     {deleted(newPod(always, "app")), []string{"app#0 exited 1"}, "app", false},
		"pod is finished":          {newPod(always, "app"), []string{"app#0 exited 1"}, "app", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := input(test.pod, observed(test.runs...))
			in.Finished = test.finished
			in.Waiting = waiting(test.name, "CrashLoopBackOff")
			assert.Nil(t, container(statusmgr.Generate(in), test.name).State.Waiting)
		})
	}
}

func TestAnInitContainerThatRanOutOfMemoryMayBeInACrashLoop(t *testing.T) {
	in := input(newPod(onFailure, "init:i", "app"), observed("i#0 exited 0 OOMKilled"))
	in.Waiting = waiting("i", "CrashLoopBackOff")
	status := statusmgr.Generate(in)
	require.NotNil(t, container(status, "i").State.Waiting)
	assert.Equal(t, "CrashLoopBackOff", container(status, "i").State.Waiting.Reason)
	assert.Equal(t, "OOMKilled", container(status, "i").LastTerminationState.Terminated.Reason)
	assert.False(t, container(status, "i").Ready)
	assert.Equal(t, pending, status.Phase)
}

func TestCrashLoopKeepsTheLastExit(t *testing.T) {
	pod := newPod(always, "app")
	in := input(pod, observed("app#4 exited 1", "app#5 exited 2"))
	in.Waiting = waiting("app", "CrashLoopBackOff")
	status := statusmgr.Generate(in)
	for range 3 {
		c := container(status, "app")
		assert.Equal(t, "CrashLoopBackOff", c.State.Waiting.Reason)
		require.NotNil(t, c.LastTerminationState.Terminated)
		assert.EqualValues(t, 2, c.LastTerminationState.Terminated.ExitCode)
		assert.EqualValues(t, 5, c.RestartCount)
		assert.Equal(t, "containerd://app-5", c.ContainerID)
		status = then(status, in)
	}

	restarted := then(status, input(pod, observed("app#5 exited 2", "app#6 running")))
	assert.EqualValues(t, 2, container(restarted, "app").LastTerminationState.Terminated.ExitCode)
}

func TestInitContainerGoneAfterInitialization(t *testing.T) {
	pod := newPod(always, "init:i", "side:s", "app")

	t.Run("is completed though it ran out of memory once", func(t *testing.T) {
		before := statusmgr.Generate(input(pod, observed("s#0 running", "i#0 exited 0 OOMKilled")))
		status := then(before, input(pod, observed("s#0 running", "app#0 running")))
		assert.Equal(t, "Completed", container(status, "i").State.Terminated.Reason)
		assert.Equal(t, yes, about(status, corev1.PodInitialized))
	})

	t.Run("is completed", func(t *testing.T) {
		status := statusmgr.Generate(input(pod, observed("s#0 running", "app#0 running")))
		c := container(status, "i")
		require.NotNil(t, c.State.Terminated)
		assert.Equal(t, "Completed", c.State.Terminated.Reason)
		assert.Zero(t, c.State.Terminated.ExitCode)
		assert.True(t, c.Ready)
		assert.Equal(t, running, status.Phase)
	})
	t.Run("is completed even if the last run seen had failed", func(t *testing.T) {
		before := statusmgr.Generate(input(pod, observed("i#0 exited 1")))
		status := then(before, input(pod, observed("s#0 running", "app#0 running")))
		assert.Zero(t, container(status, "i").State.Terminated.ExitCode)
		assert.Equal(t, running, status.Phase)
	})
	t.Run("is not if it is a sidecar", func(t *testing.T) {
		status := statusmgr.Generate(input(pod, observed("i#0 exited 0", "app#0 running")))
		assert.NotNil(t, container(status, "s").State.Waiting)
	})
	t.Run("is not if only an older sandbox was initialized", func(t *testing.T) {
		state := observed("app#0 exited 137")
		state.Sandboxes = []*runtimeapi.PodSandboxStatus{sandbox(1, "10.0.0.6"), stopped(sandbox(0, "10.0.0.5"))}
		status := statusmgr.Generate(input(pod, state))
		assert.NotNil(t, container(status, "i").State.Waiting)
		assert.Equal(t, pending, status.Phase)
	})
	t.Run("is completed if no sandbox is left to tell", func(t *testing.T) {
		state := observed("app#0 exited 0")
		state.Sandboxes = nil
		assert.NotNil(t, container(statusmgr.Generate(input(pod, state)), "i").State.Terminated)
	})
}

func TestStartedAndReadyWithoutProbes(t *testing.T) {
	pod := newPod(always, "init:done", "init:busy", "side:s", "app", "down", "debug:d")
	pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{}
	pod.Spec.Containers[0].StartupProbe = &corev1.Probe{}
	status := statusmgr.Generate(input(pod, observed(
		"done#0 exited 0", "busy#0 running", "s#0 running", "app#0 running", "down#0 exited 1", "d#0 running")))
	tests := map[string]struct {
		started *bool
		ready   bool
	}{
		"done": {new(false), true},
		"busy": {new(true), false},
		"s":    {new(true), true},
		"app":  {new(true), true},
		"down": {new(false), false},
		"d":    {nil, false},
	}
	for name, want := range tests {
		assert.Equal(t, want.started, container(status, name).Started, "started of %s", name)
		assert.Equal(t, want.ready, container(status, name).Ready, "ready of %s", name)
	}
}

func TestStartedAndReadyByProbes(t *testing.T) {
	probed := newPod(always, "app")
	probed.Spec.Containers[0].ReadinessProbe = &corev1.Probe{}
	probed.Spec.Containers[0].StartupProbe = &corev1.Probe{}
	plain := newPod(always, "app")
	good, running := statusmgr.Health{Started: true, Ready: true}, observed("app#0 running")
	id := running.Containers[0].GetId()
	wasGood := input(probed, running)
	wasGood.Health = map[string]statusmgr.Health{id: good}
	before := statusmgr.Generate(wasGood)
	for name, row := range map[string]struct {
		pod            *corev1.Pod
		health         map[string]statusmgr.Health
		previous       corev1.PodStatus
		state          *cri.PodState
		started, ready bool
	}{
		"both probes succeed":               {probed, map[string]statusmgr.Health{id: good}, corev1.PodStatus{}, running, true, true},
		"starting":                          {probed, map[string]statusmgr.Health{id: {Ready: true}}, corev1.PodStatus{}, running, false, false},
		"not ready any more":                {probed, map[string]statusmgr.Health{id: {Started: true}}, before, running, true, false},
		"new, nothing found yet":            {probed, map[string]statusmgr.Health{}, corev1.PodStatus{}, running, false, false},
		"new, without probes":               {plain, map[string]statusmgr.Health{}, corev1.PodStatus{}, running, true, true},
		"known, nothing found since":        {probed, map[string]statusmgr.Health{}, before, running, true, true},
		"restarted, nothing found yet":      {probed, map[string]statusmgr.Health{}, before, observed("app#1 running", "app#0 exited 1"), false, false},
		"what was found of one that is old": {probed, map[string]statusmgr.Health{id: good}, before, observed("app#1 running", "app#0 exited 1"), false, false},
		"exited":                            {probed, map[string]statusmgr.Health{id: good}, before, observed("app#0 exited 1"), false, false},
		"nobody probes":                     {probed, nil, corev1.PodStatus{}, running, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			in := input(row.pod, row.state)
			in.Health = row.health
			app := container(then(row.previous, in), "app")
			assert.Equal(t, row.started, *app.Started)
			assert.Equal(t, row.ready, app.Ready)
		})
	}
}

func TestFinishedPodHasAnEndForEachContainerThatRan(t *testing.T) {
	finish := func(pod *corev1.Pod, previous corev1.PodStatus, runs ...string) corev1.PodStatus {
		in := input(pod, observed(runs...))
		in.Finished = true
		return then(previous, in)
	}
	lost := func(t *testing.T, c corev1.ContainerStatus) {
		t.Helper()
		require.NotNil(t, c.State.Terminated)
		assert.Equal(t, "ContainerStatusUnknown", c.State.Terminated.Reason)
		assert.EqualValues(t, 137, c.State.Terminated.ExitCode)
		assert.False(t, c.Ready)
	}
	t.Run("a known end is kept", func(t *testing.T) {
		pod := newPod(always, "app")
		assert.EqualValues(t, 3, container(finish(pod, corev1.PodStatus{}, "app#0 exited 3"), "app").State.Terminated.ExitCode)
	})
	t.Run("one that ran and is gone is lost, without a restart", func(t *testing.T) {
		pod := newPod(always, "app")
		before := statusmgr.Generate(input(pod, observed("app#2 running")))
		c := container(finish(pod, before), "app")
		lost(t, c)
		assert.EqualValues(t, 2, c.RestartCount)
		assert.Nil(t, c.LastTerminationState.Terminated)
	})
	t.Run("in a pod without init containers even if never started", func(t *testing.T) {
		lost(t, container(finish(newPod(always, "app"), corev1.PodStatus{}), "app"))
	})
	t.Run("an uninitialized pod's regular containers stay waiting", func(t *testing.T) {
		pod := newPod(always, "init:i", "init:j", "app")
		before := statusmgr.Generate(input(pod, observed("i#0 running")))
		status := finish(pod, before)
		lost(t, container(status, "i"))
		assert.NotNil(t, container(status, "j").State.Waiting)
		assert.NotNil(t, container(status, "app").State.Waiting)
	})
	t.Run("init containers before one that ran have ended too", func(t *testing.T) {
		pod := newPod(always, "side:s", "init:j", "app")
		status := finish(pod, corev1.PodStatus{}, "j#0 exited 1")
		lost(t, container(status, "s"))
		assert.EqualValues(t, 1, container(status, "j").State.Terminated.ExitCode)
	})
	t.Run("ephemeral containers that ran", func(t *testing.T) {
		pod := newPod(always, "app", "debug:d", "debug:e")
		status := finish(pod, corev1.PodStatus{}, "app#0 exited 0", "d#0 running")
		lost(t, container(status, "d"))
		assert.NotNil(t, container(status, "e").State.Waiting)
	})
}

// A new sandbox is initialized anew: how an init container ended in the one before
// decides nothing any more, and is its last state.
func TestAnInitContainerOfAnEarlierSandboxIsStillToRun(t *testing.T) {
	pod := newPod(onFailure, "init:i", "app")
	pod.Spec.InitContainers[0].RestartPolicy = new(corev1.ContainerRestartPolicyNever)
	before := statusmgr.Generate(input(pod, observed("i#0 running")))
	state := observed("i#0 exited 143")
	state.Sandboxes = append([]*runtimeapi.PodSandboxStatus{sandbox(1, "10.0.0.6")}, state.Sandboxes...)
	status := then(before, input(pod, state))
	i := container(status, "i")
	assert.Equal(t, pending, status.Phase)
	require.NotNil(t, i.State.Waiting)
	assert.EqualValues(t, 143, i.LastTerminationState.Terminated.ExitCode)

	notReady := state.Sandboxes[0]
	notReady.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	assert.NotNil(t, container(then(before, input(pod, state)), "i").State.Terminated, "a sandbox that is lost begins nothing")
}
