package metaclient_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/metatest"
)

// runningStatus is a status with everything that has an order or a time.
func runningStatus() corev1.PodStatus {
	return corev1.PodStatus{
		Phase:     corev1.PodRunning,
		StartTime: new(at(1700000000)),
		PodIPs:    []corev1.PodIP{{IP: "10.0.0.2"}, {IP: "fd00::2"}},
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: at(1700000005)},
			{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: at(1700000001)},
		},
		ContainerStatuses: []corev1.ContainerStatus{
			{Name: "a", RestartCount: 4, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(1700000003)}}},
			{Name: "b"},
		},
	}
}

func TestStatusSurvivesARestart(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"), pod("b"))
	c, err := metaclient.Open(path, watchFunc(silent), metaclient.Config{})
	require.NoError(t, err)
	require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), runningStatus())))
	require.NoError(t, c.Close())

	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		up := newFakeUpstream()
		stop := start(t, mustOpen(t, path, up, metaclient.Config{OnPods: rec.onPods}))
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		require.NoError(t, up.deliver(pod("a"), pod("b")))
		require.Len(t, rec.all(), 2)
		for _, call := range rec.all() {
			status := call.pods[0].Status
			assert.True(t, status.StartTime.Equal(new(at(1700000000))))
			assert.EqualValues(t, 4, status.ContainerStatuses[0].RestartCount)
			assert.Empty(t, call.pods[1].Status)
		}
	})
}

func TestStatusNoiseIsNotWritten(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	c := mustOpen(t, path, watchFunc(silent), metaclient.Config{})
	report := func(s corev1.PodStatus) (wrote bool) {
		before := readFile(t, path)
		require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), s)))
		require.NoError(t, c.Flush(t.Context()))
		return string(before) != string(readFile(t, path))
	}
	require.True(t, report(runningStatus()))

	for name, tc := range map[string]struct {
		change func(s *corev1.PodStatus)
		writes bool
	}{
		"nothing":            {func(*corev1.PodStatus) {}, false},
		"fraction of second": {func(s *corev1.PodStatus) { s.StartTime.Time = s.StartTime.Add(400 * time.Millisecond) }, false},
		"time zone":          {func(s *corev1.PodStatus) { s.StartTime.Time = s.StartTime.In(time.FixedZone("x", 3600)) }, false},
		"condition order": {func(s *corev1.PodStatus) {
			s.Conditions[0], s.Conditions[1] = s.Conditions[1], s.Conditions[0]
		}, false},
		"condition times": {func(s *corev1.PodStatus) {
			s.Conditions[0].LastProbeTime, s.Conditions[0].LastTransitionTime = at(1800000000), at(1800000000)
		}, false},
		"container order": {func(s *corev1.PodStatus) {
			s.ContainerStatuses[0], s.ContainerStatuses[1] = s.ContainerStatuses[1], s.ContainerStatuses[0]
		}, false},
		"empty list":       {func(s *corev1.PodStatus) { s.InitContainerStatuses = []corev1.ContainerStatus{} }, false},
		"empty status":     {func(s *corev1.PodStatus) { *s = corev1.PodStatus{} }, false},
		"condition status": {func(s *corev1.PodStatus) { s.Conditions[0].Status = corev1.ConditionFalse }, true},
		"condition reason": {func(s *corev1.PodStatus) { s.Conditions[0].Reason = "ContainersNotReady" }, true},
		"restart count":    {func(s *corev1.PodStatus) { s.ContainerStatuses[0].RestartCount++ }, true},
		"container start":  {func(s *corev1.PodStatus) { s.ContainerStatuses[0].State.Running.StartedAt = at(1700000009) }, true},
		"order of ips":     {func(s *corev1.PodStatus) { s.PodIPs[0], s.PodIPs[1] = s.PodIPs[1], s.PodIPs[0] }, true},
	} {
		t.Run(name, func(t *testing.T) {
			report(runningStatus())
			s := runningStatus()
			tc.change(&s)
			given := s.DeepCopy()
			assert.Equal(t, tc.writes, report(s))
			assert.Equal(t, *given, s, "the reported pod is the caller's")
		})
	}
}

func TestStatusOfAnUnknownPodIsSentAndNotStored(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		var in statusInbox
		c := mustOpen(t, path, reportingUpstream{up, in.take}, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver(pod("a")))
		before := readFile(t, path)
		require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("gone"), runningStatus())))
		time.Sleep(time.Minute)
		synctest.Wait()
		unchanged(t, before, path)
		assert.Equal(t, []string{"gone 4"}, in.got())
	})
}

func TestPodThatLeftTakesItsStatusAlong(t *testing.T) {
	path := storePath(t)
	fill(t, path, withStatus(pod("a"), runningStatus()), withStatus(pod("b"), runningStatus()))
	fill(t, path, pod("b"))
	fill(t, path, pod("a"), pod("b"))
	pods := stored(t, path)
	require.Len(t, pods, 2)
	assert.Empty(t, pods[0].Status, "the same uid comes back as a fresh pod")
	assert.Equal(t, corev1.PodRunning, pods[1].Status.Phase)
}

func TestNextLifeOfAPodIsStoredOverTheEndOfTheLast(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		var rec recorder
		c := mustOpen(t, path, up, metaclient.Config{OnPods: rec.onPods})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver(pod("a")))
		require.NoError(t, up.deliver())
		require.NoError(t, up.deliver(pod("a"))) // a manifest that is put back while its pod ends
		for _, phase := range []corev1.PodPhase{corev1.PodSucceeded, corev1.PodRunning} {
			require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), corev1.PodStatus{Phase: phase})))
			time.Sleep(time.Minute)
			require.NoError(t, c.Release(t.Context(), pod("a").UID))
		}
		require.NoError(t, up.deliver(pod("a"), pod("b")))
		assert.Equal(t, corev1.PodRunning, rec.last(t).pods[0].Status.Phase)
	})
	assert.Equal(t, corev1.PodRunning, stored(t, path)[0].Status.Phase, "it runs on after a restart")
}

func TestUpstreamStatusAgainstTheNodesOwn(t *testing.T) {
	phase := func(p corev1.PodPhase) corev1.PodStatus { return corev1.PodStatus{Phase: p} }
	for name, tc := range map[string]struct{ node, upstream, want corev1.PodPhase }{
		"first word is the upstream's":      {"", corev1.PodRunning, corev1.PodRunning},
		"the node knows better":             {corev1.PodRunning, corev1.PodPending, corev1.PodRunning},
		"an end set by a controller counts": {corev1.PodRunning, corev1.PodFailed, corev1.PodFailed},
		"an end is not taken back":          {corev1.PodSucceeded, corev1.PodRunning, corev1.PodSucceeded},
		"nor changed":                       {corev1.PodSucceeded, corev1.PodFailed, corev1.PodSucceeded},
		"silence says nothing":              {corev1.PodRunning, "", corev1.PodRunning},
	} {
		t.Run(name, func(t *testing.T) {
			path := storePath(t)
			fill(t, path, pod("a"))
			c, err := metaclient.Open(path, watchFunc(silent), metaclient.Config{})
			require.NoError(t, err)
			require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), phase(tc.node))))
			require.NoError(t, c.Close())
			fill(t, path, withStatus(pod("a"), phase(tc.upstream)))
			assert.Equal(t, tc.want, stored(t, path)[0].Status.Phase)
		})
	}
}

func TestConditionsThatOthersSetAreAsTheUpstreamHasThem(t *testing.T) {
	running := func(conditions ...corev1.PodCondition) corev1.PodStatus {
		return corev1.PodStatus{Phase: corev1.PodRunning, Conditions: conditions}
	}
	is := func(kind corev1.PodConditionType, status corev1.ConditionStatus) corev1.PodCondition {
		return corev1.PodCondition{Type: kind, Status: status}
	}
	const gate, yes, no = "example.test/gate", corev1.ConditionTrue, corev1.ConditionFalse
	for name, tc := range map[string]struct{ node, upstream, want corev1.PodStatus }{
		"a gate appears": {running(is(corev1.PodReady, yes)), running(is(corev1.PodReady, no), is(gate, no)),
			running(is(corev1.PodReady, yes), is(gate, no))},
		"a gate opens": {running(is(corev1.PodReady, no), is(gate, no)), running(is(gate, yes)),
			running(is(corev1.PodReady, no), is(gate, yes))},
		"a gate is taken away": {running(is(gate, yes), is(corev1.PodReady, yes)), running(is(corev1.PodReady, yes)),
			running(is(corev1.PodReady, yes))},
		"silence says nothing": {running(is(gate, yes)), corev1.PodStatus{}, running(is(gate, yes))},
		"the node's own stay":  {running(is(corev1.PodReady, yes)), running(is(gate, yes)), running(is(corev1.PodReady, yes), is(gate, yes))},
		"a disruption by another": {running(), running(is(corev1.DisruptionTarget, yes)),
			running(is(corev1.DisruptionTarget, yes))},
		"a disruption by the node": {running(is(corev1.DisruptionTarget, yes)), running(is(corev1.DisruptionTarget, no)),
			running(is(corev1.DisruptionTarget, yes))},
		"after the end, too": {corev1.PodStatus{Phase: corev1.PodFailed}, running(is(gate, yes)),
			corev1.PodStatus{Phase: corev1.PodFailed, Conditions: []corev1.PodCondition{is(gate, yes)}}},
	} {
		for _, flushed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, report flushed %t", name, flushed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var rec recorder
					up := newFakeUpstream()
					c := mustOpen(t, storePath(t), up, metaclient.Config{OnPods: rec.onPods})
					stop := start(t, c)
					defer stop()
					require.NoError(t, up.deliver(pod("a")))
					require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), tc.node)))
					if flushed {
						require.NoError(t, c.Flush(t.Context()))
					}
					require.NoError(t, up.deliver(withStatus(pod("a"), tc.upstream)))
					assert.Equal(t, tc.want, rec.last(t).pods[0].Status, "handed on")
					time.Sleep(time.Minute)
					pods, err := c.Pods(t.Context())
					require.NoError(t, err)
					assert.Equal(t, tc.want, pods[0].Status, "and stays")
				})
			})
		}
	}
}

func TestReportThatWaitsTakesTheUpstreamsConditionsAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gated := func(s corev1.ConditionStatus) corev1.PodStatus {
			return corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: "example.test/gate", Status: s}}}
		}
		up := newFakeUpstream()
		var takes atomic.Bool
		sent := make(chan corev1.PodStatus, 10)
		c := mustOpen(t, storePath(t), reportingUpstream{up, func(_ context.Context, pod *corev1.Pod) error {
			if !takes.Load() {
				return errors.New("busy")
			}
			sent <- pod.Status
			return nil
		}}, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver(pod("a")))
		require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), gated(corev1.ConditionFalse))))
		time.Sleep(10 * time.Second)
		require.NoError(t, up.deliver(withStatus(pod("a"), gated(corev1.ConditionTrue))))
		synctest.Wait()
		takes.Store(true)
		assert.Equal(t, gated(corev1.ConditionTrue), <-sent)
	})
}

func TestReportMadeBeforeTheUpstreamsLastWordIsBroughtInLine(t *testing.T) {
	gate := corev1.PodCondition{Type: "example.test/gate", Status: corev1.ConditionTrue}
	gated := func(phase corev1.PodPhase) corev1.PodStatus {
		return corev1.PodStatus{Phase: phase, Conditions: []corev1.PodCondition{gate}}
	}
	bare := func(phase corev1.PodPhase) corev1.PodStatus {
		return corev1.PodStatus{Phase: phase, Conditions: []corev1.PodCondition{}}
	}
	for name, tc := range map[string]struct {
		upstream, report, want corev1.PodStatus
		sent                   bool
	}{
		"a gate":           {gated(corev1.PodRunning), bare(corev1.PodRunning), gated(corev1.PodRunning), true},
		"a gate, at last":  {gated(corev1.PodRunning), bare(corev1.PodFailed), gated(corev1.PodFailed), true},
		"no gate any more": {bare(corev1.PodRunning), gated(corev1.PodRunning), bare(corev1.PodRunning), true},
		"an end":           {gated(corev1.PodFailed), bare(corev1.PodRunning), gated(corev1.PodFailed), false},
		"silence":          {corev1.PodStatus{}, gated(corev1.PodRunning), gated(corev1.PodRunning), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := newFakeUpstream()
				reporting, sent := heardBy(up)
				c := mustOpen(t, storePath(t), reporting, metaclient.Config{})
				stop := start(t, c)
				defer stop()
				require.NoError(t, up.deliver(withStatus(pod("a"), tc.upstream)))
				require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), tc.report)))
				for _, when := range []string{"at once", "stored"} {
					pods, err := c.Pods(t.Context())
					require.NoError(t, err)
					assert.True(t, equality.Semantic.DeepEqual(tc.want, pods[0].Status), "%s: %+v", when, pods[0].Status)
					require.NoError(t, c.Flush(t.Context()))
				}
				time.Sleep(time.Minute)
				if !tc.sent {
					assert.Empty(t, sent)
					return
				}
				require.Len(t, sent, 1)
				assert.Equal(t, tc.want, <-sent)
			})
		})
	}
}

// A manifest that is put back while its pod ends has its old UID.
func TestTheEndOfALifeIsNotTakenForThatOfTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		reporting, sent := heardBy(up)
		c := mustOpen(t, storePath(t), reporting, metaclient.Config{ReplayWithin: -1})
		stop := start(t, c)
		defer stop()
		ends := pod("a")
		ends.DeletionTimestamp, ends.Status.Phase = &metav1.Time{Time: time.Now()}, corev1.PodFailed
		phase := func() corev1.PodPhase {
			pods, err := c.Pods(t.Context())
			require.NoError(t, err)
			require.Len(t, pods, 1)
			return pods[0].Status.Phase
		}

		require.NoError(t, up.deliver(pod("a")))
		require.NoError(t, up.deliver())
		require.NoError(t, c.ReportPodStatus(t.Context(), ends))
		assert.Equal(t, corev1.PodFailed, (<-sent).Phase, "nobody wants it yet")
		require.NoError(t, up.deliver(pod("a")))
		assert.Empty(t, phase(), "what waited")
		require.NoError(t, c.ReportPodStatus(t.Context(), ends))
		require.NoError(t, c.Flush(t.Context()))
		assert.Empty(t, phase(), "what came late")
		require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), runningStatus())))
		assert.Equal(t, corev1.PodRunning, phase(), "of the life that is")
		assert.Equal(t, corev1.PodRunning, (<-sent).Phase)

		deleted := pod("a")
		deleted.DeletionTimestamp = &metav1.Time{Time: time.Now()}
		require.NoError(t, up.deliver(deleted))
		require.NoError(t, c.ReportPodStatus(t.Context(), ends))
		assert.Equal(t, corev1.PodFailed, phase(), "its own end")
		assert.Equal(t, corev1.PodFailed, (<-sent).Phase)
	})
}

func TestEndSetUpstreamOutlastsAReportThatWaits(t *testing.T) {
	for name, wait := range map[string]time.Duration{"to be stored": time.Second, "to be sent": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var rec recorder
				var in statusInbox
				in.fail(errors.New("busy"))
				up := newFakeUpstream()
				c := mustOpen(t, storePath(t), reportingUpstream{up, in.take}, metaclient.Config{OnPods: rec.onPods})
				stop := start(t, c)
				defer stop()
				require.NoError(t, up.deliver(pod("a")))
				require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), runningStatus())))
				time.Sleep(wait)
				require.NoError(t, up.deliver(withStatus(pod("a"), corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"})))
				assert.Equal(t, corev1.PodFailed, rec.last(t).pods[0].Status.Phase)
				in.fail(nil)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				pods, err := c.Pods(t.Context())
				require.NoError(t, err)
				assert.Equal(t, corev1.PodFailed, pods[0].Status.Phase)
				assert.Empty(t, in.got(), "the end is not overwritten upstream either")
			})
		})
	}
}

func TestEndSetUpstreamIsHeardBeforeTheWaitForWhatItsSetRefersTo(t *testing.T) {
	for name, meanwhile := range map[string]bool{"reported before": false, "reported meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				up := &silentSet{fakeUpstream: newFakeUpstream(), cloud: metatest.New()}
				var in statusInbox
				c := mustOpen(t, storePath(t), struct {
					reportingUpstream
					metaclient.Getter
				}{reportingUpstream{up, in.take}, up}, metaclient.Config{ReplayWithin: -1})
				report := func() { require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), runningStatus()))) }
				if !meanwhile {
					report()
				}
				stop := start(t, c)
				defer stop()
				up.cloud.Hang()
				taken := make(chan error, 1)
				go func() {
					taken <- up.deliver(withStatus(pod("a"), corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}), uses("b", "c", ""))
				}()
				time.Sleep(time.Second)
				require.Empty(t, taken, "it waits for the ConfigMap of b")
				if meanwhile {
					report()
				}
				require.NoError(t, <-taken)
				time.Sleep(time.Minute)
				assert.Empty(t, in.got(), "the end is not overwritten upstream")
			})
		})
	}
}

// statusInbox is what an upstream was told: names and restart counts.
type statusInbox struct {
	mu     sync.Mutex
	told   []string
	answer error
}

func (i *statusInbox) take(_ context.Context, pod *corev1.Pod) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.answer == nil {
		i.told = append(i.told, fmt.Sprintf("%s %d", pod.Name, pod.Status.ContainerStatuses[0].RestartCount))
	}
	return i.answer
}

func (i *statusInbox) fail(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = err
}

func (i *statusInbox) got() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]string{}, i.told...)
}

func restarted(name string, count int32) *corev1.Pod {
	s := runningStatus()
	s.ContainerStatuses[0].RestartCount = count
	return withStatus(pod(name), s)
}

func TestNewestStatusIsSentUntilItIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		var in statusInbox
		in.fail(errors.New("no route to cloud"))
		c := mustOpen(t, storePath(t), reportingUpstream{up, in.take}, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver(pod("a"), pod("b")))
		require.NoError(t, c.ReportPodStatus(t.Context(), restarted("b", 0)))
		for i := range int32(10) {
			require.NoError(t, c.ReportPodStatus(t.Context(), restarted("a", i)))
			time.Sleep(time.Second)
			synctest.Wait()
		}
		assert.Equal(t, 2, c.Health().Unsent)
		in.fail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.ElementsMatch(t, []string{"a 9", "b 0"}, in.got())
		assert.Zero(t, c.Health().Unsent)
	})
}

func TestReportsSurviveARestartAndAreSentOnceWithAJitter(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"), pod("b"))
	up := reportingUpstream{watchFunc(silent), func(context.Context, *corev1.Pod) error { return nil }}
	c, err := metaclient.Open(path, up, metaclient.Config{})
	require.NoError(t, err)
	for i := range int32(5) {
		require.NoError(t, c.ReportPodStatus(t.Context(), restarted("a", i)))
	}
	require.NoError(t, c.Close())

	delays := map[time.Duration]bool{}
	for range 5 {
		path := copyFile(t, path)
		synctest.Test(t, func(t *testing.T) {
			up := newFakeUpstream()
			var in statusInbox
			var began time.Time
			c := mustOpen(t, path, reportingUpstream{up, func(ctx context.Context, pod *corev1.Pod) error {
				delays[time.Since(began)] = true
				return in.take(ctx, pod)
			}}, metaclient.Config{ReplayWithin: 30 * time.Second})
			stop := start(t, c)
			defer stop()
			time.Sleep(time.Hour)
			synctest.Wait()
			require.Empty(t, in.got())
			began = time.Now()
			require.NoError(t, up.deliver(pod("a"), pod("b")))
			time.Sleep(30 * time.Second)
			synctest.Wait()
			assert.Equal(t, []string{"a 4"}, in.got(), "the newest, once")
			time.Sleep(time.Hour)
			synctest.Wait()
			assert.Len(t, in.got(), 1)
		})
		assert.Equal(t, []string{"a", "b"}, names(stored(t, path)))
	}
	assert.Greater(t, len(delays), 1)
}

func TestAcknowledgedReportIsNotSentAgainAfterARestart(t *testing.T) {
	path := storePath(t)
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			up := newFakeUpstream()
			var in statusInbox
			c, err := metaclient.Open(path, reportingUpstream{up, in.take}, metaclient.Config{})
			require.NoError(t, err)
			stop := start(t, c)
			require.NoError(t, up.deliver(pod("a")))
			if len(stored(t, copyFile(t, path))) == 0 || c.Health().Unsent > 0 {
				t.Fatal("not stored")
			}
			if pods, _ := c.Pods(t.Context()); pods[0].Status.Phase == "" {
				require.NoError(t, c.ReportPodStatus(t.Context(), restarted("a", 1)))
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Equal(t, []string{"a 1"}, in.got())
			} else {
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Empty(t, in.got())
			}
			stop()
			require.NoError(t, c.Close())
		})
	}
}

func TestStatusThatTheUpstreamHasLostIsReportedAgain(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		var in statusInbox
		c := mustOpen(t, path, reportingUpstream{up, in.take}, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		says := func(s corev1.PodStatus) {
			require.NoError(t, up.deliver(withStatus(pod("a"), s)))
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		reported := restarted("a", 1).Status
		lost := corev1.PodStatus{Phase: corev1.PodPending}
		says(lost)
		require.NoError(t, c.ReportPodStatus(t.Context(), restarted("a", 1)))
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"a 1"}, in.got())

		in.fail(errors.New("busy"))
		says(lost)
		before := readFile(t, path)
		says(lost)
		in.fail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{"a 1", "a 1"}, in.got(), "once")
		for range 3 {
			says(lost)
		}
		assert.Len(t, in.got(), 2, "an upstream that does not learn is not told without end")
		unchanged(t, before, path)

		for _, same := range []corev1.PodStatus{reported, {}} {
			says(same)
		}
		reported.Conditions = slices.Clone(reported.Conditions)
		slices.Reverse(reported.Conditions)
		reported.Conditions[0].LastTransitionTime = at(1800000000)
		reported.NominatedNodeName = "edge-1"
		says(reported)
		assert.Len(t, in.got(), 2, "it has it")
		says(lost)
		assert.Len(t, in.got(), 3, "it lost it again")
	})
}

func TestReportMadeWhileTheUpstreamIsToBeRemindedIsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		var in statusInbox
		var handedOn, now atomic.Bool
		c := mustOpen(t, storePath(t), reportingUpstream{up, in.take}, metaclient.Config{
			OnPods: func([]*corev1.Pod, bool) { handedOn.Store(true) },
		})
		metaclient.AfterReads(c, func() {
			if handedOn.CompareAndSwap(true, false) && now.Load() { // what the upstream has lost has been looked up
				assert.NoError(t, c.ReportPodStatus(t.Context(), restarted("a", 2)))
			}
		})
		stop := start(t, c)
		defer stop()
		lost := withStatus(pod("a"), corev1.PodStatus{Phase: corev1.PodPending})
		require.NoError(t, up.deliver(lost))
		require.NoError(t, c.ReportPodStatus(t.Context(), restarted("a", 1)))
		time.Sleep(time.Minute)
		now.Store(true)
		require.NoError(t, up.deliver(lost))
		time.Sleep(time.Minute)
		assert.Equal(t, []string{"a 1", "a 2"}, in.got())
		pods, err := c.Pods(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, 2, pods[0].Status.ContainerStatuses[0].RestartCount)
	})
}

func TestEndThatTheUpstreamSeesOtherwiseIsNotDisputed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		var in statusInbox
		c := mustOpen(t, storePath(t), reportingUpstream{up, in.take}, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver(pod("a")))
		done := restarted("a", 1)
		done.Status.Phase = corev1.PodSucceeded
		require.NoError(t, c.ReportPodStatus(t.Context(), done))
		time.Sleep(time.Minute)
		require.NoError(t, up.deliver(withStatus(pod("a"), corev1.PodStatus{Phase: corev1.PodFailed})))
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{"a 1"}, in.got())
	})
}

func TestNewerReportIsNotOverwrittenByAnOlderFlush(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	c := mustOpen(t, path, watchFunc(silent), metaclient.Config{})
	flushed := false
	metaclient.BeforeWrites(c, func() {
		if flushed {
			return
		}
		flushed = true // the first flush has looked what there is, and has not written it
		require.NoError(t, c.ReportPodStatus(t.Context(), restarted("a", 2)))
		require.NoError(t, c.Flush(t.Context()))
	})
	require.NoError(t, c.ReportPodStatus(t.Context(), restarted("a", 1)))
	require.NoError(t, c.Flush(t.Context()))
	pods, err := c.Pods(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 2, pods[0].Status.ContainerStatuses[0].RestartCount)
}

func TestUpstreamHearsOfAStatusThatTheDiskRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		var in statusInbox
		c := mustOpen(t, storePath(t), reportingUpstream{up, in.take}, metaclient.Config{})
		failWith := metaclient.Breakable(c)
		stop := start(t, c)
		require.NoError(t, up.deliver(pod("a")))
		time.Sleep(time.Minute)
		synctest.Wait()
		failWith(syscall.ENOSPC)
		require.NoError(t, c.ReportPodStatus(t.Context(), restarted("a", 1)))
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{"a 1"}, in.got())
		require.NoError(t, up.deliver(pod("a")), "it changes nothing")
		require.ErrorIs(t, c.Health().Store, syscall.ENOSPC, "and says nothing of the disk")
		failWith(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.NoError(t, c.Health().Store, "it recovers by itself")
		stop()
	})
}
