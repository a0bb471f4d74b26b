package statusmgr_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/statusmgr"
)

// fakeUpdater records what it is told. What behave returns is its answer.
type fakeUpdater struct {
	mu     sync.Mutex
	calls  []*corev1.Pod
	times  []time.Time
	behave func(ctx context.Context, pod *corev1.Pod) error
}

func (u *fakeUpdater) ReportPodStatus(ctx context.Context, pod *corev1.Pod) error {
	u.mu.Lock()
	u.calls, u.times = append(u.calls, pod), append(u.times, time.Now())
	behave := u.behave
	u.mu.Unlock()
	if behave != nil {
		return behave(ctx, pod)
	}
	return nil
}

func (u *fakeUpdater) answer(behave func(context.Context, *corev1.Pod) error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.behave = behave
}

// told lists the calls as "name:message", the message telling statuses apart.
func (u *fakeUpdater) told() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	told := []string{}
	for _, pod := range u.calls {
		told = append(told, pod.Name+":"+pod.Status.Message)
	}
	return told
}

func podNamed(name string) *corev1.Pod {
	return named(newPod(always, "app"), "shop", name, "uid-"+name)
}

func saying(message string) corev1.PodStatus {
	return corev1.PodStatus{Phase: running, Message: message}
}

// inRun runs the test in virtual time beside a running manager.
func inRun(t *testing.T, cfg statusmgr.Config, test func(m *statusmgr.Manager, u *fakeUpdater)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		u := &fakeUpdater{}
		m := statusmgr.New(u, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		synctest.Wait()
		test(m, u)
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestChangeIsReportedAtOnce(t *testing.T) {
	inRun(t, statusmgr.Config{FullSyncPeriod: -1, UpdateTimeout: -1}, func(m *statusmgr.Manager, u *fakeUpdater) {
		set := time.Now()
		m.Set(podNamed("a"), saying("1"))
		synctest.Wait()
		assert.Equal(t, []string{"a:1"}, u.told())
		assert.Equal(t, set, u.times[0])
		assert.Equal(t, types.UID("uid-a"), u.calls[0].UID)
	})
}

func TestWhatWasSetBeforeRunIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &fakeUpdater{}
		m := statusmgr.New(u, statusmgr.Config{})
		m.Set(podNamed("a"), saying("1"))
		m.Set(podNamed("b"), saying("1"))
		m.Set(podNamed("a"), saying("2"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, m.Run(ctx))
		assert.Equal(t, []string{"b:1", "a:2"}, u.told(), "only the newest of each, in the order of change")
	})
}

func TestIdleManagerMakesNoCalls(t *testing.T) {
	inRun(t, statusmgr.Config{}, func(m *statusmgr.Manager, u *fakeUpdater) {
		m.Set(podNamed("a"), saying("1"))
		for range 60 {
			time.Sleep(time.Minute)
			m.Set(podNamed("a"), saying("1"))
		}
		assert.Equal(t, []string{"a:1"}, u.told())
	})
}

func TestOnlyTheNewestIsReportedAfterASlowCall(t *testing.T) {
	inRun(t, statusmgr.Config{}, func(m *statusmgr.Manager, u *fakeUpdater) {
		u.answer(func(context.Context, *corev1.Pod) error { time.Sleep(time.Second); return nil })
		m.Set(podNamed("a"), saying("1"))
		synctest.Wait()
		for _, message := range []string{"2", "3", "4"} {
			m.Set(podNamed("a"), saying(message))
		}
		time.Sleep(time.Minute)
		assert.Equal(t, []string{"a:1", "a:4"}, u.told())
	})
}

func TestSetDoesNotBlockOnAHangingUpdater(t *testing.T) {
	inRun(t, statusmgr.Config{UpdateTimeout: time.Hour}, func(m *statusmgr.Manager, u *fakeUpdater) {
		u.answer(func(ctx context.Context, _ *corev1.Pod) error { <-ctx.Done(); return ctx.Err() })
		start := time.Now()
		m.Set(podNamed("a"), saying("1"))
		synctest.Wait()
		m.Set(podNamed("a"), saying("2"))
		m.Set(podNamed("b"), saying("1"))
		_, found := m.Get("uid-b")
		assert.True(t, found)
		assert.Len(t, m.Pods(), 2)
		assert.Zero(t, time.Since(start))
	})
}

func TestFailedReportIsRepeatedInTheFullPass(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	inRun(t, statusmgr.Config{Logger: zap.New(core)}, func(m *statusmgr.Manager, u *fakeUpdater) {
		start := time.Now()
		u.answer(func(context.Context, *corev1.Pod) error { return errors.New("offline") })
		m.Set(podNamed("a"), saying("1"))
		time.Sleep(25 * time.Second)
		u.answer(nil)
		time.Sleep(time.Hour)

		assert.Equal(t, []string{"a:1", "a:1", "a:1", "a:1"}, u.told(), "until it is taken, and no more")
		var after []time.Duration
		for _, at := range u.times {
			after = append(after, at.Sub(start))
		}
		assert.Equal(t, []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second}, after)
		assert.Len(t, logs.All(), 1, "a lasting failure is one warning, not one each pass")
		assert.Equal(t, "offline", logs.All()[0].ContextMap()["error"])
		assert.Equal(t, "shop/a", logs.All()[0].ContextMap()["pod"])
	})
}

func TestFailedReportIsReplacedByANewerStatus(t *testing.T) {
	inRun(t, statusmgr.Config{FullSyncPeriod: time.Minute}, func(m *statusmgr.Manager, u *fakeUpdater) {
		u.answer(func(context.Context, *corev1.Pod) error { return errors.New("offline") })
		m.Set(podNamed("a"), saying("1"))
		synctest.Wait()
		u.answer(nil)
		m.Set(podNamed("a"), saying("2"))
		time.Sleep(time.Hour)
		assert.Equal(t, []string{"a:1", "a:2"}, u.told())
	})
}

func TestHangingReportsDelayOthersByOneTimeoutAtMost(t *testing.T) {
	inRun(t, statusmgr.Config{UpdateTimeout: 3 * time.Second}, func(m *statusmgr.Manager, u *fakeUpdater) {
		u.answer(func(ctx context.Context, pod *corev1.Pod) error {
			if pod.Name == "good" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		for _, name := range []string{"bad1", "bad2", "bad3", "bad4", "bad5"} {
			m.Set(podNamed(name), saying("1"))
		}
		time.Sleep(20*time.Second + time.Millisecond) // in a pass that repeats them
		set := time.Now()
		m.Set(podNamed("good"), saying("1"))
		time.Sleep(time.Minute)
		at := slices.Index(u.told(), "good:1")
		require.GreaterOrEqual(t, at, 0)
		assert.LessOrEqual(t, u.times[at].Sub(set), 3*time.Second)
	})
}

func TestStatusThatMeansTheSameIsNotReported(t *testing.T) {
	pod := newPod(always, "a", "b")
	status := statusmgr.Generate(input(pod, observed("a#0 exited 1", "a#1 running", "b#0 running")))
	same := map[string]func(*corev1.PodStatus){
		"as it is":                 func(*corev1.PodStatus) {},
		"times of conditions":      func(s *corev1.PodStatus) { s.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(time.Hour)) },
		"order of conditions":      func(s *corev1.PodStatus) { slices.Reverse(s.Conditions) },
		"order of containers":      func(s *corev1.PodStatus) { slices.Reverse(s.ContainerStatuses) },
		"fractions of a second":    func(s *corev1.PodStatus) { s.StartTime.Time = s.StartTime.Add(time.Millisecond) },
		"the time zone":            func(s *corev1.PodStatus) { s.StartTime.Time = s.StartTime.In(time.FixedZone("", 3600)) },
		"empty instead of nothing": func(s *corev1.PodStatus) { s.InitContainerStatuses = []corev1.ContainerStatus{} },
		"somebody's condition": func(s *corev1.PodStatus) {
			s.Conditions = append(s.Conditions, corev1.PodCondition{Type: "example.org/x"})
		},
	}
	for name, mutate := range same {
		t.Run("not: "+name, func(t *testing.T) {
			inRun(t, statusmgr.Config{}, func(m *statusmgr.Manager, u *fakeUpdater) {
				m.Set(pod, status)
				synctest.Wait()
				other := status.DeepCopy()
				mutate(other)
				m.Set(pod, *other)
				synctest.Wait()
				assert.Len(t, u.told(), 1)
			})
		})
	}
	different := map[string]func(*corev1.PodStatus){
		"phase":               func(s *corev1.PodStatus) { s.Phase = pending },
		"message":             func(s *corev1.PodStatus) { s.Message = "new" },
		"a condition's value": func(s *corev1.PodStatus) { s.Conditions[0].Status = corev1.ConditionUnknown },
		"a condition's words": func(s *corev1.PodStatus) { s.Conditions[0].Message = "new" },
		"ready":               func(s *corev1.PodStatus) { s.ContainerStatuses[1].Ready = false },
		"restart count":       func(s *corev1.PodStatus) { s.ContainerStatuses[0].RestartCount++ },
		"last state":          func(s *corev1.PodStatus) { s.ContainerStatuses[0].LastTerminationState.Terminated.ExitCode++ },
		"a whole second":      func(s *corev1.PodStatus) { s.ContainerStatuses[1].State.Running.StartedAt = metav1.NewTime(now) },
		"an address":          func(s *corev1.PodStatus) { s.PodIP = "10.0.0.6" },
	}
	for name, mutate := range different {
		t.Run("but: "+name, func(t *testing.T) {
			inRun(t, statusmgr.Config{}, func(m *statusmgr.Manager, u *fakeUpdater) {
				m.Set(pod, status)
				synctest.Wait()
				other := status.DeepCopy()
				mutate(other)
				m.Set(pod, *other)
				synctest.Wait()
				assert.Len(t, u.told(), 2)
			})
		})
	}
}

func TestIllegalTransitionIsRefused(t *testing.T) {
	ended := func(policy corev1.RestartPolicy, words []string, runs ...string) (*corev1.Pod, corev1.PodStatus) {
		pod := newPod(policy, words...)
		return pod, statusmgr.Generate(input(pod, observed(runs...)))
	}
	again := func(status corev1.PodStatus, name string) corev1.PodStatus {
		next := *status.DeepCopy()
		for _, list := range [][]corev1.ContainerStatus{next.InitContainerStatuses, next.ContainerStatuses} {
			for i := range list {
				if list[i].Name == name {
					list[i].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
				}
			}
		}
		return next
	}
	tests := map[string]struct {
		policy  corev1.RestartPolicy
		words   []string
		runs    []string
		name    string
		refused bool
	}{
		"Never, failed, runs again":               {never, []string{"app", "b"}, []string{"app#0 exited 1", "b#0 running"}, "app", true},
		"Never, done, runs again":                 {never, []string{"app", "b"}, []string{"app#0 exited 0", "b#0 running"}, "app", true},
		"OnFailure, done, runs again":             {onFailure, []string{"app", "b"}, []string{"app#0 exited 0", "b#0 running"}, "app", true},
		"OnFailure, failed, runs again":           {onFailure, []string{"app", "b"}, []string{"app#0 exited 1", "b#0 running"}, "app", false},
		"Always, done, runs again":                {always, []string{"app", "b"}, []string{"app#0 exited 0", "b#0 running"}, "app", false},
		"Never, sidecar runs again":               {never, []string{"side:s", "app"}, []string{"s#0 exited 1", "app#0 running"}, "s", false},
		"Never, init container failed":            {never, []string{"side:s", "init:i", "app"}, []string{"s#0 running", "i#0 exited 1"}, "i", true},
		"Never, init container out of memory":     {never, []string{"side:s", "init:i", "app"}, []string{"s#0 running", "i#0 exited 0 OOMKilled"}, "i", true},
		"Never, init container done, new sandbox": {never, []string{"init:i", "app"}, []string{"i#0 exited 0"}, "i", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.WarnLevel)
			m := statusmgr.New(&fakeUpdater{}, statusmgr.Config{Logger: zap.New(core)})
			pod, before := ended(test.policy, test.words, test.runs...)
			m.Set(pod, before)
			after := again(before, test.name)
			after.Message = "must not get through alone"
			m.Set(pod, after)

			got, _ := m.Get(pod.UID)
			if test.refused {
				assert.Equal(t, before, got, "the whole status is refused")
				require.Equal(t, 1, logs.Len())
				assert.Contains(t, logs.All()[0].ContextMap()["error"], test.name)
			} else {
				assert.Equal(t, after.Message, got.Message)
				assert.Zero(t, logs.Len())
			}
		})
	}
	t.Run("but a container with a new image may run again", func(t *testing.T) {
		m := statusmgr.New(&fakeUpdater{}, statusmgr.Config{})
		pod, before := ended(never, []string{"app", "b"}, "app#0 exited 137", "b#0 running")
		m.Set(pod, before)
		after := again(before, "app")
		after.ContainerStatuses[0].Image = "registry.example/app:2"
		m.Set(pod, after)
		got, _ := m.Get(pod.UID)
		assert.NotNil(t, got.ContainerStatuses[0].State.Running)
	})
	t.Run("but all may run again while all are restarted", func(t *testing.T) {
		m := statusmgr.New(&fakeUpdater{}, statusmgr.Config{})
		pod, status := ended(never, []string{"app", "b"}, "app#0 exited 42", "b#0 exited 0")
		for _, step := range []struct {
			restarting bool
			runs       []string
		}{{true, []string{"app#0 exited 42", "b#0 exited 0"}}, {true, nil}, {false, []string{"app#1 running", "b#1 running"}}} {
			in := input(pod, observed(step.runs...))
			in.RestartingAll = step.restarting
			status = then(status, in)
			m.Set(pod, status)
			got, _ := m.Get(pod.UID)
			require.Equal(t, status, got)
		}
		assert.NotNil(t, status.ContainerStatuses[1].State.Running)
	})
	t.Run("a terminal phase is not left", func(t *testing.T) {
		m := statusmgr.New(&fakeUpdater{}, statusmgr.Config{})
		m.Set(podNamed("a"), corev1.PodStatus{Phase: succeeded})
		m.Set(podNamed("a"), corev1.PodStatus{Phase: running})
		got, _ := m.Get("uid-a")
		assert.Equal(t, succeeded, got.Phase)
	})
}

func TestCallersCannotChangeWhatIsKept(t *testing.T) {
	inRun(t, statusmgr.Config{
		OnChange: func(previous, current *corev1.Pod) {
			for _, pod := range []*corev1.Pod{previous, current} {
				if pod != nil {
					pod.Status.Message = "changed"
				}
			}
		},
	}, func(m *statusmgr.Manager, u *fakeUpdater) {
		u.answer(func(_ context.Context, pod *corev1.Pod) error { pod.Status.Conditions[0].Type = "changed"; return nil })
		pod := podNamed("a")
		status := statusmgr.Generate(input(pod, observed("app#0 running")))
		want := *status.DeepCopy()
		m.Set(pod, status)
		status.Conditions[0].Type = "changed"
		status.ContainerStatuses[0].State.Running.StartedAt = metav1.Time{}
		pod.Name = "changed"
		got, _ := m.Get("uid-a")
		got.Conditions[1].Type = "changed"
		m.Pods()[0].Status.Conditions[2].Type = "changed"
		synctest.Wait()

		got, found := m.Get("uid-a")
		assert.True(t, found)
		assert.Equal(t, want, got)
		assert.Equal(t, "a", m.Pods()[0].Name)
	})
}

func TestPodsListsTheNewestOfEach(t *testing.T) {
	m := statusmgr.New(&fakeUpdater{}, statusmgr.Config{})
	for _, pod := range []*corev1.Pod{
		named(newPod(always), "b", "x", "1"), named(newPod(always), "a", "z", "2"),
		named(newPod(always), "a", "y", "4"), named(newPod(always), "a", "y", "3"),
	} {
		m.Set(pod, saying("1"))
	}
	deleted := named(newPod(always), "b", "x", "1")
	deleted.DeletionTimestamp = &metav1.Time{Time: now}
	m.Set(deleted, saying("1"))

	var uids []types.UID
	for _, pod := range m.Pods() {
		uids = append(uids, pod.UID)
	}
	assert.Equal(t, []types.UID{"3", "4", "2", "1"}, uids, "by namespace, name and UID")
	assert.NotNil(t, m.Pods()[3].DeletionTimestamp, "the pod is taken even if its status is the same")
}

func TestRemovedPodIsForgotten(t *testing.T) {
	inRun(t, statusmgr.Config{FullSyncPeriod: time.Second}, func(m *statusmgr.Manager, u *fakeUpdater) {
		u.answer(func(context.Context, *corev1.Pod) error { return errors.New("offline") })
		m.Set(podNamed("a"), saying("1"))
		synctest.Wait()
		m.Remove("uid-a")
		m.Remove("uid-a")
		m.Remove("never seen")
		time.Sleep(time.Minute)

		assert.Len(t, u.told(), 1, "what failed is not repeated")
		_, found := m.Get("uid-a")
		assert.False(t, found)
		assert.Empty(t, m.Pods())

		m.Set(podNamed("a"), corev1.PodStatus{Phase: pending, Message: "new"})
		synctest.Wait()
		assert.Equal(t, "a:new", u.told()[1], "a pod of that UID starts over")
	})
}

// Upstream keeps a pod that it deletes until it hears that nothing is left of it.
func TestTheLastWordOnADeletedPodIsHandedOn(t *testing.T) {
	deleted := podNamed("a")
	deleted.DeletionTimestamp = &metav1.Time{Time: now}
	for name, row := range map[string]struct {
		happens func(m *statusmgr.Manager, u *fakeUpdater)
		want    []string
	}{
		"that was not handed on": {func(m *statusmgr.Manager, _ *fakeUpdater) { m.Set(deleted, saying("end")) }, []string{"a:end"}},
		"that was, before it was deleted": {func(m *statusmgr.Manager, _ *fakeUpdater) {
			m.Set(podNamed("a"), saying("end"))
			synctest.Wait()
			m.Set(deleted, saying("end"))
		}, []string{"a:end", "a:end"}},
		"that is not taken": {func(m *statusmgr.Manager, u *fakeUpdater) {
			u.answer(func(context.Context, *corev1.Pod) error { return errors.New("offline") })
			m.Set(deleted, saying("end"))
			synctest.Wait()
			time.AfterFunc(15*time.Second, func() { u.answer(nil) })
		}, []string{"a:end", "a:end", "a:end", "a:end"}},
		"that is under way": {func(m *statusmgr.Manager, u *fakeUpdater) {
			u.answer(func(context.Context, *corev1.Pod) error { time.Sleep(time.Second); return nil })
			m.Set(deleted, saying("ending"))
			synctest.Wait()
			m.Set(deleted, saying("end"))
		}, []string{"a:ending", "a:end"}},
	} {
		t.Run(name, func(t *testing.T) {
			inRun(t, statusmgr.Config{}, func(m *statusmgr.Manager, u *fakeUpdater) {
				row.happens(m, u)
				m.Remove("uid-a")
				m.Remove("uid-a")
				m.SetHealth("uid-a", "app-0", statusmgr.Health{})
				_, found := m.Get("uid-a")
				assert.False(t, found)
				assert.Empty(t, m.Pods())
				time.Sleep(time.Minute)
				assert.Equal(t, row.want, u.told())
				assert.NotNil(t, u.calls[len(u.calls)-1].DeletionTimestamp)
			})
		})
	}
}

func TestTheNextLifeIsHandedOnInsteadOfTheEndOfTheLast(t *testing.T) {
	inRun(t, statusmgr.Config{}, func(m *statusmgr.Manager, u *fakeUpdater) {
		u.answer(func(context.Context, *corev1.Pod) error { return errors.New("offline") })
		deleted := podNamed("a")
		deleted.DeletionTimestamp = &metav1.Time{Time: now}
		m.Set(deleted, corev1.PodStatus{Phase: corev1.PodSucceeded})
		m.Remove("uid-a")
		synctest.Wait()
		u.answer(nil)
		m.Set(podNamed("a"), saying("anew"))
		time.Sleep(time.Minute)
		assert.Equal(t, []string{"a:", "a:anew"}, u.told())
	})
}

func TestOnChangeIsToldEachChange(t *testing.T) {
	var seen []string
	message := func(pod *corev1.Pod) string {
		if pod == nil {
			return "-"
		}
		return pod.Status.Message
	}
	m := statusmgr.New(&fakeUpdater{}, statusmgr.Config{OnChange: func(previous, current *corev1.Pod) {
		seen = append(seen, message(previous)+">"+message(current))
	}})
	m.Set(podNamed("a"), saying("1"))
	m.Set(podNamed("a"), saying("1"))
	m.Set(podNamed("a"), saying("2"))
	m.Remove("uid-a")
	m.Remove("uid-a")
	assert.Equal(t, []string{"->1", "1>2", "2>-"}, seen)
}

func TestManagerIsSafeForConcurrentUse(t *testing.T) {
	inRun(t, statusmgr.Config{OnChange: func(_, _ *corev1.Pod) {}}, func(m *statusmgr.Manager, u *fakeUpdater) {
		var group sync.WaitGroup
		for _, name := range []string{"a", "b", "c", "d"} {
			group.Go(func() {
				for _, message := range []string{"1", "2", "3"} {
					m.Set(podNamed(name), saying(message))
					m.SetHealth("uid-a", "app-0", statusmgr.Health{})
					m.Get("uid-a")
					m.Pods()
				}
				m.Remove("uid-b")
			})
		}
		group.Wait()
		synctest.Wait()
		assert.Subset(t, u.told(), []string{"a:3", "c:3", "d:3"})
	})
}

func TestWithoutAnUpdaterStatusesCanBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := statusmgr.New(nil, statusmgr.Config{})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		m.Set(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "a"}}, corev1.PodStatus{Phase: corev1.PodRunning})
		time.Sleep(time.Minute)
		status, _ := m.Get("a")
		assert.Equal(t, corev1.PodRunning, status.Phase)
		stop()
		require.NoError(t, <-done)
	})
}
