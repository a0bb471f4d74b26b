package statusmgr_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/statusmgr"
)

const (
	always    = corev1.RestartPolicyAlways
	onFailure = corev1.RestartPolicyOnFailure
	never     = corev1.RestartPolicyNever

	pending   = corev1.PodPending
	running   = corev1.PodRunning
	succeeded = corev1.PodSucceeded
	failed    = corev1.PodFailed
)

func TestPhaseFollowsFromContainers(t *testing.T) {
	type words = []string
	tests := map[string]struct {
		policy     corev1.RestartPolicy
		containers words
		runs       words
		want       corev1.PodPhase
	}{
		"nothing created is Pending":                         {always, words{"app"}, nil, pending},
		"created but not started is Pending":                 {always, words{"app"}, words{"app#0 created"}, pending},
		"no containers at all is Pending":                    {always, nil, nil, pending},
		"running is Running":                                 {always, words{"app"}, words{"app#0 running"}, running},
		"one running, one not created is Pending":            {always, words{"a", "b"}, words{"a#0 running"}, pending},
		"one running, one ended is Running":                  {never, words{"a", "b"}, words{"a#0 running", "b#0 exited 1"}, running},
		"ended under Always is Running":                      {always, words{"app"}, words{"app#0 exited 0"}, running},
		"no policy means Always":                             {"", words{"app"}, words{"app#0 exited 1"}, running},
		"failed under OnFailure is Running":                  {onFailure, words{"app"}, words{"app#3 exited 1"}, running},
		"done under OnFailure is Succeeded":                  {onFailure, words{"app"}, words{"app#3 exited 0"}, succeeded},
		"one done, one failed under OnFailure is Running":    {onFailure, words{"a", "b"}, words{"a#0 exited 0", "b#0 exited 1"}, running},
		"done under Never is Succeeded":                      {never, words{"app"}, words{"app#0 exited 0"}, succeeded},
		"failed under Never is Failed":                       {never, words{"app"}, words{"app#0 exited 2"}, failed},
		"one done, one failed under Never is Failed":         {never, words{"a", "b"}, words{"a#0 exited 0", "b#0 exited 1"}, failed},
		"created again after an end counts as stopped":       {always, words{"app"}, words{"app#1 created", "app#0 exited 1"}, running},
		"init container not created is Pending":              {always, words{"init:i", "app"}, nil, pending},
		"init container running is Pending":                  {always, words{"init:i", "app"}, words{"i#0 running"}, pending},
		"init container failed under Always is Pending":      {always, words{"init:i", "app"}, words{"i#0 exited 1"}, pending},
		"init container failed under Never is Failed":        {never, words{"init:i", "app"}, words{"i#0 exited 1"}, failed},
		"out of memory is no failure by itself":              {onFailure, words{"app"}, words{"app#0 exited 0 OOMKilled"}, succeeded},
		"out of memory fails an init container":              {onFailure, words{"init:i", "app"}, words{"i#0 exited 0 OOMKilled"}, pending},
		"the same under Never is Failed":                     {never, words{"init:i", "app"}, words{"i#0 exited 0 OOMKilled"}, failed},
		"a sidecar out of memory does not matter":            {never, words{"side:s", "app"}, words{"s#0 exited 0 OOMKilled", "app#0 exited 0"}, succeeded},
		"one running, one unknown is Pending":                {always, words{"a", "b"}, words{"a#0 running", "b#0 unknown"}, pending},
		"init container done, app not created is Pending":    {never, words{"init:i", "app"}, words{"i#0 exited 0"}, pending},
		"init container done, app running is Running":        {always, words{"init:i", "app"}, words{"i#0 exited 0", "app#0 running"}, running},
		"second init container not done is Pending":          {always, words{"init:i", "init:j", "app"}, words{"i#0 exited 0", "j#0 running"}, pending},
		"sidecar not started at first is Pending":            {always, words{"side:s", "app"}, nil, pending},
		"sidecar created at first is Pending":                {always, words{"side:s", "app"}, words{"s#0 created"}, pending},
		"sidecar started, app not created is Pending":        {always, words{"side:s", "app"}, words{"s#0 running"}, pending},
		"sidecar down after the app started is Running":      {always, words{"side:s", "app"}, words{"s#0 exited 1", "app#0 running"}, running},
		"app done but sidecar running is Running":            {never, words{"side:s", "app"}, words{"s#0 running", "app#0 exited 0"}, running},
		"a killed sidecar leaves the pod Succeeded":          {never, words{"side:s", "app"}, words{"s#0 exited 137", "app#0 exited 0"}, succeeded},
		"a sidecar that did well leaves the pod Failed":      {never, words{"side:s", "app"}, words{"s#0 exited 0", "app#0 exited 1"}, failed},
		"ephemeral containers do not make a pod Running":     {always, words{"app", "debug:d"}, words{"d#0 running"}, pending},
		"ephemeral containers that fail do not fail a pod":   {never, words{"app", "debug:d"}, words{"app#0 exited 0", "d#0 exited 1"}, succeeded},
		"ephemeral containers not created change nothing":    {always, words{"app", "debug:d"}, words{"app#0 running"}, running},
		"containers that are not in the spec do not count":   {always, words{"app"}, words{"stranger#0 exited 1", "app#0 running"}, running},
		"the newest run counts, not the ones before":         {never, words{"app"}, words{"app#1 exited 0", "app#0 exited 1"}, succeeded},
		"unknown to the runtime and never seen is not ended": {never, words{"app"}, words{"app#0 unknown"}, pending},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status := statusmgr.Generate(input(newPod(test.policy, test.containers...), observed(test.runs...)))
			assert.Equal(t, test.want, status.Phase)
		})
	}
}

func TestContainersOwnRestartPolicyAndRulesDecide(t *testing.T) {
	rule := func(op corev1.ContainerRestartRuleOnExitCodesOperator, action corev1.ContainerRestartRuleAction, codes ...int32) corev1.ContainerRestartRule {
		return corev1.ContainerRestartRule{Action: action, ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: op, Values: codes}}
	}
	const (
		in, notIn = corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn
		restart   = corev1.ContainerRestartRuleActionRestart
	)
	tests := map[string]struct {
		pod   corev1.RestartPolicy
		own   *corev1.ContainerRestartPolicy
		rules []corev1.ContainerRestartRule
		run   string
		want  corev1.PodPhase
	}{
		"own Never beats the pod's Always":       {always, new(corev1.ContainerRestartPolicyNever), nil, "app#0 exited 1", failed},
		"own Always beats the pod's Never":       {never, new(corev1.ContainerRestartPolicyAlways), nil, "app#0 exited 0", running},
		"own OnFailure lets 0 be":                {always, new(corev1.ContainerRestartPolicyOnFailure), nil, "app#0 exited 0", succeeded},
		"a code that is in restarts":             {never, new(corev1.ContainerRestartPolicyNever), []corev1.ContainerRestartRule{rule(in, restart, 42)}, "app#0 exited 42", running},
		"a code that is not in falls through":    {never, new(corev1.ContainerRestartPolicyNever), []corev1.ContainerRestartRule{rule(in, restart, 42)}, "app#0 exited 1", failed},
		"NotIn restarts all others":              {never, new(corev1.ContainerRestartPolicyNever), []corev1.ContainerRestartRule{rule(notIn, restart, 42)}, "app#0 exited 1", running},
		"NotIn leaves the listed":                {never, new(corev1.ContainerRestartPolicyNever), []corev1.ContainerRestartRule{rule(notIn, restart, 42)}, "app#0 exited 42", failed},
		"a later rule may match":                 {never, new(corev1.ContainerRestartPolicyNever), []corev1.ContainerRestartRule{rule(in, restart, 1), rule(in, restart, 2)}, "app#0 exited 2", running},
		"restarting all restarts this one":       {never, new(corev1.ContainerRestartPolicyNever), []corev1.ContainerRestartRule{rule(in, corev1.ContainerRestartRuleActionRestartAllContainers, 1)}, "app#0 exited 1", running},
		"rules without an own policy are void":   {never, nil, []corev1.ContainerRestartRule{rule(in, restart, 1)}, "app#0 exited 1", failed},
		"a rule without exit codes is void":      {never, new(corev1.ContainerRestartPolicyNever), []corev1.ContainerRestartRule{{Action: restart}}, "app#0 exited 1", failed},
		"a rule of an unknown operator is void":  {never, new(corev1.ContainerRestartPolicyNever), []corev1.ContainerRestartRule{rule("Above", restart, 1)}, "app#0 exited 1", failed},
		"own policy of an init container counts": {always, nil, nil, "i#0 exited 1", failed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := newPod(test.pod, "init:i", "app")
			pod.Spec.Containers[0].RestartPolicy, pod.Spec.Containers[0].RestartPolicyRules = test.own, test.rules
			pod.Spec.InitContainers[0].RestartPolicy = new(corev1.ContainerRestartPolicyNever)
			runs := []string{test.run}
			if test.run[0] == 'a' {
				runs = append(runs, "i#0 exited 0")
			}
			assert.Equal(t, test.want, statusmgr.Generate(input(pod, observed(runs...))).Phase)
		})
	}
}

func TestCrashLoopCountsAsRunning(t *testing.T) {
	in := input(newPod(always, "app"), observed("app#4 exited 1"))
	in.Waiting = waiting("app", "CrashLoopBackOff")
	assert.Equal(t, running, statusmgr.Generate(in).Phase)
}

func TestTerminalPhaseIsSticky(t *testing.T) {
	for _, phase := range []corev1.PodPhase{succeeded, failed} {
		t.Run("of the previous status: "+string(phase), func(t *testing.T) {
			previous := corev1.PodStatus{Phase: phase, Reason: "Evicted", Message: "disk"}
			status := then(previous, input(newPod(always, "app"), observed("app#0 running")))
			assert.Equal(t, phase, status.Phase)
			assert.Equal(t, "Evicted", status.Reason)
			assert.Equal(t, "disk", status.Message)
		})
		t.Run("of the pod as upstream has it: "+string(phase), func(t *testing.T) {
			pod := newPod(always, "app")
			pod.Status = corev1.PodStatus{Phase: phase, Reason: "NodeLost"}
			status := then(corev1.PodStatus{Phase: running}, input(pod, observed("app#0 running")))
			assert.Equal(t, phase, status.Phase)
			assert.Equal(t, "NodeLost", status.Reason)
		})
	}
}

func TestNothingIsTerminalWhileSomethingMayRun(t *testing.T) {
	tests := map[string]struct {
		containers []string
		runs       []string
		previous   corev1.PodPhase
		want       corev1.PodPhase
	}{
		"init container failed, sidecar runs":      {[]string{"side:s", "init:i", "app"}, []string{"s#0 running", "i#0 exited 1"}, pending, pending},
		"the same, nothing known before":           {[]string{"side:s", "init:i", "app"}, []string{"s#0 running", "i#0 exited 1"}, "", pending},
		"ephemeral container runs":                 {[]string{"app", "debug:d"}, []string{"app#0 exited 0", "d#0 running"}, running, running},
		"the same, no previous status":             {[]string{"app", "debug:d"}, []string{"app#0 exited 0", "d#0 running"}, "", running},
		"an older run of the container still runs": {[]string{"app"}, []string{"app#1 exited 0", "app#0 running"}, running, running},
		"a container that left the spec runs":      {[]string{"app"}, []string{"app#0 exited 0", "old#0 running"}, running, running},
		"a container in unknown state":             {[]string{"app"}, []string{"app#1 exited 0", "app#0 unknown"}, running, running},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := input(newPod(never, test.containers...), observed(test.runs...))
			in.Previous.Phase = test.previous
			assert.Equal(t, test.want, statusmgr.Generate(in).Phase)

			in.State = observed()
			for _, line := range test.runs {
				c := run(line)
				if c.GetState() != runtimeapi.ContainerState_CONTAINER_EXITED {
					c.State, c.ExitCode = runtimeapi.ContainerState_CONTAINER_EXITED, 137
				}
				in.State.Containers = append(in.State.Containers, c)
			}
			in.State.Sort()
			assert.Contains(t, []corev1.PodPhase{succeeded, failed}, statusmgr.Generate(in).Phase, "once all of it has ended")
		})
	}
}

func TestBeforeTheFirstLookThePreviousStatusSaysWhatMayRun(t *testing.T) {
	pod := newPod(always, "app")
	condemn := func(previous corev1.PodStatus) corev1.PodStatus {
		in := input(pod, nil)
		in.Failure = &statusmgr.Failure{Reason: "Evicted"}
		return then(previous, in)
	}
	assert.Equal(t, running, condemn(statusmgr.Generate(input(pod, observed("app#0 running")))).Phase)
	assert.Equal(t, failed, condemn(statusmgr.Generate(input(pod, observed("app#0 exited 1")))).Phase)
}

func TestDeletedPodIsNotTerminalBeforeItEnded(t *testing.T) {
	pod := newPod(always, "app")
	before := statusmgr.Generate(input(pod, observed("app#0 running")))

	pod.DeletionTimestamp = &metav1.Time{Time: now}
	stopping := then(before, input(pod, observed("app#0 running")))
	assert.Equal(t, running, stopping.Phase)
	assert.NotNil(t, container(stopping, "app").State.Running)

	ended := then(stopping, input(pod, observed("app#0 exited 143")))
	assert.Equal(t, running, ended.Phase, "the worker has not finished")
}

func TestFailureCondemnsThePod(t *testing.T) {
	in := input(newPod(always, "app"), observed("app#0 running"))
	in.Failure = &statusmgr.Failure{Reason: "DeadlineExceeded", Message: "ran too long"}

	t.Run("not while it runs", func(t *testing.T) {
		status := statusmgr.Generate(in)
		assert.Equal(t, running, status.Phase)
		assert.Empty(t, status.Reason)
	})
	t.Run("once it was killed, with reason and message", func(t *testing.T) {
		in.State = observed("app#0 exited 0")
		status := statusmgr.Generate(in)
		assert.Equal(t, failed, status.Phase)
		assert.Equal(t, "DeadlineExceeded", status.Reason)
		assert.Equal(t, "ran too long", status.Message)
		assert.Equal(t, yes, about(status, corev1.PodInitialized))
		assert.Equal(t, no("PodFailed", ""), about(status, corev1.ContainersReady))
		assert.Equal(t, no("PodFailed", ""), about(status, corev1.PodReady))

		in.Failure = nil
		status = then(status, in)
		assert.Equal(t, failed, status.Phase)
		assert.Equal(t, "DeadlineExceeded", status.Reason, "the reason stays when the agent has forgotten it")
	})
	t.Run("at once if it never ran", func(t *testing.T) {
		rejected := statusmgr.Input{Pod: newPod(always, "app"), Failure: &statusmgr.Failure{Reason: "OutOfcpu"}, Now: now}
		status := statusmgr.Generate(rejected)
		assert.Equal(t, failed, status.Phase)
		assert.Equal(t, "OutOfcpu", status.Reason)
	})
}

func TestReasonIsKeptOnlyWhileThePhaseStays(t *testing.T) {
	previous := corev1.PodStatus{Phase: pending, Reason: "Starting", Message: "soon"}

	same := then(previous, input(newPod(always, "app"), observed()))
	assert.Equal(t, "Starting", same.Reason)
	assert.Equal(t, "soon", same.Message)

	other := then(previous, input(newPod(always, "app"), observed("app#0 running")))
	assert.Empty(t, other.Reason)
	assert.Empty(t, other.Message)
}

func TestFinishedPodGetsItsFinalStatus(t *testing.T) {
	tests := map[string]struct {
		policy     corev1.RestartPolicy
		containers []string
		runs       []string
		want       corev1.PodPhase
	}{
		"all done is Succeeded, whatever the policy":      {always, []string{"app"}, []string{"app#3 exited 0"}, succeeded},
		"one failed is Failed, whatever the policy":       {onFailure, []string{"a", "b"}, []string{"a#0 exited 0", "b#0 exited 143"}, failed},
		"a killed sidecar does not matter":                {always, []string{"side:s", "app"}, []string{"s#0 exited 137", "app#0 exited 0"}, succeeded},
		"never started is Failed":                         {always, []string{"app"}, nil, failed},
		"never initialized is Failed":                     {always, []string{"init:i", "app"}, []string{"i#0 exited 0"}, failed},
		"no containers is Failed":                         {always, nil, nil, failed},
		"an observation from before the end is overruled": {always, []string{"app"}, []string{"app#0 running"}, failed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := input(newPod(test.policy, test.containers...), observed(test.runs...))
			in.Finished = true
			assert.Equal(t, test.want, statusmgr.Generate(in).Phase)
		})
	}
}

// A probe had it ended, and it runs again whatever its exit code is.
func TestWhatRunsAgainWhateverItsExitCodeHasNotSucceeded(t *testing.T) {
	pod := newPod(onFailure, "app")
	before := statusmgr.Generate(input(pod, observed("app#0 running")))
	in := input(pod, observed("app#0 exited 0"))
	id := in.State.Newest("app").GetId()
	require.Equal(t, succeeded, then(before, in).Phase)

	in.Restarting = map[string]bool{id: true}
	in.Waiting = map[string]corev1.ContainerStateWaiting{"app": {Reason: "CrashLoopBackOff"}}
	waits := then(before, in)
	assert.Equal(t, running, waits.Phase)
	assert.Equal(t, "CrashLoopBackOff", container(waits, "app").State.Waiting.Reason)
	assert.EqualValues(t, 0, container(waits, "app").LastTerminationState.Terminated.ExitCode)

	in.Waiting = nil // it is about to start
	starts := then(waits, in)
	assert.Equal(t, running, starts.Phase)
	assert.NotNil(t, container(starts, "app").State.Waiting, "no end that would have to be taken back")
	assert.NotNil(t, container(starts, "app").LastTerminationState.Terminated)
}
