package podmanager_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/podmanager"
	"github.com/edged-project/edged/podmanager/admission"
)

// op is one step of a schedule.
type op struct {
	Do   string
	UID  types.UID
	UIDs []types.UID
	Then time.Duration // passes afterwards
}

// outcome is what one call of Sync or Kill does.
type outcome struct {
	Takes            time.Duration
	Fails, Finishes  bool
	Retries          bool
	IgnoresItsCancel bool
}

// life is all that is random about one run.
type life struct {
	Running  []types.UID // from an earlier agent
	Ops      []op
	Outcomes []outcome // of the calls, in turn
	Final    []types.UID
}

// UIDs a0, a1 … share the name a, so any two of a letter may not run together.
var uids = []types.UID{"a0", "a1", "a2", "b0", "b1", "c0", "d0"}

func member(uid types.UID, opts ...option) *corev1.Pod {
	opts = append(opts, named(string(uid[0])), created(int64(uid[1])), specGrace(20), requesting(demand[uid]))
	return pod(uid, opts...)
}

// demand is what each pod requests of the node's 1000 thousandths of a CPU.
var demand = map[types.UID]int64{"a0": 300, "a1": 300, "a2": 1100, "b0": 400, "b1": 0, "c0": 500, "d0": 200}

const capacity = 1000

func requesting(milli int64) option {
	return func(p *corev1.Pod) {
		p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: cpu(milli)}}}
	}
}

func cpu(milli int64) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)}
}

func lives() *rapid.Generator[life] {
	uid := rapid.SampledFrom(uids)
	some := rapid.SliceOfNDistinct(uid, 0, 4, rapid.ID[types.UID])
	// At most one of a name, as an earlier agent left them and as a sane source has
	// them in the end.
	sane := rapid.SliceOfNDistinct(uid, 0, 4, func(u types.UID) byte { return u[0] })
	pauses := rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, time.Second, 15 * time.Second, 2 * time.Minute})
	ops := rapid.Custom(func(t *rapid.T) op {
		return op{
			Do: rapid.SampledFrom([]string{
				"set", "set", "update", "deleting", "force", "failed", "delete", "wake", "replace", "exit",
			}).Draw(t, "do"),
			UID:  uid.Draw(t, "uid"),
			UIDs: some.Draw(t, "uids"),
			Then: pauses.Draw(t, "then"),
		}
	})
	outcomes := rapid.Custom(func(t *rapid.T) outcome {
		return outcome{
			Takes:            pauses.Draw(t, "takes"),
			Fails:            rapid.Bool().Draw(t, "fails"),
			Finishes:         rapid.IntRange(0, 9).Draw(t, "finishes") == 9,
			Retries:          rapid.Bool().Draw(t, "retries"),
			IgnoresItsCancel: rapid.Bool().Draw(t, "ignores"),
		}
	})
	return rapid.Custom(func(t *rapid.T) life {
		return life{
			Running:  sane.Draw(t, "running"),
			Ops:      rapid.SliceOfN(ops, 1, 30).Draw(t, "ops"),
			Outcomes: rapid.SliceOfN(outcomes, 0, 60).Draw(t, "outcomes"),
			Final:    sane.Draw(t, "final"),
		}
	})
}

// Whatever is said in whatever order, with Syncs and Kills that hang and fail: the
// guarantees hold (the fake watches), no pod is admitted for which there is no room
// beside those that run, and in the end what is desired and was not refused runs,
// and nothing else does.
func TestAnyScheduleKeepsTheGuaranteesAndConverges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := lives().Draw(rt, "life")
		var broken []string
		synctest.Test(t, func(t *testing.T) { broken = live(t, l) })
		if len(broken) > 0 {
			rt.Fatalf("%q", broken)
		}
	})
}

// live plays l and returns what went wrong.
func live(t *testing.T, l life) []string {
	f := &listing{fake: newFake()}
	mayEnd := map[types.UID]bool{} // was said to have ended by itself; guarded by f.mu
	script := func(ctx context.Context, p *corev1.Pod, verb string) (outcome, error) {
		f.mu.Lock()
		var o outcome
		if len(l.Outcomes) > 0 {
			o, l.Outcomes = l.Outcomes[0], l.Outcomes[1:]
		}
		f.mu.Unlock()
		cancelled := ctx.Done()
		if o.IgnoresItsCancel {
			cancelled = nil
		}
		if o.Takes > 0 {
			select {
			case <-cancelled:
				return o, ctx.Err()
			case <-time.After(o.Takes):
			}
		}
		if o.Fails {
			return o, errBroken
		}
		if verb == "sync" && o.Finishes && ctx.Err() == nil {
			f.mu.Lock()
			mayEnd[p.UID] = true
			f.mu.Unlock()
		}
		return o, nil
	}
	taken := map[types.UID]bool{} // synced, and not yet killed; guarded by f.mu
	f.onSync = func(ctx context.Context, p *corev1.Pod) (podmanager.Result, error) {
		f.mu.Lock()
		taken[p.UID] = true
		f.mu.Unlock()
		o, err := script(ctx, p, "sync")
		res := podmanager.Result{Finished: o.Finishes}
		if o.Retries {
			res.RetryAt = time.Now().Add(o.Takes)
		}
		return res, err
	}
	f.onKill = func(ctx context.Context, p *corev1.Pod, _ time.Duration) error {
		_, err := script(ctx, p, "kill")
		if err == nil {
			f.mu.Lock()
			delete(taken, p.UID)
			f.mu.Unlock()
		}
		return err
	}
	node := admission.Node{Allocatable: cpu(capacity)}
	check := func(p *corev1.Pod, admitted []*corev1.Pod) *podmanager.Rejection {
		why := admission.Check(p, node, admitted)
		f.mu.Lock()
		defer f.mu.Unlock()
		used := int64(0)
		for uid := range taken {
			used += demand[uid]
		}
		if d := demand[p.UID]; why == nil && d > 0 && used+d > capacity {
			f.broken = append(f.broken, fmt.Sprintf("%s admitted with %d beside %d", p.UID, d, used))
		}
		return why
	}
	for _, uid := range l.Running {
		f.running(member(uid))
	}
	m := podmanager.New(f, f.admitting(check))
	runUntilEnd(t, m)
	for _, o := range l.Ops {
		if o.Do == "failed" {
			f.mu.Lock()
			mayEnd[o.UID] = true
			f.mu.Unlock()
		}
		f.do(m, o)
		time.Sleep(o.Then)
	}

	f.mu.Lock()
	l.Outcomes = nil // all is well from here on
	f.mu.Unlock()
	after(5 * time.Minute)
	m.Replace(members(l.Final))
	after(5 * time.Minute)
	return f.verdict(m, l.Final, mayEnd)
}

func (l *listing) do(m *podmanager.Manager, o op) {
	switch o.Do {
	case "set":
		m.Set(member(o.UID))
	case "update":
		m.Set(member(o.UID, labelled(fmt.Sprint(time.Since(l.start)))))
	case "deleting":
		m.Set(member(o.UID, deleting(10)))
	case "force":
		m.Set(member(o.UID, deleting(0)))
	case "failed":
		m.Set(member(o.UID, phase(corev1.PodFailed)))
	case "delete":
		m.Delete(o.UID)
	case "wake":
		m.Wake(o.UID)
	case "exit":
		l.exited(o.UID)
	case "replace":
		m.Replace(members(o.UIDs))
	}
}

func members(uids []types.UID) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, uid := range uids {
		pods = append(pods, member(uid))
	}
	return pods
}

// verdict compares what runs with what should.
func (l *listing) verdict(m *podmanager.Manager, desired []types.UID, mayEnd map[types.UID]bool) []string {
	var pods []types.UID
	for _, p := range m.Pods() {
		pods = append(pods, p.UID)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	broken := l.broken
	for _, uid := range uids {
		wanted := slices.Contains(desired, uid)
		ended := l.killed[uid] && mayEnd[uid]
		if runs, should := l.runs[uid] != nil, wanted && !ended && !l.denied[uid]; runs != should {
			broken = append(broken, fmt.Sprintf("%s: runs %v, should %v", uid, runs, should))
		}
		if has := slices.Contains(pods, uid); has != wanted {
			broken = append(broken, fmt.Sprintf("%s: listed %v, should be %v", uid, has, wanted))
		}
	}
	return broken
}
