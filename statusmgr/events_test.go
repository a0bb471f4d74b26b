package statusmgr_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/statusmgr"
)

const (
	normal  = corev1.EventTypeNormal
	warning = corev1.EventTypeWarning
)

// of is a pod of that name, and maybe one of its containers.
func of(name, container string) *corev1.ObjectReference {
	ref := &corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: name, UID: types.UID("uid-" + name)}
	if container != "" {
		ref.FieldPath = "spec.containers{" + container + "}"
	}
	return ref
}

// fakeReporter records what it is told as "reason message xcount".
type fakeReporter struct {
	mu     sync.Mutex
	told   []string
	names  []string
	behave func(ctx context.Context, event *corev1.Event) error
}

func (r *fakeReporter) ReportEvent(ctx context.Context, event *corev1.Event) error {
	r.mu.Lock()
	r.told, r.names = append(r.told, line(event)), append(r.names, event.Name)
	behave := r.behave
	r.mu.Unlock()
	if behave != nil {
		return behave(ctx, event)
	}
	return nil
}

func (r *fakeReporter) answer(behave func(context.Context, *corev1.Event) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behave = behave
}

func (r *fakeReporter) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.told...)
}

func line(event *corev1.Event) string {
	return fmt.Sprintf("%s %s x%d", event.Reason, event.Message, event.Count)
}

func lines(events []*corev1.Event) []string {
	all := []string{}
	for _, event := range events {
		all = append(all, line(event))
	}
	return all
}

// inEvents runs the test in virtual time beside running events.
func inEvents(t *testing.T, cfg statusmgr.EventsConfig, test func(e *statusmgr.Events, r *fakeReporter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &fakeReporter{}
		cfg.Reporter = r
		e := statusmgr.NewEvents(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- e.Run(ctx) }()
		synctest.Wait()
		test(e, r)
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestEventReadsLikeTheKubelets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := statusmgr.NewEvents(statusmgr.EventsConfig{Component: "edged", Host: "edge-1"})
		start := time.Now()
		e.Event(of("web", "app"), warning, "BackOff", "Back-off restarting failed container")
		time.Sleep(time.Minute)
		e.Event(of("web", "app"), warning, "BackOff", "Back-off restarting failed container")

		require.Len(t, e.List(), 1)
		event := e.List()[0]
		assert.Equal(t, fmt.Sprintf("web.%x", start.UnixNano()), event.Name)
		assert.Equal(t, "shop", event.Namespace)
		assert.Equal(t, *of("web", "app"), event.InvolvedObject)
		assert.Equal(t, warning, event.Type)
		assert.Equal(t, "BackOff", event.Reason)
		assert.Equal(t, "Back-off restarting failed container", event.Message)
		assert.Equal(t, corev1.EventSource{Component: "edged", Host: "edge-1"}, event.Source)
		assert.True(t, event.FirstTimestamp.Time.Equal(start))
		assert.True(t, event.LastTimestamp.Time.Equal(start.Add(time.Minute)))
		assert.EqualValues(t, 2, event.Count)
		assert.Equal(t, "edged", event.ReportingController)
		assert.Equal(t, "edge-1", event.ReportingInstance)
	})
	t.Run("of an object without namespace", func(t *testing.T) {
		e := statusmgr.NewEvents(statusmgr.EventsConfig{})
		e.Event(&corev1.ObjectReference{Kind: "Node", Name: "edge-1"}, normal, "Starting", "")
		assert.Equal(t, "default", e.List()[0].Namespace)
		assert.Equal(t, "edged", e.List()[0].Source.Component)
	})
	t.Run("of no object at all", func(t *testing.T) {
		e := statusmgr.NewEvents(statusmgr.EventsConfig{})
		e.Event(nil, normal, "Starting", "")
		assert.Empty(t, e.List())
	})
}

func TestOnlyTheSameEventIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := statusmgr.NewEvents(statusmgr.EventsConfig{})
		other := of("web", "a")
		other.UID = "another"
		for range 2 {
			e.Event(of("web", "a"), normal, "Pulled", "m")
			e.Event(of("web", "b"), normal, "Pulled", "m")
			e.Event(of("api", "a"), normal, "Pulled", "m")
			e.Event(other, normal, "Pulled", "m")
			e.Event(of("web", "a"), warning, "Pulled", "m")
			e.Event(of("web", "a"), normal, "Started", "m")
			e.Event(of("web", "a"), normal, "Pulled", "n")
		}
		names := map[string]bool{}
		for _, event := range e.List() {
			assert.EqualValues(t, 2, event.Count)
			names[event.Name] = true
		}
		assert.Len(t, names, 7, "each has a name of its own, at one and the same time too")
		assert.Len(t, e.Of("uid-web"), 5)
		assert.Empty(t, e.Of("unheard of"))
	})
}

func TestManySimilarEventsAreCombined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := statusmgr.NewEvents(statusmgr.EventsConfig{})
		for i := range 15 {
			e.Event(of("web", ""), warning, "FailedMount", fmt.Sprint("try ", i))
		}
		e.Event(of("web", ""), warning, "FailedMount", "try 3")
		e.Event(of("web", ""), warning, "Failed", "another reason")
		e.Event(of("api", ""), warning, "FailedMount", "another pod")
		got := lines(e.List())
		assert.Len(t, got, 13)
		assert.Contains(t, got, "FailedMount (combined from similar events): try 14 x5")
		assert.Contains(t, got, "FailedMount try 3 x2", "what was told apart before still is")
		assert.Contains(t, got, "Failed another reason x1")
		assert.Contains(t, got, "FailedMount another pod x1")

		time.Sleep(10*time.Minute + 1)
		e.Event(of("web", ""), warning, "FailedMount", "much later")
		assert.Contains(t, lines(e.List()), "FailedMount much later x1", "it starts over after a pause")
	})
}

func TestOldestEventsAreDropped(t *testing.T) {
	e := statusmgr.NewEvents(statusmgr.EventsConfig{Capacity: 3})
	for _, reason := range []string{"A", "B", "C", "A", "D"} {
		e.Event(of("web", ""), normal, reason, "m")
	}
	assert.Equal(t, []string{"C m x1", "A m x2", "D m x1"}, lines(e.List()), "what happened last is last")

	many := statusmgr.NewEvents(statusmgr.EventsConfig{})
	for i := range 1100 {
		many.Event(of(fmt.Sprint("pod-", i), ""), normal, "Started", "m")
	}
	assert.Len(t, many.List(), 1000)
	assert.Equal(t, "pod-1099", many.List()[999].InvolvedObject.Name)
}

func TestLongTextsAreCut(t *testing.T) {
	e := statusmgr.NewEvents(statusmgr.EventsConfig{})
	for range 2 {
		e.Event(of("web", ""), normal, strings.Repeat("R", 200), "ab"+strings.Repeat("€", 1000))
	}
	require.Len(t, e.List(), 1)
	event := e.List()[0]
	assert.Len(t, event.Reason, 128)
	assert.Equal(t, "ab"+strings.Repeat("€", 340), event.Message, "1024 bytes would split a character")
	assert.True(t, utf8.ValidString(event.Message))
}

func TestEventsAreReportedAtOnceAndIdleOnesNever(t *testing.T) {
	inEvents(t, statusmgr.EventsConfig{}, func(e *statusmgr.Events, r *fakeReporter) {
		e.Event(of("web", ""), normal, "Pulled", "m")
		synctest.Wait()
		assert.Equal(t, []string{"Pulled m x1"}, r.lines())
		time.Sleep(time.Minute)
		e.Event(of("web", ""), normal, "Pulled", "m")
		synctest.Wait()
		time.Sleep(24 * time.Hour)
		assert.Equal(t, []string{"Pulled m x1", "Pulled m x2"}, r.lines())
		assert.Equal(t, r.names[0], r.names[1])
	})
}

func TestEventsBeforeRunAreReportedInTheOrderOfChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &fakeReporter{}
		e := statusmgr.NewEvents(statusmgr.EventsConfig{Reporter: r})
		for _, reason := range []string{"Pulling", "Pulled", "Created", "Pulling"} {
			e.Event(of("web", ""), normal, reason, "m")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, e.Run(ctx))
		assert.Equal(t, []string{"Pulling m x2", "Pulled m x1", "Created m x1"}, r.lines())
	})
}

func TestEventsWithoutAReporterAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := statusmgr.NewEvents(statusmgr.EventsConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		e.Event(of("web", ""), normal, "Pulled", "m")
		require.NoError(t, e.Run(ctx))
		assert.Error(t, ctx.Err(), "Run lasts as long as its context")
		assert.Len(t, e.List(), 1)
	})
}

func TestEventDoesNotBlockOnAHangingReporter(t *testing.T) {
	inEvents(t, statusmgr.EventsConfig{ReportTimeout: 3 * time.Second}, func(e *statusmgr.Events, r *fakeReporter) {
		r.answer(func(ctx context.Context, _ *corev1.Event) error { <-ctx.Done(); return ctx.Err() })
		start := time.Now()
		e.Event(of("web", ""), normal, "Pulled", "m")
		synctest.Wait()
		for range 3 {
			e.Event(of("web", ""), normal, "Pulled", "m")
		}
		assert.Equal(t, []string{"Pulled m x4"}, lines(e.List()))
		assert.Zero(t, time.Since(start))

		time.Sleep(3 * time.Second)
		r.answer(nil)
		time.Sleep(time.Minute)
		assert.Equal(t, "Pulled m x4", r.lines()[len(r.lines())-1], "the newest is what goes in the end")
	})
}

func TestReporterThatFailsIsAskedOncePerPass(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	inEvents(t, statusmgr.EventsConfig{Logger: zap.New(core)}, func(e *statusmgr.Events, r *fakeReporter) {
		r.answer(func(context.Context, *corev1.Event) error { return errors.New("offline") })
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			e.Event(of(name, ""), normal, "Started", name)
			synctest.Wait()
		}
		assert.Len(t, r.lines(), 5, "once for each event")
		time.Sleep(time.Hour + time.Second)
		assert.Len(t, r.lines(), 5+360, "and then once each ten seconds")

		r.answer(nil)
		time.Sleep(time.Hour)
		after := r.lines()[5+360:]
		assert.ElementsMatch(t, []string{"Started a x1", "Started b x1", "Started c x1", "Started d x1", "Started e x1"}, after)

		require.Equal(t, 2, logs.Len(), "a lasting failure is one warning")
		assert.Equal(t, zap.WarnLevel, logs.All()[0].Level)
		assert.Equal(t, "offline", logs.All()[0].ContextMap()["error"])
		assert.Equal(t, zap.InfoLevel, logs.All()[1].Level)
	})
}

func TestOneEventThatIsRefusedHoldsUpNoOther(t *testing.T) {
	inEvents(t, statusmgr.EventsConfig{}, func(e *statusmgr.Events, r *fakeReporter) {
		r.answer(func(_ context.Context, event *corev1.Event) error {
			if event.Reason == "Bad" {
				return errors.New("refused")
			}
			return nil
		})
		e.Event(of("web", ""), normal, "Bad", "1")
		e.Event(of("api", ""), normal, "Bad", "2")
		e.Event(of("web", ""), normal, "Good", "1")
		time.Sleep(time.Minute)
		e.Event(of("web", ""), normal, "Good", "2")
		synctest.Wait()
		assert.Contains(t, r.lines(), "Good 1 x1")
		assert.Contains(t, r.lines(), "Good 2 x1")
	})
}

func TestOneObjectCannotFloodTheReporter(t *testing.T) {
	inEvents(t, statusmgr.EventsConfig{}, func(e *statusmgr.Events, r *fakeReporter) {
		const hours = 10
		for range hours * 3600 {
			e.Event(of("web", ""), warning, "BackOff", "m")
			time.Sleep(time.Second)
		}
		synctest.Wait()
		assert.LessOrEqual(t, len(r.lines()), 25+hours*12+1)
		assert.GreaterOrEqual(t, len(r.lines()), 25+hours*12-1)
		assert.Equal(t, []string{fmt.Sprintf("BackOff m x%d", hours*3600)}, lines(e.List()), "every one is counted")

		before := len(r.lines())
		e.Event(of("api", ""), warning, "BackOff", "m")
		synctest.Wait()
		assert.Len(t, r.lines(), before+1, "another object has an allowance of its own")

		time.Sleep(25 * 5 * time.Minute)
		for i := range 30 {
			e.Event(of("web", ""), normal, fmt.Sprint("Reason", i), "m")
			synctest.Wait()
		}
		assert.Len(t, r.lines(), before+26, "after a pause the allowance is whole again")
	})
}

func TestAnOutageDoesNotUseUpTheAllowance(t *testing.T) {
	inEvents(t, statusmgr.EventsConfig{}, func(e *statusmgr.Events, r *fakeReporter) {
		r.answer(func(context.Context, *corev1.Event) error { return errors.New("offline") })
		for range 1000 {
			e.Event(of("web", ""), warning, "BackOff", "m")
			synctest.Wait()
		}
		r.answer(nil)
		time.Sleep(11 * time.Second)
		e.Event(of("web", ""), normal, "Killing", "m")
		synctest.Wait()
		got := r.lines()
		assert.Equal(t, []string{"BackOff m x1000", "Killing m x1"}, got[len(got)-2:])
	})
}

func TestCallersCannotChangeTheEventsThatAreKept(t *testing.T) {
	inEvents(t, statusmgr.EventsConfig{}, func(e *statusmgr.Events, r *fakeReporter) {
		r.answer(func(_ context.Context, event *corev1.Event) error { event.Message = "changed"; return nil })
		ref := of("web", "")
		e.Event(ref, normal, "Started", "m")
		ref.Name = "changed"
		synctest.Wait()
		e.List()[0].Message = "changed"
		e.Of("uid-web")[0].Message = "changed"
		assert.Equal(t, "m", e.List()[0].Message)
		assert.Equal(t, "web", e.List()[0].InvolvedObject.Name)
	})
}

func TestEventsAreSafeForConcurrentUse(t *testing.T) {
	inEvents(t, statusmgr.EventsConfig{}, func(e *statusmgr.Events, _ *fakeReporter) {
		var group sync.WaitGroup
		for _, name := range []string{"a", "b", "c", "d"} {
			group.Go(func() {
				for range 10 {
					e.Event(of(name, ""), normal, "Started", "m")
					e.List()
					e.Of("uid-a")
				}
			})
		}
		group.Wait()
		for _, event := range e.List() {
			assert.EqualValues(t, 10, event.Count)
		}
	})
}

// FuzzEvents lets anything happen, in any order and at any time, and checks that
// what is kept stays small, is text, and counts what happened.
func FuzzEvents(f *testing.F) { f.Fuzz(rapid.MakeFuzz(checkEvents)) }

func TestWhatHoldsForAllEvents(t *testing.T) { rapid.Check(t, checkEvents) }

func checkEvents(t *rapid.T) {
	capacity := rapid.IntRange(1, 20).Draw(t, "capacity")
	e := statusmgr.NewEvents(statusmgr.EventsConfig{Capacity: capacity})
	text := rapid.OneOf(
		rapid.String(), rapid.SampledFrom([]string{"a", "b", "\xff\xe2\x82"}),
		rapid.Map(rapid.IntRange(1000, 1100), func(n int) string { return strings.Repeat("é", n) }),
	)
	happened := map[types.UID]int32{}
	for range rapid.IntRange(0, 100).Draw(t, "events") {
		ref := of(rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "pod"), rapid.SampledFrom([]string{"", "c"}).Draw(t, "container"))
		happened[ref.UID]++
		e.Event(ref, rapid.SampledFrom([]string{normal, warning}).Draw(t, "type"), text.Draw(t, "reason"), text.Draw(t, "message"))
		require.NotEmpty(t, e.Of(ref.UID), "what happened last is kept")
	}
	require.LessOrEqual(t, len(e.List()), capacity)
	counted, names := map[types.UID]int32{}, map[string]bool{}
	for _, event := range e.List() {
		require.LessOrEqual(t, len(event.Message), 1024)
		require.LessOrEqual(t, len(event.Reason), 128)
		require.True(t, utf8.ValidString(event.Message) && utf8.ValidString(event.Reason))
		require.Positive(t, event.Count)
		require.False(t, names[event.Name], "names are used once")
		names[event.Name] = true
		counted[event.InvolvedObject.UID] += event.Count
	}
	for uid, count := range counted {
		require.LessOrEqual(t, count, happened[uid])
	}
}
