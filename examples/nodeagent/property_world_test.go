package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

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

	capacity  int64              // of CPU, in thousandths
	forgetful bool               // a store, or the last of it, was lost: what was set aside is not known
	left      map[types.UID]bool // deleted under this agent, that knew them
	anew      map[types.UID]int  // put back under this agent, and how often it had started by then
	faults    []func()           // remove them
	lives     int                // of pods, for new UIDs
	offUntil  time.Time          // the host is: nothing can happen in it
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
		lives:   1, capacity: int64(runtime.NumCPU()) * 1000,
	}
	w.ledger = &ledger{started: map[types.UID]int{}, specs: map[types.UID]*corev1.Pod{}, runs: map[string]*instance{}, sandboxes: map[string]*runtimeapi.PodSandbox{}, reported: newPromises()}
	w.up = &fickleCloud{changed: make(chan struct{}, 1), reported: w.ledger.report, keeps: h.Keeps}
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
	var given int64
	for _, pod := range w.agent.allocated(w.agent.pods.Admitted()) {
		for i := range pod.Spec.Containers {
			given += pod.Spec.Containers[i].Resources.Requests.Cpu().MilliValue()
		}
	}
	if given > w.capacity && !w.forgetful {
		w.ledger.broke("%d thousandths of a CPU were given away, of %d", given, w.capacity)
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
		if pod.DeletionTimestamp != nil {
			return fmt.Sprintf("pod %s was deleted, and the upstream never heard of its end", uid)
		}
		if before, anew := w.anew[uid]; anew && before == w.ledger.starts(uid) && ended(status.Phase) && status.Reason == "" {
			return fmt.Sprintf("pod %s was put back and never ran: %s", uid, phases(&status))
		}
		if why := cmp.Or(unsettledPod(pod, status, running[uid], ready[uid]), gate(pod, status)); why != "" {
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

// gate says whether the readiness of the pod does not go by its gate.
func gate(pod *corev1.Pod, status corev1.PodStatus) string {
	condition := func(conditions []corev1.PodCondition, kind corev1.PodConditionType) corev1.ConditionStatus {
		for _, c := range conditions {
			if c.Type == kind {
				return c.Status
			}
		}
		return ""
	}
	should := len(pod.Spec.ReadinessGates) == 0 || condition(pod.Status.Conditions, gateType) == corev1.ConditionTrue
	should = should && condition(status.Conditions, corev1.ContainersReady) == corev1.ConditionTrue
	if is := condition(status.Conditions, corev1.PodReady) == corev1.ConditionTrue; is != should {
		return fmt.Sprintf("is ready: %t", is)
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
	w.left, w.anew = map[types.UID]bool{}, map[types.UID]int{}
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

// knows reports whether the agent has begun the pod, and hears of what becomes of it.
func (w *world) knows(uid types.UID) bool {
	if w.agent == nil || w.up.isCut() {
		return false
	}
	_, begun := w.agent.statuses.Get(uid)
	return begun
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
	w.ledger.doubt(options.Down)
	w.offUntil = time.Now().Add(options.Down)
}

// fault makes calls of the agent fail, but not those of the ledger.
func (w *world) fault(s step, what string, fault critest.Fault) {
	w.ledger.say("next %d %s %s", s.Times, s.Method, what)
	fault.Method, fault.Times = s.Method, s.Times
	fault.Match = func(c critest.Call) bool { return !isLedgers(c) }
	w.faults = append(w.faults, w.runtime.Inject(fault))
}
