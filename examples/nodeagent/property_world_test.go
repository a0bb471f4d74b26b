package main

import (
	"context"
	"errors"
	"fmt"
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
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/metaclient"
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
		w.ledger.doubt(s.Lasts)
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

func (c *fickleCloud) Watch(ctx context.Context, sink metaclient.Sink) error {
	for {
		if c.isCut() {
			return errCut
		}
		if err := sink.Pods(ctx, c.all()); err != nil {
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
