package main

import (
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/podmanager/podspec"
)

// Whatever pods there are and whatever befalls them, the runtime, the network and
// the agent, in whatever order:
//
//   - never do two containers of one name run in one pod, nor two pods of a name;
//   - never does a container start again whose restart policy forbids it, nor
//     anything of a pod that was reported to have ended;
//   - a terminal phase is never left and a restart count never falls;
//   - never does the agent set aside more than the node has;
//   - in the end what is deleted is gone, which the upstream has heard, and what is
//     desired runs, has ended or is in back-off, and is ready only if its gate is open;
//   - what is put back after its end runs again.
//
// The ledger (below) learns of each start in the moment it happens.
// After a failure the trace has what happened (==), what the agent did and reported,
// how containers ended, and which promise was broken (!!).
//
// For more schedules: go test -run TestEverySchedule -rapid.checks=5000 .
func TestEverySchedule(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		require.NoError(t, checks.Value.Set("40")) // each takes a tenth of a second
		defer func() { _ = checks.Value.Set(checks.DefValue) }()
	}
	rapid.Check(t, func(rt *rapid.T) {
		h := histories().Draw(rt, "history")
		var trace string
		synctest.Test(t, func(t *testing.T) { trace = newWorld(t, h).live() })
		if trace != "" {
			rt.Fatal(trace)
		}
	})
}

// history is all that is drawn about one run.
type history struct {
	Profile critest.Profile
	Keeps   bool // the upstream keeps statuses
	Pods    []podLife
	Steps   []step
}

// podLife is a pod and how its containers behave.
type podLife struct {
	Name       string
	Policy     corev1.RestartPolicy
	Grace      int64
	CPU        int64 // in quarters of what the node has
	Gate       bool  // its readiness depends on the upstream
	Containers []containerLife
}

type containerLife struct {
	Name   string // i… is an init container, s… a sidecar
	Policy corev1.ContainerRestartPolicy
	Rule   bool // exit code 3 restarts it, whatever the policy
	Runs   []critest.Run
}

// step is something that happens to the pod and container of these numbers, how
// long it lasts and how many calls it hits if it is of that kind, and how long
// nothing else happens then.
type step struct {
	Do             string
	Pod, Container int
	Method         string
	Times          int
	Lasts, Then    time.Duration
}

// GoString keeps what rapid prints of a draw short: the trace tells it all.
func (h history) GoString() string {
	did := make([]string, len(h.Steps))
	for i, s := range h.Steps {
		did[i] = s.Do
	}
	return fmt.Sprintf("%d pods; %s", len(h.Pods), strings.Join(did, ", "))
}

var faultyMethods = []string{
	"RunPodSandbox", "StopPodSandbox", "CreateContainer", "StartContainer", "StopContainer", "RemoveContainer", "PullImage",
	"PodSandboxStatus", "ContainerStatus", "ListContainers", "StreamContainers", "ListPodSandbox", "StreamPodSandboxes",
}

func histories() *rapid.Generator[history] {
	seconds := func(s ...float64) *rapid.Generator[time.Duration] {
		return rapid.Map(rapid.SampledFrom(s), func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) })
	}
	runs := rapid.Custom(func(t *rapid.T) critest.Run {
		run := critest.Run{
			Duration: seconds(0, 0.5, 2, 15).Draw(t, "runs for"),
			ExitCode: rapid.SampledFrom([]int32{0, 0, 1, 3}).Draw(t, "exit code"),
			Term: critest.Term{
				Ignore:   rapid.IntRange(0, 5).Draw(t, "ignores TERM") == 5,
				After:    seconds(0, 0, 1, 6).Draw(t, "ends after TERM"),
				ExitCode: rapid.SampledFrom([]int32{0, 143}).Draw(t, "code after TERM"),
			},
		}
		if run.ExitCode == 0 && rapid.IntRange(0, 3).Draw(t, "OOM") == 3 {
			run.Reason = "OOMKilled"
		}
		return run
	})
	pods := rapid.Custom(func(t *rapid.T) podLife {
		p := podLife{
			Policy: rapid.SampledFrom([]corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}).Draw(t, "policy"),
			Grace:  rapid.SampledFrom([]int64{1, 3, 10}).Draw(t, "grace"),
			CPU:    rapid.Int64Range(0, 3).Draw(t, "CPU"),
			Gate:   rapid.Bool().Draw(t, "gate"),
		}
		regular := rapid.IntRange(1, 3).Draw(t, "containers")
		early := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"i1", "i2", "s1"}), 0, 2, rapid.ID[string]).Draw(t, "init containers")
		for _, name := range append(early, []string{"a", "b", "c"}[:regular]...) {
			c := containerLife{Name: name, Runs: rapid.SliceOfN(runs, 1, 3).Draw(t, "runs of "+name)}
			switch {
			case name[0] == 's':
				c.Policy = corev1.ContainerRestartPolicyAlways
			case rapid.IntRange(0, 3).Draw(t, "own policy") == 3:
				c.Policy = rapid.SampledFrom([]corev1.ContainerRestartPolicy{corev1.ContainerRestartPolicyOnFailure, corev1.ContainerRestartPolicyNever}).Draw(t, "policy of "+name)
				c.Rule = rapid.Bool().Draw(t, "rule")
			}
			p.Containers = append(p.Containers, c)
		}
		return p
	})
	steps := rapid.Custom(func(t *rapid.T) step {
		return step{
			Do:        rapid.SampledFrom(slices.Sorted(maps.Keys(happenings))).Draw(t, "do"),
			Pod:       rapid.IntRange(0, 1).Draw(t, "pod"),
			Container: rapid.IntRange(0, 4).Draw(t, "container"),
			Method:    rapid.SampledFrom(faultyMethods).Draw(t, "method"),
			Times:     rapid.IntRange(1, 3).Draw(t, "times"),
			Lasts:     seconds(0.2, 3, 20).Draw(t, "lasts"),
			Then:      seconds(0, 0.001, 0.05, 0.4, 2, 5, 12, 40).Draw(t, "then"),
		}
	})
	return rapid.Custom(func(t *rapid.T) history {
		h := history{
			Profile: rapid.SampledFrom([]critest.Profile{critest.Newest, critest.Containerd21, critest.Containerd16}).Draw(t, "profile"),
			Keeps:   rapid.Bool().Draw(t, "keeps"),
			Pods:    rapid.SliceOfN(pods, 1, 2).Draw(t, "pods"),
			Steps:   rapid.SliceOfN(steps, 1, 16).Draw(t, "steps"),
		}
		for i := range h.Pods {
			h.Pods[i].Name = []string{"web", "job"}[i]
		}
		return h
	})
}

// object is the pod for the API, in its first version.
func (p podLife) object() *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: p.Name, UID: types.UID(p.Name + "-1")},
		Spec:       corev1.PodSpec{RestartPolicy: p.Policy, TerminationGracePeriodSeconds: &p.Grace},
	}
	for _, c := range p.Containers {
		spec := corev1.Container{Name: c.Name, Image: c.Name + ":1"}
		if c.Policy != "" {
			spec.RestartPolicy = &c.Policy
		}
		if c.Rule {
			spec.RestartPolicyRules = []corev1.ContainerRestartRule{{
				Action:    corev1.ContainerRestartRuleActionRestart,
				ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{3}},
			}}
		}
		if strings.ContainsAny(c.Name[:1], "is") {
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, spec)
		} else {
			pod.Spec.Containers = append(pod.Spec.Containers, spec)
		}
	}
	if p.CPU > 0 {
		pod = asking(pod, p.CPU*int64(runtime.NumCPU())*250)
	}
	if p.Gate {
		pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: gateType}}
	}
	if errs := podspec.Complete(pod); len(errs) > 0 {
		panic(errs.ToAggregate())
	}
	return pod
}

// String is the pod in one line.
func (p podLife) String() string {
	var parts []string
	for _, c := range p.Containers {
		text := c.Name + string(c.Policy)
		if c.Rule {
			text += "+restart on 3"
		}
		for _, run := range c.Runs {
			text += fmt.Sprintf(" {%s code %d%s, TERM %s code %d ignored %t}", run.Duration, run.ExitCode, run.Reason, run.Term.After, run.Term.ExitCode, run.Term.Ignore)
		}
		parts = append(parts, text)
	}
	return fmt.Sprintf("pod %s %s grace %ds CPU %d/4 gate %t: %s", p.Name, p.Policy, p.Grace, p.CPU, p.Gate, strings.Join(parts, "; "))
}
