package metaclient_test

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever is delivered, asked and reported, late, repeated or out of order, and
// whatever befalls the network and the node, in whatever order:
//
//   - an older version of an object is never seen after a newer one;
//   - what was handed on, told or flushed is there after a crash;
//   - of one object no two questions are under way at the same time;
//   - in the end, when the network is there, the node has what the cloud has, and
//     the cloud has the newest report on each pod, on the node, and of each event.
//
// For more histories: go test -run TestEveryHistory -rapid.checks=5000 .
func TestEveryHistory(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		require.NoError(t, checks.Value.Set("60"))
		defer func() { _ = checks.Value.Set(checks.DefValue) }()
	}
	rapid.Check(t, func(rt *rapid.T) {
		h := rapid.SliceOfN(steps(), 5, 40).Draw(rt, "history")
		seed := rapid.Uint64().Draw(rt, "seed")
		var broken []string
		var trace []string
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed)
			for _, s := range h {
				w.trace = append(w.trace, fmt.Sprint(s))
				moves()[s.do](w, s)
				time.Sleep(s.then)
				synctest.Wait()
				w.look()
			}
			w.settle()
			broken, trace = w.promises(), w.trace
		})
		if len(broken) > 0 {
			rt.Fatalf("broken: %s\nafter:\n%s", strings.Join(broken, "; "), strings.Join(trace, "\n"))
		}
	})
}

// step is something that happens, to the pod or object of this number.
type step struct {
	do   string
	n    int
	then time.Duration
}

func (s step) String() string { return fmt.Sprintf("%s %d, %s", s.do, s.n, s.then) }

func steps() *rapid.Generator[step] {
	return rapid.Custom(func(rt *rapid.T) step {
		return step{
			do: rapid.SampledFrom(slices.Sorted(maps.Keys(moves()))).Draw(rt, "do"),
			n:  rapid.IntRange(0, 2).Draw(rt, "n"),
			then: rapid.SampledFrom([]time.Duration{
				0, time.Millisecond, 300 * time.Millisecond, 3 * time.Second, 20 * time.Second, 3 * time.Minute,
			}).Draw(rt, "then"),
		}
	})
}

func moves() map[string]func(w *world, s step) {
	return map[string]func(w *world, s step){
		"put configmap":    func(w *world, s step) { w.cloud.Put(configMap(name("c", s.n), w.fresh())) },
		"put secret":       func(w *world, s step) { w.cloud.Put(secret(name("s", s.n), w.fresh())) },
		"delete configmap": func(w *world, s step) { w.cloud.Delete(configMapRef(name("c", s.n))) },
		"delete secret":    func(w *world, s step) { w.cloud.Delete(secretRef(name("s", s.n))) },
		"put pod":          func(w *world, s step) { w.putPod(s.n) },
		"delete pod":       func(w *world, s step) { w.deletePod(s.n) },
		"cut":              func(w *world, _ step) { w.cloud.Cut() },
		"heal":             func(w *world, _ step) { w.cloud.Heal() },
		"hang":             func(w *world, _ step) { w.cloud.Hang() },
		"delay":            func(w *world, s step) { w.cloud.Delay(time.Duration(s.n) * 700 * time.Millisecond) },
		"unruly":           func(w *world, s step) { w.unruly(s.n > 0) },
		"report status":    func(w *world, s step) { w.reportStatus(s.n) },
		"report node":      func(w *world, _ step) { w.reportNode() },
		"report event":     func(w *world, s step) { w.reportEvent(s.n) },
		"flush":            func(w *world, _ step) { w.flush() },
		"disk full":        func(w *world, _ step) { w.fill(true) },
		"disk free":        func(w *world, _ step) { w.fill(false) },
		"read":             func(w *world, s step) { w.read(s.n) },
		"resync":           func(w *world, s step) { w.resync(time.Duration(s.n) * time.Second) },
		"crash":            func(w *world, _ step) { w.crash() },
	}
}

func name(kind string, n int) string { return fmt.Sprint(kind, n) }
