package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/cri"
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
//   - in the end what is deleted is gone, and what is desired runs, has ended or
//     is in back-off.
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
	Pods    []podLife
	Steps   []step
}

// podLife is a pod and how its containers behave.
type podLife struct {
	Name       string
	Policy     corev1.RestartPolicy
	Grace      int64
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
	return fmt.Sprintf("pod %s %s grace %ds: %s", p.Name, p.Policy, p.Grace, strings.Join(parts, "; "))
}

// world is a node, its upstream and its agent, if one runs, in a bubble.
type world struct {
	*node
	history history
	up      *fickleCloud
	ledger  *ledger
	began   time.Time

	agent  *agent // nil: none runs
	client *cri.Client
	stop   func()
	shown  *promises // of what this agent has shown

	faults   []func()  // remove them
	lives    int       // of pods, for new UIDs
	offUntil time.Time // the host is: nothing can happen in it
}

func newWorld(t *testing.T, h history) *world {
	var scripts []critest.Script
	for _, p := range h.Pods {
		for _, c := range p.Containers {
			scripts = append(scripts, critest.Script{Pod: p.Name, Container: c.Name, Runs: c.Runs})
		}
	}
	w := &world{
		node:    newNode(t, critest.Config{Profile: h.Profile, Scripts: scripts, TraceLimit: 50_000}),
		history: h,
		began:   time.Now(),
		lives:   1,
	}
	w.ledger = &ledger{specs: map[types.UID]*corev1.Pod{}, runs: map[string]*instance{}, sandboxes: map[string]*runtimeapi.PodSandbox{}, reported: newPromises()}
	w.up = &fickleCloud{changed: make(chan struct{}, 1), reported: w.ledger.report}
	for _, p := range h.Pods {
		w.ledger.say("%s", p)
		w.want(p.object())
	}
	w.runtime.ScriptEvents(w.ledger.happened)
	w.runtime.Inject(critest.Fault{Match: w.ledger.called})
	return w
}

// live plays the history and then waits for peace. It returns what went wrong,
// with all that led to it, "" if nothing did.
func (w *world) live() string {
	w.startAgent()
	defer w.ledger.close()
	defer w.stopAgent()
	w.pass(time.Second)
	for _, s := range w.history.Steps {
		happenings[s.Do](w, s)
		if w.pass(s.Then); w.ledger.isBroken() {
			return w.trace()
		}
	}
	w.ledger.say("the world is healed")
	w.heal()
	var unsettled string
	for range 15 * 60 {
		if w.pass(time.Second); w.ledger.isBroken() {
			return w.trace()
		}
		if unsettled = w.unsettled(); unsettled == "" {
			return ""
		}
	}
	w.ledger.broke("after 15 quiet minutes: %s", unsettled)
	return w.trace()
}

// pass lets time pass, and looks around every second.
func (w *world) pass(d time.Duration) {
	for end := time.Now().Add(d); ; {
		synctest.Wait()
		w.look()
		left := time.Until(end)
		if left <= 0 {
			return
		}
		time.Sleep(min(left, time.Second))
	}
}

func (w *world) look() {
	w.ledger.refresh(w.runtime)
	if w.agent == nil {
		return
	}
	for _, pod := range w.agent.statuses.Pods() {
		w.ledger.shows(w.shown, pod)
	}
}

// heal ends all that disturbs, and has the agent run.
func (w *world) heal() {
	for _, remove := range w.faults {
		remove()
	}
	w.up.setCut(false)
	w.ledger.scriptEvents(0, critest.Delivery{})
	w.startAgent()
}

// unsettled is what has not come to where it belongs, "" if all has.
func (w *world) unsettled() string {
	wanted := map[types.UID]*corev1.Pod{}
	for _, pod := range w.up.all() {
		wanted[pod.UID] = pod
	}
	running, ready := w.ledger.alive()
	for uid := range running {
		if wanted[uid] == nil {
			return fmt.Sprintf("pod %s was deleted, but %v runs", uid, running[uid])
		}
	}
	for uid := range ready {
		if wanted[uid] == nil {
			return fmt.Sprintf("pod %s was deleted, but its sandbox is ready", uid)
		}
	}
	for _, pod := range w.agent.statuses.Pods() {
		if wanted[pod.UID] == nil {
			return fmt.Sprintf("pod %s was deleted, but is still shown", pod.UID)
		}
	}
	for uid, pod := range wanted {
		status, _ := w.agent.statuses.Get(uid)
		if why := unsettledPod(pod, status, running[uid], ready[uid]); why != "" {
			return fmt.Sprintf("pod %s %s: %s", uid, why, phases(&status))
		}
	}
	return ""
}

func unsettledPod(pod *corev1.Pod, status corev1.PodStatus, running []string, ready bool) string {
	if ended(status.Phase) {
		if len(running) > 0 || ready {
			return fmt.Sprintf("has ended, but has a sandbox (%t) and %v runs", ready, running)
		}
		return ""
	}
	if len(status.ContainerStatuses) != len(pod.Spec.Containers) {
		return "has no status"
	}
	initialized := true
	for _, c := range status.InitContainerStatuses {
		done := c.State.Terminated != nil && c.State.Terminated.ExitCode == 0 || c.State.Running != nil && c.Name[0] == 's'
		initialized = initialized && done
	}
	for _, c := range slices.Concat(status.InitContainerStatuses, status.ContainerStatuses) {
		waits := c.State.Waiting
		switch {
		case c.State.Running != nil && !slices.Contains(running, c.Name):
			return "says of " + c.Name + " that it runs"
		case c.State.Running == nil && slices.Contains(running, c.Name):
			return "does not say of " + c.Name + " that it runs"
		case waits != nil && waits.Reason != "CrashLoopBackOff" && (initialized || waits.Reason != "PodInitializing"):
			return "waits for " + c.Name
		}
	}
	return ""
}

func ended(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// trace is everything that happened, line by line.
func (w *world) trace() string {
	calls := map[any]critest.Call{}
	for _, call := range w.runtime.Calls() {
		calls[call.Request] = call
	}
	text := new(strings.Builder)
	fmt.Fprintf(text, "profile %d\n", w.history.Profile)
	for _, l := range w.ledger.lines() {
		if l.call != nil {
			l.text = "        " + calls[l.call].String() + " [" + calls[l.call].UID + "]"
		}
		fmt.Fprintf(text, "%9.3fs %s\n", l.at.Sub(w.began).Seconds(), l.text)
	}
	return text.String()
}

func (w *world) startAgent() {
	if w.agent != nil {
		return
	}
	client, err := w.runtime.Dial(w.t.Context(), cri.Config{})
	for ; err != nil; client, err = w.runtime.Dial(w.t.Context(), cri.Config{}) {
		w.pass(time.Second) // as main ends, and is started again
	}
	a, err := newAgent(client, w.up, w.opts, zap.NewNop())
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	w.ledger.say("the agent starts")
	w.agent, w.client, w.shown = a, client, newPromises()
	w.stop = func() {
		cancel()
		require.NoError(w.t, <-done)
		a.close()
		_ = client.Close(context.Background())
	}
}

func (w *world) stopAgent() {
	if w.agent != nil {
		w.ledger.say("the agent stops")
		w.stop()
		w.agent = nil
	}
}

// want makes the pod desired, instead of the one of that name.
func (w *world) want(pod *corev1.Pod) {
	w.ledger.mu.Lock()
	w.ledger.specs[pod.UID] = pod
	w.ledger.mu.Unlock()
	w.up.set(append(w.others(pod.Name), pod))
}

// desired is the pod of that name, nil if it was deleted.
func (w *world) desired(name string) *corev1.Pod {
	for _, pod := range w.up.all() {
		if pod.Name == name {
			return pod
		}
	}
	return nil
}

func (w *world) others(name string) []*corev1.Pod {
	return slices.DeleteFunc(w.up.all(), func(pod *corev1.Pod) bool { return pod.Name == name })
}

// target is the pod and container that a step is about.
func (w *world) target(s step) (pod podLife, container string) {
	pod = w.history.Pods[s.Pod%len(w.history.Pods)]
	return pod, pod.Containers[s.Container%len(pod.Containers)].Name
}

// hit lets something happen to a container, if the runtime has it.
func (w *world) hit(s step, what string, happens func(id string) error) {
	pod, container := w.target(s)
	if time.Now().After(w.offUntil) && happens(w.runtime.ContainerID(pod.Name, container)) == nil {
		w.ledger.say("%s/%s %s", pod.Name, container, what)
	}
}

func (w *world) hitSandbox(s step, what string, happens func(id string) error) {
	pod, _ := w.target(s)
	if time.Now().After(w.offUntil) && happens(w.runtime.SandboxID(pod.Name)) == nil {
		w.ledger.say("sandbox of %s %s", pod.Name, what)
	}
}

func (w *world) reboot(options critest.RebootOptions) {
	w.runtime.Reboot(options)
	w.ledger.doubt()
	w.offUntil = time.Now().Add(options.Down)
}

// fault makes calls of the agent fail, but not those of the ledger.
func (w *world) fault(s step, what string, fault critest.Fault) {
	w.ledger.say("next %d %s %s", s.Times, s.Method, what)
	fault.Method, fault.Times = s.Method, s.Times
	fault.Match = func(c critest.Call) bool { return !isLedgers(c) }
	w.faults = append(w.faults, w.runtime.Inject(fault))
}

var happenings = map[string]func(*world, step){
	"delete pod": func(w *world, s step) {
		pod, _ := w.target(s)
		w.ledger.say("%s is deleted", pod.Name)
		w.up.set(w.others(pod.Name))
	},
	"add pod": func(w *world, s step) {
		pod, _ := w.target(s)
		if w.desired(pod.Name) != nil {
			return
		}
		w.ledger.say("%s is added again, with the UID of its first life", pod.Name)
		object := pod.object()
		w.ledger.exempt(object.UID)
		w.want(object)
	},
	"replace pod": func(w *world, s step) {
		pod, _ := w.target(s)
		object := pod.object()
		w.lives++
		object.UID = types.UID(fmt.Sprintf("%s-%d", pod.Name, w.lives))
		w.ledger.say("%s is replaced by UID %s", pod.Name, object.UID)
		w.want(object)
	},
	"edit image": func(w *world, s step) {
		pod, container := w.target(s)
		object := w.desired(pod.Name)
		if object == nil {
			return
		}
		object = object.DeepCopy()
		for _, list := range [][]corev1.Container{object.Spec.InitContainers, object.Spec.Containers} {
			for i := range list {
				if list[i].Name == container {
					list[i].Image = fmt.Sprintf("%s:%d", container, 2+s.Times)
					w.ledger.say("image of %s/%s is edited to %s", pod.Name, container, list[i].Image)
				}
			}
		}
		w.want(object)
	},
	"exit 0": func(w *world, s step) {
		w.hit(s, "exits with 0", func(id string) error { return w.runtime.Exit(id, 0) })
	},
	"exit 1": func(w *world, s step) {
		w.hit(s, "exits with 1", func(id string) error { return w.runtime.Exit(id, 1) })
	},
	"OOM kill": func(w *world, s step) { w.hit(s, "is OOM-killed", w.runtime.OOMKill) },
	"vanish": func(w *world, s step) {
		w.hit(s, "vanishes", func(id string) error { return w.ledger.forget(id, w.runtime.Vanish(id)) })
	},
	"unknown": func(w *world, s step) {
		w.hit(s, "is in unknown state", func(id string) error {
			if !w.ledger.runsNow(id) {
				return errors.New("its end is known")
			}
			return w.runtime.SetUnknown(id)
		})
	},
	"kill sandbox": func(w *world, s step) { w.hitSandbox(s, "is killed", w.runtime.KillSandbox) },
	"vanish sandbox": func(w *world, s step) {
		w.hitSandbox(s, "vanishes with its containers", func(id string) error {
			return w.ledger.forget(id, w.runtime.VanishSandbox(id))
		})
	},
	"runtime restarts": func(w *world, s step) {
		w.ledger.say("the runtime restarts and is away for %s", s.Lasts)
		w.runtime.Restart(s.Lasts)
		w.ledger.doubt()
	},
	"reboot": func(w *world, s step) {
		w.ledger.say("the host reboots and is away for %s", s.Lasts)
		w.reboot(critest.RebootOptions{Down: s.Lasts})
	},
	"wiping reboot": func(w *world, s step) {
		w.ledger.say("the host reboots, loses all and is away for %s", s.Lasts)
		w.reboot(critest.RebootOptions{Down: s.Lasts, Wipe: true})
	},
	"calls fail": func(w *world, s step) {
		w.fault(s, "fail", critest.Fault{Err: grpcstatus.Error(codes.Internal, "broken")})
	},
	"answers lost": func(w *world, s step) {
		w.fault(s, "lose their answer", critest.Fault{Err: grpcstatus.Error(codes.Unavailable, "lost"), After: true})
	},
	"calls slow": func(w *world, s step) { w.fault(s, "take "+s.Lasts.String(), critest.Fault{Delay: s.Lasts}) },
	"answers late": func(w *world, s step) {
		w.fault(s, "answer after "+s.Lasts.String(), critest.Fault{Delay: s.Lasts, After: true})
	},
	"events lost": func(w *world, s step) {
		w.ledger.say("the next %d events are lost", 4*s.Times)
		w.ledger.scriptEvents(4*s.Times, critest.Delivery{Drop: true})
	},
	"events late": func(w *world, s step) {
		w.ledger.say("the next %d events come twice and %s late", 4*s.Times, s.Lasts)
		w.ledger.scriptEvents(4*s.Times, critest.Delivery{Delay: s.Lasts, Duplicate: 1})
	},
	"agent stops":  func(w *world, _ step) { w.stopAgent() },
	"agent starts": func(w *world, _ step) { w.startAgent() },
	"agent restarts": func(w *world, _ step) {
		w.stopAgent()
		w.startAgent()
	},
	"agent is cut off and restarts": func(w *world, _ step) {
		if w.agent != nil {
			w.ledger.say("the agent loses the runtime in the middle of its calls")
			_ = w.client.Close(context.Background())
		}
		w.stopAgent()
		w.startAgent()
	},
	"agent restarts without its store": func(w *world, _ step) {
		w.stopAgent()
		w.ledger.say("the store is lost")
		require.NoError(w.t, os.Remove(filepath.Join(w.opts.root, "store.db")))
		w.ledger.amnesia()
		w.startAgent()
	},
	"upstream cut":  func(w *world, _ step) { w.ledger.say("the upstream is cut"); w.up.setCut(true) },
	"upstream back": func(w *world, _ step) { w.ledger.say("the upstream is back"); w.up.setCut(false) },
	"nothing":       func(*world, step) {},
}

// fickleCloud is an upstream that can be cut, and takes reports.
type fickleCloud struct {
	reported func(*corev1.Pod) // of what is in the store for good
	changed  chan struct{}

	mu   sync.Mutex // guards pods, which are replaced and not changed, and cut
	pods []*corev1.Pod
	cut  bool
}

func (c *fickleCloud) set(pods []*corev1.Pod) {
	c.mu.Lock()
	c.pods = pods
	c.mu.Unlock()
	c.notify()
}

func (c *fickleCloud) setCut(cut bool) {
	c.mu.Lock()
	c.cut = cut
	c.mu.Unlock()
	c.notify()
}

func (c *fickleCloud) notify() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *fickleCloud) all() []*corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.pods)
}

func (c *fickleCloud) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

var errCut = errors.New("no network")

func (c *fickleCloud) Watch(ctx context.Context, deliver func([]*corev1.Pod) error) error {
	for {
		if c.isCut() {
			return errCut
		}
		if err := deliver(c.all()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.changed:
		}
	}
}

func (c *fickleCloud) ReportPodStatus(_ context.Context, pod *corev1.Pod) error {
	c.reported(pod)
	if c.isCut() {
		return errCut
	}
	return nil
}

// ledger knows what runs, as the runtime does and not as the agent does, and what
// was said of it, and holds the agent to what it promises.
type ledger struct {
	conn *grpc.ClientConn // of the goroutine that plays the history

	mu        sync.Mutex // guards what follows
	specs     map[types.UID]*corev1.Pod
	runs      map[string]*instance              // by container ID
	sandboxes map[string]*runtimeapi.PodSandbox // by ID
	reported  *promises
	exempted  []types.UID // have lived before: their counts may begin anew
	fate      critest.Delivery
	fates     int // events that it still hits
	said      []line
	broken    bool
}

// line is a line of the trace.
type line struct {
	at   time.Time
	text string
	call any // the request of the call that it is about, if it is about one
}

// instance is a container, as last seen.
type instance struct {
	pod, name string
	uid       types.UID
	sandbox   string
	image     string
	created   int64
	started   bool
	state     runtimeapi.ContainerState
	code      int32
	reason    string
	told      bool // the agent asked it to end
	doubtful  bool // the runtime was away since
	gone      bool // removed by the agent
}

func (r *instance) mayRun() bool {
	return !r.gone && (r.state == runtimeapi.ContainerState_CONTAINER_RUNNING || r.state == runtimeapi.ContainerState_CONTAINER_UNKNOWN)
}

// mayFollow reports whether a container may start after last, that of its name
// before. It allows what is in doubt: it forbids only what policy plainly does.
func mayFollow(pod *corev1.Pod, next, last *instance) bool {
	if last.doubtful || !last.started || last.state != runtimeapi.ContainerState_CONTAINER_EXITED || last.image != next.image {
		return true
	}
	spec, init := specNamed(pod, last.name)
	succeeded := last.code == 0 && !(init && last.reason == "OOMKilled") // as the kubelet has it
	sidecar := init && spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
	if init && !sidecar && (succeeded || last.told) && last.sandbox != next.sandbox {
		return true // the new sandbox is to be initialized too
	}
	if init && !sidecar && succeeded {
		return false
	}
	policy := pod.Spec.RestartPolicy
	if spec.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*spec.RestartPolicy)
	}
	switch {
	case len(spec.RestartPolicyRules) > 0 && last.code == 3:
		return true
	case policy == corev1.RestartPolicyNever:
		return false
	case policy == corev1.RestartPolicyOnFailure:
		return !succeeded || last.told // which is no success of its own
	default:
		return true
	}
}

func specNamed(pod *corev1.Pod, name string) (spec corev1.Container, init bool) {
	for _, c := range pod.Spec.InitContainers {
		if c.Name == name {
			return c, true
		}
	}
	i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == name })
	return pod.Spec.Containers[i], false
}

// happened takes each event of the runtime in the moment it happens, and decides
// what the agent hears of it.
func (l *ledger) happened(event *critest.Event) critest.Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	sandbox := event.GetPodSandboxStatus()
	l.sandboxes[sandbox.GetId()] = &runtimeapi.PodSandbox{Id: sandbox.GetId(), Metadata: sandbox.GetMetadata(), State: sandbox.GetState()}
	seen := map[string]bool{}
	for _, status := range event.GetContainersStatuses() {
		l.note(status, sandbox.GetId(), sandbox.GetMetadata())
		seen[status.GetId()] = true
	}
	for id, r := range l.runs {
		if r.sandbox == sandbox.GetId() && !seen[id] {
			r.gone = true
		}
	}
	if r := l.runs[event.GetContainerId()]; r != nil {
		switch event.GetContainerEventType() {
		case runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT:
			l.checkStart(event.GetContainerId())
		case runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT:
			l.write("    %s/%s ended with %d %s", r.pod, r.name, r.code, r.reason)
		}
	} else if event.GetContainerEventType() == runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT {
		delete(l.sandboxes, event.GetContainerId())
	}
	if l.fates == 0 {
		return critest.Delivery{}
	}
	l.fates--
	return l.fate
}

// note keeps what a container is like. l.mu is held.
func (l *ledger) note(status *runtimeapi.ContainerStatus, sandbox string, pod *runtimeapi.PodSandboxMetadata) {
	r := l.runs[status.GetId()]
	if r == nil {
		r = &instance{
			pod:     pod.GetName(),
			uid:     types.UID(pod.GetUid()),
			name:    status.GetMetadata().GetName(),
			sandbox: sandbox,
			created: status.GetCreatedAt(),
			image:   cmp.Or(status.GetImage().GetUserSpecifiedImage(), status.GetImage().GetImage()),
		}
		l.runs[status.GetId()] = r
	}
	r.state, r.code, r.reason = status.GetState(), status.GetExitCode(), status.GetReason()
	r.started, r.doubtful, r.gone = status.GetStartedAt() != 0, false, false
}

// checkStart holds a start against all that is promised. l.mu is held.
func (l *ledger) checkStart(id string) {
	next := l.runs[id]
	var last *instance
	for otherID, other := range l.runs {
		if otherID == id || other.pod != next.pod {
			continue
		}
		if other.mayRun() && !other.doubtful && other.uid != next.uid {
			l.violated("%s of %s starts while %s of %s is %s", next.name, next.uid, other.name, other.uid, other.state)
		}
		if other.uid != next.uid || other.name != next.name {
			continue
		}
		if other.mayRun() && !other.doubtful {
			l.violated("%s/%s starts while another one is %s", next.pod, next.name, other.state)
		}
		if last == nil || other.created > last.created {
			last = other
		}
	}
	lived := slices.Contains(l.exempted, next.uid)
	if last != nil && !(lived && last.gone) && !mayFollow(l.specs[next.uid], next, last) {
		l.violated("%s/%s starts again after exit code %d %s, against its policy", next.pod, next.name, last.code, last.reason)
	}
	if phase := l.reported.phase[next.uid]; ended(phase) && !lived {
		l.violated("%s/%s starts after its pod was reported as %s", next.pod, next.name, phase)
	}
}

// called notes what the agent does, and that it asks a container to end. It is a
// Fault's Match that hits nothing.
func (l *ledger) called(call critest.Call) bool {
	if !call.Changes() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, line{at: time.Now(), call: call.Request})
	if r := l.runs[call.ID]; r != nil && call.Method == "StopContainer" {
		r.told = true
	}
	return false
}

// isLedgers reports whether the ledger makes the call: the agent filters its
// lists and wants no verbose status.
func isLedgers(call critest.Call) bool {
	switch request := call.Request.(type) {
	case *runtimeapi.ListContainersRequest:
		return request.GetFilter() == nil
	case *runtimeapi.ListPodSandboxRequest:
		return request.GetFilter() == nil
	case *runtimeapi.ContainerStatusRequest:
		return request.GetVerbose()
	}
	return false
}

// refresh asks the runtime for what there was no event for, if it is there.
func (l *ledger) refresh(runtime *critest.Runtime) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if l.conn == nil {
		conn, err := grpc.NewClient("passthrough:///critest", grpc.WithContextDialer(runtime.DialContext), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			l.broke("%v", err)
			return
		}
		l.conn = conn
	}
	if err := l.list(ctx, runtimeapi.NewRuntimeServiceClient(l.conn)); err != nil {
		l.close() // and dial anew, without gRPC's back-off
	}
}

func (l *ledger) close() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

func (l *ledger) list(ctx context.Context, runtime runtimeapi.RuntimeServiceClient) error {
	sandboxes, err := runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	containers, err := runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return err
	}
	var statuses []*runtimeapi.ContainerStatus
	for _, c := range containers.GetContainers() {
		if !l.outdated(c) {
			continue
		}
		answer, err := runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.GetId(), Verbose: true})
		if err != nil {
			return err
		}
		statuses = append(statuses, answer.GetStatus())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.sandboxes)
	for _, sandbox := range sandboxes.GetItems() {
		l.sandboxes[sandbox.GetId()] = sandbox
	}
	left := map[string]bool{}
	for _, c := range containers.GetContainers() {
		left[c.GetId()] = true
	}
	maps.DeleteFunc(l.runs, func(id string, r *instance) bool { return !r.gone && !left[id] })
	for _, status := range statuses {
		if r := l.runs[status.GetId()]; r != nil {
			l.note(status, r.sandbox, nil)
		}
	}
	return nil
}

func (l *ledger) outdated(c *runtimeapi.Container) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.runs[c.GetId()]
	return r != nil && (r.doubtful || r.state != c.GetState())
}

func (l *ledger) runsNow(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[id] != nil && l.runs[id].mayRun()
}

// doubt is for when the runtime was away: what ran may have ended.
func (l *ledger) doubt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.runs {
		r.doubtful = true
	}
}

// forget is for what the runtime lost with a container's or sandbox's ID, unless
// that failed.
func (l *ledger) forget(id string, err error) error {
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.runs, func(container string, r *instance) bool { return container == id || r.sandbox == id })
	maps.DeleteFunc(l.sandboxes, func(sandbox string, _ *runtimeapi.PodSandbox) bool { return sandbox == id })
	return nil
}

// alive is what runs of each pod: names of containers, and whether it has a sandbox.
func (l *ledger) alive() (running map[types.UID][]string, ready map[types.UID]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	running, ready = map[types.UID][]string{}, map[types.UID]bool{}
	for _, r := range l.runs {
		if r.mayRun() {
			running[r.uid] = append(running[r.uid], r.name)
		}
	}
	for _, sandbox := range l.sandboxes {
		if sandbox.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY {
			ready[types.UID(sandbox.GetMetadata().GetUid())] = true
		}
	}
	return running, ready
}

func (l *ledger) scriptEvents(next int, fate critest.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fates, l.fate = next, fate
}

// promises are what was said of pods, which may not be taken back.
type promises struct {
	phase    map[types.UID]corev1.PodPhase
	restarts map[string]int32 // by UID and container
}

func newPromises() *promises {
	return &promises{phase: map[types.UID]corev1.PodPhase{}, restarts: map[string]int32{}}
}

// report takes what the agent tells the upstream, which is in its store.
func (l *ledger) report(pod *corev1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write("    reports %s %s", pod.UID, phases(&pod.Status))
	l.hold(l.reported, pod)
}

// shows takes what the agent shows.
func (l *ledger) shows(shown *promises, pod *corev1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold(shown, pod)
}

// hold compares what is said with what was. l.mu is held.
func (l *ledger) hold(m *promises, pod *corev1.Pod) {
	if slices.Contains(l.exempted, pod.UID) {
		return
	}
	if was := m.phase[pod.UID]; ended(was) && pod.Status.Phase != was {
		l.violated("phase of %s was %s and is %s", pod.UID, was, pod.Status.Phase)
	}
	m.phase[pod.UID] = pod.Status.Phase
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		key := string(pod.UID) + "/" + c.Name
		if c.RestartCount < m.restarts[key] {
			l.violated("restart count of %s was %d and is %d", key, m.restarts[key], c.RestartCount)
		}
		m.restarts[key] = c.RestartCount
	}
}

func (l *ledger) exempt(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.exempted = append(l.exempted, uid)
}

// amnesia is for when the agent's store is lost.
func (l *ledger) amnesia() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reported = newPromises()
}

// phases is a status in one line: "Running a:Running/2 b:CrashLoopBackOff/5".
func phases(status *corev1.PodStatus) string {
	text := string(status.Phase)
	for _, c := range slices.Concat(status.InitContainerStatuses, status.ContainerStatuses) {
		state := "Running"
		switch {
		case c.State.Waiting != nil:
			state = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			state = fmt.Sprintf("%s(%d)", c.State.Terminated.Reason, c.State.Terminated.ExitCode)
		}
		text += fmt.Sprintf(" %s:%s/%d", c.Name, state, c.RestartCount)
	}
	return text
}

func (l *ledger) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write("== "+format, args...)
}

// write adds a line to the trace. l.mu is held.
func (l *ledger) write(format string, args ...any) {
	l.said = append(l.said, line{at: time.Now(), text: fmt.Sprintf(format, args...)})
}

func (l *ledger) broke(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violated(format, args...)
}

// violated notes that a promise was broken. l.mu is held.
func (l *ledger) violated(format string, args ...any) {
	l.broken = true
	l.write("!! "+format, args...)
}

func (l *ledger) isBroken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

func (l *ledger) lines() []line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.said)
}
