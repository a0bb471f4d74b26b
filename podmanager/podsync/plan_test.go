package podsync

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// now is when the tests observe.
var now = time.Unix(1_000_000, 0)

// podWith is a pod of containers that are written "name" or "name=image"; "init:",
// "sidecar:" and "ephemeral:" in front make those.
func podWith(policy corev1.RestartPolicy, containers ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid"},
		Spec:       corev1.PodSpec{RestartPolicy: policy},
	}
	for _, written := range containers {
		kind, name, found := strings.Cut(written, ":")
		if !found {
			kind, name = "", written
		}
		name, image, found := strings.Cut(name, "=")
		if !found {
			image = "image"
		}
		container := corev1.Container{Name: name, Image: image}
		switch kind {
		case "ephemeral":
			pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{
				EphemeralContainerCommon: corev1.EphemeralContainerCommon(container),
			})
		case "sidecar":
			always := corev1.ContainerRestartPolicyAlways
			container.RestartPolicy = &always
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, container)
		case "init":
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, container)
		default:
			pod.Spec.Containers = append(pod.Spec.Containers, container)
		}
	}
	return pod
}

// stateWith is an observation, written newest first: "ready", "notready" or
// "ready@host" are sandboxes; "app:running", "app:exited(1)", "app:created" and
// "app:unknown" containers in the sandbox that was written last before them.
func stateWith(parts ...string) *cri.PodState {
	state := &cri.PodState{UID: "uid"}
	sandboxes := 0
	for _, part := range parts {
		if !strings.Contains(part, ":") {
			sandboxes++
		}
	}
	var current *runtimeapi.PodSandboxStatus
	for i, part := range parts {
		name, how, isContainer := strings.Cut(part, ":")
		if !isContainer {
			current = sandboxWith(part, sandboxes-len(state.Sandboxes)-1)
			state.Sandboxes = append(state.Sandboxes, current)
			continue
		}
		state.Containers = append(state.Containers, containerWith(name, how, current.GetId(), len(parts)-i))
	}
	return state
}

func sandboxWith(how string, attempt int) *runtimeapi.PodSandboxStatus {
	namespaces := &runtimeapi.NamespaceOption{}
	sandbox := &runtimeapi.PodSandboxStatus{
		Id:       fmt.Sprintf("sandbox-%d", attempt),
		Metadata: &runtimeapi.PodSandboxMetadata{Attempt: uint32(attempt)},
		State:    runtimeapi.PodSandboxState_SANDBOX_READY,
		Network:  &runtimeapi.PodSandboxNetworkStatus{Ip: "10.0.0.1"},
		Linux:    &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: namespaces}},
	}
	switch how {
	case "notready":
		sandbox.State = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	case "ready@host":
		sandbox.Network.Ip = ""
		namespaces.Network = runtimeapi.NamespaceMode_NODE
	case "ready-without-address":
		sandbox.Network.Ip = ""
	case "ready-without-network":
		sandbox.Network = nil
	case "ready-without-namespaces":
		sandbox.Linux, sandbox.Network.Ip = nil, ""
	}
	return sandbox
}

func containerWith(name, how, sandbox string, age int) *cri.Container {
	name, image, found := strings.Cut(name, "=")
	if !found {
		image = "image"
	}
	status := &runtimeapi.ContainerStatus{
		Id:          fmt.Sprintf("%s-%d", name, age),
		CreatedAt:   int64(age),
		Labels:      map[string]string{cri.LabelContainerName: name},
		Annotations: cri.ContainerAnnotations(&corev1.Pod{}, &corev1.Container{Name: name, Image: image}, 0),
	}
	switch how {
	case "running":
		status.State = runtimeapi.ContainerState_CONTAINER_RUNNING
	case "created":
		status.State = runtimeapi.ContainerState_CONTAINER_CREATED
	case "unknown":
		status.State = runtimeapi.ContainerState_CONTAINER_UNKNOWN
	case "oom":
		status.State, status.Reason = runtimeapi.ContainerState_CONTAINER_EXITED, reasonOOMKilled
		status.FinishedAt = now.Add(-time.Second).UnixNano()
	default:
		if _, err := fmt.Sscanf(how, "exited(%d)", &status.ExitCode); err != nil {
			panic("cannot read the container state " + how)
		}
		status.State = runtimeapi.ContainerState_CONTAINER_EXITED
		status.FinishedAt = now.Add(-time.Second).UnixNano()
	}
	return &cri.Container{SandboxID: sandbox, ContainerStatus: status}
}

// written gives actions as text, in the order in which they are done.
func (a actions) written() string {
	var parts []string
	if a.finished {
		parts = append(parts, "finished")
	}
	if a.newSandbox {
		parts = append(parts, fmt.Sprintf("sandbox %d", a.attempt))
	}
	for _, s := range a.stop {
		parts = append(parts, "stop "+s.container.GetId())
	}
	for _, c := range a.remove {
		parts = append(parts, "remove "+c.GetId())
	}
	for _, s := range a.start {
		parts = append(parts, "start "+s.spec.Name)
	}
	for name := range a.waiting {
		parts = append(parts, "wait "+name)
	}
	return strings.Join(parts, ", ")
}

func TestPlan(t *testing.T) {
	const (
		always    = corev1.RestartPolicyAlways
		onFailure = corev1.RestartPolicyOnFailure
		never     = corev1.RestartPolicyNever
	)
	for _, row := range []struct {
		name  string
		pod   *corev1.Pod
		state *cri.PodState
		want  string
	}{
		{"a new pod", podWith(always, "a", "b"), stateWith(), "sandbox 0, start a, start b"},
		{"a sandbox that is ready and empty is used", podWith(always, "a"), stateWith("ready"), "start a"},
		{"everything runs", podWith(always, "a", "b"), stateWith("ready", "a:running", "b:running"), ""},
		{"one of two is missing", podWith(always, "a", "b"), stateWith("ready", "a:running"), "start b"},

		{"exited, Always", podWith(always, "a"), stateWith("ready", "a:exited(0)"), "start a"},
		{"failed, OnFailure", podWith(onFailure, "a"), stateWith("ready", "a:exited(1)"), "start a"},
		{"succeeded, OnFailure", podWith(onFailure, "a"), stateWith("ready", "a:exited(0)"), "finished"},
		{"out of memory with code 0, Always", podWith(always, "a"), stateWith("ready", "a:oom"), "start a"},
		{"out of memory with code 0, OnFailure", podWith(onFailure, "a"), stateWith("ready", "a:oom"), "finished"},
		{"out of memory with code 0, Never", podWith(never, "a"), stateWith("ready", "a:oom"), "finished"},
		{"failed, Never", podWith(never, "a"), stateWith("ready", "a:exited(1)"), "finished"},
		{"one done, one runs, Never", podWith(never, "a", "b"), stateWith("ready", "a:exited(0)", "b:running"), ""},
		{"one done, one failed, OnFailure", podWith(onFailure, "a", "b"), stateWith("ready", "a:exited(0)", "b:exited(1)"), "start b"},
		{"the newest instance counts", podWith(onFailure, "a"), stateWith("ready", "a:exited(0)", "a:exited(1)"), "finished"},

		{"image changed", podWith(always, "a=new", "b"), stateWith("ready", "a:running", "b:running"), "stop a-2, start a"},
		{"image changed, Never", podWith(never, "a=new"), stateWith("ready", "a:running"), "stop a-1, start a"},
		{"created but never started", podWith(always, "a"), stateWith("ready", "a:created"), "remove a-1, start a"},
		{"created but never started, Never", podWith(never, "a"), stateWith("ready", "a:created"), "remove a-1, start a"},
		{"unknown state is killed and restarted", podWith(always, "a"), stateWith("ready", "a:unknown"), "stop a-1, start a"},
		{"unknown state is killed only, Never", podWith(never, "a"), stateWith("ready", "a:unknown"), "stop a-1"},

		{"sandbox lost", podWith(always, "a", "b"), stateWith("notready", "a:exited(0)", "b:exited(1)"), "sandbox 1, start a, start b"},
		{"sandbox lost twice", podWith(always, "a"), stateWith("notready", "notready", "a:exited(0)"), "sandbox 2, start a"},
		{"sandbox lost while its container runs on", podWith(always, "a"), stateWith("notready", "a:running"), "sandbox 1, start a"},
		{"sandbox lost before any container, Never", podWith(never, "a"), stateWith("notready"), "sandbox 1, start a"},
		{"sandbox lost, Never", podWith(never, "a"), stateWith("notready", "a:exited(255)"), "finished"},
		{"sandbox lost, one never created, Never", podWith(never, "a", "b"), stateWith("notready", "a:exited(255)"), "finished"},
		{"sandbox lost, all succeeded, OnFailure", podWith(onFailure, "a"), stateWith("notready", "a:exited(0)"), "finished"},
		{"sandbox lost, one succeeded, OnFailure", podWith(onFailure, "a", "b"), stateWith("notready", "a:exited(0)", "b:exited(255)"), "sandbox 1, start b"},
		{"two ready sandboxes", podWith(always, "a"), stateWith("ready", "ready", "a:running"), "sandbox 2, start a"},
		{"an older sandbox is ready", podWith(always, "a"), stateWith("notready", "ready", "a:running"), "sandbox 2, start a"},
		{"the pod wants the host's network", hostNetwork(podWith(always, "a")), stateWith("ready", "a:running"), "sandbox 1, start a"},
		{"the pod has the host's network", hostNetwork(podWith(always, "a")), stateWith("ready@host", "a:running"), ""},
		{"the sandbox lost its address", podWith(always, "a"), stateWith("ready-without-address", "a:running"), "sandbox 1, start a"},
		{"the runtime tells nothing of the network", podWith(always, "a"), stateWith("ready-without-network", "a:running"), ""},
		{"the runtime tells nothing of namespaces", hostNetwork(podWith(always, "a")), stateWith("ready-without-namespaces", "a:running"), ""},
		{"sandbox lost before its container was started", podWith(always, "a"), stateWith("notready", "a:created"), "sandbox 1, remove a-1, start a"},
		{"sandbox lost before its init container was started", podWith(always, "init:i", "a"), stateWith("notready", "i:created"), "sandbox 1, remove i-1, start i"},
		{"an init container of a lost sandbox was never started", podWith(always, "init:i", "a"), stateWith("ready", "notready", "i:created"), "remove i-1, start i"},
		{"a sidecar of a lost sandbox was never started", podWith(always, "sidecar:s", "init:i", "a"), stateWith("ready", "i:exited(0)", "notready", "s:created"), "remove s-1, start s, start a"},
		{"an init container of a lost sandbox runs on", podWith(always, "init:i", "a"), stateWith("ready", "notready", "i:running"), "stop i-1, start i"},
		{"a container that the spec has no more", podWith(always, "a"), stateWith("ready", "b:running", "a:running"), "stop b-2"},
		{"an ephemeral container is left alone", ephemeral(podWith(always, "a"), "b"), stateWith("ready", "b:running", "a:running"), ""},

		{"init containers come first, one by one", podWith(always, "init:i", "init:j", "a"), stateWith(), "sandbox 0, start i"},
		{"the first init container runs", podWith(always, "init:i", "init:j", "a"), stateWith("ready", "i:running"), ""},
		{"the second follows the first", podWith(always, "init:i", "init:j", "a"), stateWith("ready", "i:exited(0)"), "start j"},
		{"the first was collected", podWith(always, "init:i", "init:j", "a"), stateWith("ready", "j:running"), ""},
		{"initialized", podWith(always, "init:i", "init:j", "a"), stateWith("ready", "j:exited(0)", "i:exited(0)"), "start a"},
		{"all init containers were collected", podWith(always, "init:i", "a", "b"), stateWith("ready", "a:running"), "start b"},
		{"an init container fails", podWith(onFailure, "init:i", "a"), stateWith("ready", "i:exited(1)"), "start i"},
		{"an init container fails, Never", podWith(never, "init:i", "a"), stateWith("ready", "i:exited(1)"), "finished"},
		{"an init container runs out of memory with code 0", podWith(always, "init:i", "a"), stateWith("ready", "i:oom"), "start i"},
		{"an init container runs out of memory with code 0, OnFailure", podWith(onFailure, "init:i", "a"), stateWith("ready", "i:oom"), "start i"},
		{"an init container runs out of memory with code 0, Never", podWith(never, "init:i", "a"), stateWith("ready", "i:oom"), "finished"},
		{"a new sandbox initializes anew", podWith(always, "init:i", "a"), stateWith("ready", "notready", "a:exited(0)", "i:exited(0)"), "start i"},

		{"a sidecar starts before the rest", podWith(always, "sidecar:s", "a"), stateWith("ready"), "start s"},
		{"the rest follows when the sidecar runs", podWith(always, "sidecar:s", "a"), stateWith("ready", "s:running"), "start a"},
		{"the next init container follows a sidecar", podWith(always, "sidecar:s", "init:i", "a"), stateWith("ready", "s:running"), "start i"},
		{"a sidecar that died is restarted while others initialize", podWith(never, "sidecar:s", "init:i", "a"), stateWith("ready", "i:running", "s:exited(1)"), "start s"},
		{"a sidecar is restarted whatever the policy", podWith(never, "sidecar:s", "a"), stateWith("ready", "a:running", "s:exited(0)"), "start s"},
		{"a sidecar is restarted after a success, OnFailure", podWith(onFailure, "sidecar:s", "a"), stateWith("ready", "a:running", "s:exited(0)"), "start s"},
		{"a sidecar with a new image, Never, while others initialize", podWith(never, "sidecar:s=new", "init:i", "a"), stateWith("ready", "i:running", "s:running"), "stop s-1, start s"},
		{"a sidecar out of memory with code 0", podWith(never, "sidecar:s", "a"), stateWith("ready", "a:running", "s:oom"), "start s"},
		{"a sidecar does not keep the pod alive", podWith(never, "sidecar:s", "a"), stateWith("ready", "a:exited(0)", "s:running"), "finished"},
		{"an ephemeral container waits for a sandbox", podWith(always, "a", "ephemeral:e"), stateWith("notready", "a:running"), "sandbox 1, start a"},
		{"an ephemeral container is started once", podWith(always, "a", "ephemeral:e"), stateWith("ready", "a:running"), "start e"},
		{"an ephemeral container is never restarted", podWith(always, "a", "ephemeral:e"), stateWith("ready", "a:running", "e:exited(1)"), ""},
		{"an ephemeral container with a new image runs on", podWith(always, "a", "ephemeral:e=new"), stateWith("ready", "a:running", "e:running"), ""},
		{"an ephemeral container comes before the init containers", podWith(always, "init:i", "a", "ephemeral:e"), stateWith("ready", "i:running"), "start e"},
		{"an ephemeral container whose start was torn", podWith(always, "a", "ephemeral:e"), stateWith("ready", "a:running", "e:created"), "remove e-1, start e"},
		{"an ephemeral container does not keep the pod alive", podWith(never, "a", "ephemeral:e"), stateWith("ready", "a:exited(0)", "e:running"), "finished"},
		{"a sidecar with a new image", podWith(always, "sidecar:s=new", "a"), stateWith("ready", "a:running", "s:running"), "stop s-1, start s"},
	} {
		t.Run(row.name, func(t *testing.T) {
			assert.Equal(t, row.want, plan(row.pod, row.state, known{now: now}).written())
		})
	}
}

func ephemeral(pod *corev1.Pod, name string) *corev1.Pod {
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{
		{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: name, Image: "image"}},
	}
	return pod
}

func hostNetwork(pod *corev1.Pod) *corev1.Pod {
	pod.Spec.HostNetwork = true
	return pod
}

func TestADeletedPodRestartsNothing(t *testing.T) {
	pod := podWith(corev1.RestartPolicyAlways, "a")
	pod.DeletionTimestamp = &metav1.Time{Time: now}
	assert.Equal(t, "finished", plan(pod, stateWith("ready", "a:exited(1)"), known{now: now}).written())
}

func TestARestartWaitsForTheBackOff(t *testing.T) {
	pod, state := podWith(corev1.RestartPolicyAlways, "a", "b"), stateWith("ready", "a:exited(1)", "b:running")
	crashes := map[string]crash{crashKey(&pod.Spec.Containers[0]): {delay: 20 * time.Second, armed: now.Add(-time.Minute)}}

	todo := plan(pod, state, known{crashes: crashes, now: now})
	assert.Equal(t, "wait a", todo.written())
	assert.Equal(t, now.Add(19*time.Second), todo.retryAt)
	assert.Equal(t, corev1.ContainerStateWaiting{
		Reason:  "CrashLoopBackOff",
		Message: "back-off 20s restarting failed container=a pod=web_shop(uid)",
	}, todo.waiting["a"])
	assert.Equal(t, "start a", plan(pod, state, known{crashes: crashes, now: todo.retryAt}).written())
}

func TestABackOffKeepsThePodAlive(t *testing.T) {
	pod := podWith(corev1.RestartPolicyAlways, "a")
	crashes := map[string]crash{crashKey(&pod.Spec.Containers[0]): {delay: time.Minute, armed: now.Add(-time.Minute)}}
	assert.False(t, plan(pod, stateWith("ready", "a:exited(1)"), known{crashes: crashes, now: now}).finished)
}

func TestAnotherImageDoesNotWaitForTheBackOff(t *testing.T) {
	pod := podWith(corev1.RestartPolicyAlways, "a")
	crashes := map[string]crash{crashKey(&pod.Spec.Containers[0]): {delay: time.Minute, armed: now.Add(-time.Minute)}}
	pod.Spec.Containers[0].Image = "cured"
	assert.Equal(t, "start a", plan(pod, stateWith("ready", "a:exited(1)"), known{crashes: crashes, now: now}).written())
}

func TestOtherResourcesDoNotWaitForTheBackOff(t *testing.T) {
	pod := podWith(corev1.RestartPolicyAlways, "a")
	crashes := map[string]crash{crashKey(&pod.Spec.Containers[0]): {delay: time.Minute, armed: now.Add(-time.Minute)}}
	pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}
	assert.Equal(t, "start a", plan(pod, stateWith("ready", "a:exited(1)"), known{crashes: crashes, now: now}).written())
}

func TestABackOffOfAnEarlierDefinitionIsDropped(t *testing.T) {
	syncer, pod := New(Rooms{}, Config{}), podWith(corev1.RestartPolicyAlways, "a", "a2")
	rec := syncer.record("uid")
	exited := stateWith("ready", "a:exited(1)").Newest("a")
	for i := range 10 {
		pod.Spec.Containers[0].Image = fmt.Sprint("version-", i)
		for j := range pod.Spec.Containers {
			syncer.armBackOff(start{spec: &pod.Spec.Containers[j], previous: exited, again: true}, rec)
		}
	}
	assert.Len(t, rec.crashes, 2, "one for each container")
	assert.Equal(t, 5*time.Minute, rec.crashes[crashKey(&pod.Spec.Containers[1])].delay, "that of the other goes on")
}

func TestTheBackOffHoldsWhereTheRuntimeDoesNotTellWhenAContainerEnded(t *testing.T) {
	c := crash{delay: 20 * time.Second, armed: now}
	assert.Equal(t, now.Add(20*time.Second), c.until(time.Time{}, now.Add(time.Second)))
	assert.Equal(t, 40*time.Second, c.next(time.Time{}, now.Add(20*time.Second), maxCrashDelay).delay)
}

func TestContainerRestartRulesComeBeforeThePolicies(t *testing.T) {
	never := corev1.ContainerRestartPolicyNever
	rule := func(op corev1.ContainerRestartRuleOnExitCodesOperator, codes ...int32) corev1.ContainerRestartRule {
		return corev1.ContainerRestartRule{
			Action:    corev1.ContainerRestartRuleActionRestart,
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: op, Values: codes},
		}
	}
	for _, row := range []struct {
		name   string
		policy *corev1.ContainerRestartPolicy
		rules  []corev1.ContainerRestartRule
		exit   string
		want   string
	}{
		{"the container's policy overrides the pod's", &never, nil, "a:exited(1)", "finished"},
		{"listed code", &never, []corev1.ContainerRestartRule{rule("In", 3, 42)}, "a:exited(42)", "start a"},
		{"code not listed", &never, []corev1.ContainerRestartRule{rule("In", 3)}, "a:exited(42)", "finished"},
		{"all but the listed", &never, []corev1.ContainerRestartRule{rule("NotIn", 3)}, "a:exited(42)", "start a"},
		{"a later rule matches", &never, []corev1.ContainerRestartRule{rule("In", 3), rule("In", 42)}, "a:exited(42)", "start a"},
	} {
		t.Run(row.name, func(t *testing.T) {
			pod := podWith(corev1.RestartPolicyAlways, "a")
			pod.Spec.Containers[0].RestartPolicy, pod.Spec.Containers[0].RestartPolicyRules = row.policy, row.rules
			assert.Equal(t, row.want, plan(pod, stateWith("ready", row.exit), known{now: now}).written())
		})
	}
	t.Run("rules without a policy of the container are ignored", func(t *testing.T) {
		pod := podWith(corev1.RestartPolicyNever, "a")
		pod.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{rule("In", 42)}
		assert.Equal(t, "finished", plan(pod, stateWith("ready", "a:exited(42)"), known{now: now}).written())
	})
}

func TestCrashDelaysDoubleFromTenSecondsToFiveMinutes(t *testing.T) {
	var c crash
	clock := now
	var waits []time.Duration
	for range 8 {
		waits = append(waits, c.until(clock, clock).Sub(clock))
		clock = c.until(clock, clock)
		c = c.next(clock, clock, maxCrashDelay)
	}
	seconds := []time.Duration{0, 10, 20, 40, 80, 160, 300, 300}
	for i := range seconds {
		seconds[i] *= time.Second
	}
	assert.Equal(t, seconds, waits)
}

func TestTenMinutesOfRunningForgetTheCrashes(t *testing.T) {
	c := crash{delay: maxCrashDelay, armed: now}
	ranTenMinutes, ranLonger := now.Add(10*time.Minute), now.Add(10*time.Minute+time.Second)
	assert.Equal(t, ranTenMinutes.Add(maxCrashDelay), c.until(ranTenMinutes, ranTenMinutes))
	assert.Equal(t, ranLonger, c.until(ranLonger, ranLonger))
	assert.Equal(t, firstCrashDelay, c.next(ranLonger, ranLonger, maxCrashDelay).delay)
	ranThree := now.Add(3 * time.Minute)
	assert.Equal(t, time.Minute, c.next(ranThree, ranThree, time.Minute).delay, "a lower limit forgets no sooner")
}

func TestAClockThatWasSetBackDoesNotHoldAContainerForHours(t *testing.T) {
	c := crash{delay: firstCrashDelay, armed: now.Add(-time.Minute)}
	assert.Equal(t, now, c.until(now.Add(5*time.Hour), now))
}

func TestTheLongestCrashDelayBoundsTheFirst(t *testing.T) {
	assert.Equal(t, time.Second, crash{}.next(now, now, time.Second).delay)
}

func FuzzPlanNeverStartsWhatRunsNorTwice(f *testing.F) {
	f.Add("RR", "aRbE", uint8(0))
	f.Fuzz(func(t *testing.T, sandboxes, containers string, policy uint8) {
		policies := []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}
		pod := podWith(policies[int(policy)%3], "init:i", "sidecar:s", "a", "b")
		todo := plan(pod, fuzzedState(sandboxes, containers), known{now: now})
		stopped, removed, started := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for _, s := range todo.stop {
			stopped[s.container.GetId()] = true
		}
		for _, c := range todo.remove {
			assert.False(t, mayRun(c), "%s is removed while it runs", c.GetId())
			removed[c.GetId()] = true
		}
		for _, s := range todo.start {
			assert.False(t, started[s.spec.Name], "%s is started twice", s.spec.Name)
			started[s.spec.Name] = true
			if s.previous != nil && mayRun(s.previous) {
				assert.True(t, todo.newSandbox || stopped[s.previous.GetId()], "%s runs and is not stopped", s.spec.Name)
			}
			if s.previous != nil && neverStarted(s.previous) {
				assert.True(t, removed[s.previous.GetId()], "%s still has the name that the new one needs", s.previous.GetId())
			}
		}
		assert.False(t, todo.finished && len(todo.start) > 0 && todo.newSandbox)
	})
}

// fuzzedState reads sandboxes (R ready, other not) and pairs of a container's
// name and state from strings.
func fuzzedState(sandboxes, containers string) *cri.PodState {
	var parts []string
	for _, s := range sandboxes {
		parts = append(parts, map[bool]string{true: "ready", false: "notready"}[s == 'R'])
	}
	if len(parts) == 0 {
		return stateWith()
	}
	names, states := []string{"i", "s", "a", "b"}, []string{"running", "exited(0)", "exited(1)", "created", "unknown", "oom"}
	for i := 0; i+1 < len(containers) && i < 40; i += 2 {
		parts = append(parts, names[int(containers[i])%len(names)]+":"+states[int(containers[i+1])%len(states)])
	}
	return stateWith(parts...)
}

func TestAnEphemeralContainerIsToldItsTarget(t *testing.T) {
	pod := podWith(corev1.RestartPolicyAlways, "a", "ephemeral:e")
	pod.Spec.EphemeralContainers[0].TargetContainerName = "a"
	todo := plan(pod, stateWith("ready", "a:running"), known{now: now})
	assert.Equal(t, "a-1", todo.start[0].target)
}

func TestAPodWhoseInitContainerFailedForGoodDoesNotInitializeAgain(t *testing.T) {
	onFailure := corev1.ContainerRestartPolicyOnFailure
	pod := podWith(corev1.RestartPolicyNever, "init:i", "a")
	pod.Spec.Containers[0].RestartPolicy = &onFailure
	assert.Equal(t, "finished", plan(pod, stateWith("notready", "i:exited(1)"), known{now: now}).written())
	assert.Equal(t, "sandbox 1, start i", plan(pod, stateWith("notready", "i:exited(0)"), known{now: now}).written())
}
