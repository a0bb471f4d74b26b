package probe_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/probe"
)

// ward is a node with containers whose commands answer what a test says. The command
// of a probe is its answer's name.
type ward struct {
	t     *testing.T
	m     *probe.Manager
	start time.Time

	mu      sync.Mutex // guards what follows
	answers map[string]error
	delays  map[string]time.Duration
	running map[string]int // by container and command
	calls   []string
	events  []string
	told    int
	broken  string
}

func (w *ward) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) ([]byte, []byte, error) {
	name := cmd[0]
	w.mu.Lock()
	key := id + " " + name
	w.running[key]++
	if w.running[key] > 1 {
		w.broken = "two checks at once: " + key
	}
	w.calls = append(w.calls, fmt.Sprintf("%v %s %s", time.Since(w.start).Round(time.Second), id, name))
	delay, answer := w.delays[name], w.answers[name]
	w.mu.Unlock()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			answer = ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[key]--
	return []byte("it says " + name), nil, answer
}

var errNo = fmt.Errorf("exec: %w", &cri.ExitError{Code: 1})

// inWard runs a Manager in virtual time, in which the agent began long ago.
func inWard(t *testing.T, change func(*probe.Config), play func(*testing.T, *ward)) {
	synctest.Test(t, func(t *testing.T) {
		w := &ward{t: t, start: time.Now(), answers: map[string]error{}, delays: map[string]time.Duration{}, running: map[string]int{}}
		cfg := probe.Config{
			OnResult: func(types.UID) { w.mu.Lock(); defer w.mu.Unlock(); w.told++ },
			OnEvent: func(_ *corev1.Pod, container *corev1.Container, eventType, reason, message string) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.events = append(w.events, strings.Join([]string{eventType, reason, container.Name, message}, " "))
			},
		}
		if change != nil {
			change(&cfg)
		}
		w.m = probe.New(w, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.m.Run(ctx) }()
		time.Sleep(time.Hour)
		w.start = time.Now()
		play(t, w)
		cancel()
		assert.NoError(t, <-done)
		assert.Empty(t, w.broken)
	})
}

// says sets what a command answers from now on.
func (w *ward) says(name string, answer error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers[name] = answer
}

func (w *ward) takes(name string, delay time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delays[name] = delay
}

// news are the checks since the last time, events those of events.
func (w *ward) news() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	news := strings.Join(w.calls, ", ")
	w.calls = nil
	return news
}

func (w *ward) happened() string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	events := strings.Join(w.events, "\n")
	w.events = nil
	return events
}

func (w *ward) wakes() int {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.told
	w.told = 0
	return told
}

// health is what was found of a container, in words.
func (w *ward) health(id string) string {
	synctest.Wait()
	h, known := w.m.Health("uid", id)
	if !known {
		return "unknown"
	}
	words := []string{}
	if h.Started {
		words = append(words, "started")
	}
	if h.Ready {
		words = append(words, "ready")
	}
	if h.Failed != "" {
		words = append(words, "failed "+string(h.Failed))
	}
	return strings.Join(words, " ")
}

// does is a probe whose command is a name.
func does(name string, change ...func(*corev1.Probe)) *corev1.Probe {
	p := &corev1.Probe{PeriodSeconds: 10, FailureThreshold: 3, SuccessThreshold: 1}
	p.Exec = &corev1.ExecAction{Command: []string{name}}
	for _, each := range change {
		each(p)
	}
	return p
}

func every(seconds int32) func(*corev1.Probe) {
	return func(p *corev1.Probe) { p.PeriodSeconds = seconds }
}

func after(seconds int32) func(*corev1.Probe) {
	return func(p *corev1.Probe) { p.InitialDelaySeconds = seconds }
}

func thresholds(success, failure int32) func(*corev1.Probe) {
	return func(p *corev1.Probe) { p.SuccessThreshold, p.FailureThreshold = success, failure }
}

// podWith has one container, app, with the probes.
func podWith(liveness, readiness, startup *corev1.Probe) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "app", LivenessProbe: liveness, ReadinessProbe: readiness, StartupProbe: startup,
		}}},
	}
}

// runs is the status of a pod whose container app runs since now under the ID.
func runs(id string, change ...func(*corev1.ContainerStatus)) corev1.PodStatus {
	c := corev1.ContainerStatus{Name: "app", ContainerID: "containerd://" + id}
	c.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.Now()}
	for _, each := range change {
		each(&c)
	}
	return corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", ContainerStatuses: []corev1.ContainerStatus{c}}
}

// stopped is the status of a pod whose container has ended.
func stopped(id string) corev1.PodStatus {
	status := runs(id)
	status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	return status
}

func TestAContainerIsCheckedEachPeriodFromItsStart(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		w.m.Set(podWith(does("live", every(10)), does("ready", every(7)), nil), corev1.PodStatus{Phase: corev1.PodPending})
		time.Sleep(time.Minute)
		assert.Empty(t, w.news(), "nothing runs")
		assert.Equal(t, "unknown", w.health("1"))

		w.start = time.Now()
		w.m.Set(podWith(does("live", every(10)), does("ready", every(7)), nil), runs("1"))
		assert.Equal(t, "started ready", w.health("1"), "it was found ready at once")
		time.Sleep(15 * time.Second)
		w.m.Set(podWith(does("live", every(10)), does("ready", every(7)), nil), runs("1"))
		time.Sleep(6 * time.Second)
		assert.ElementsMatch(t, strings.Split("0s 1 live, 10s 1 live, 20s 1 live, 0s 1 ready, 7s 1 ready, 14s 1 ready, 21s 1 ready", ", "),
			strings.Split(w.news(), ", "), "the same status again changes nothing")
		assert.Equal(t, 1, w.wakes(), "only changes are told")
	})
}

func TestAPeriodOfNoneIsTenSeconds(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		w.m.Set(podWith(does("live", every(0)), nil, nil), runs("1"))
		time.Sleep(25 * time.Second)
		assert.Equal(t, "0s 1 live, 10s 1 live, 20s 1 live", w.news())
	})
}

func TestTheInitialDelayCountsFromTheContainersStart(t *testing.T) {
	startedAt := func(d time.Duration) func(*corev1.ContainerStatus) {
		return func(c *corev1.ContainerStatus) { c.State.Running.StartedAt = metav1.NewTime(time.Now().Add(d)) }
	}
	for name, row := range map[string]struct {
		started time.Duration
		want    string
	}{
		"just now":                       {0, "20s"},
		"some time ago":                  {-15 * time.Second, "5s"},
		"long ago":                       {-time.Hour, "0s"},
		"by a clock that was set back":   {time.Hour, "20s"},
		"by a clock of another century":  {-100 * 365 * 24 * time.Hour, "0s"},
		"by a clock that is years ahead": {100 * 365 * 24 * time.Hour, "20s"},
	} {
		t.Run(name, func(t *testing.T) {
			inWard(t, nil, func(t *testing.T, w *ward) {
				w.m.Set(podWith(does("live", after(20)), nil, nil), runs("1", startedAt(row.started)))
				time.Sleep(25 * time.Second)
				assert.Equal(t, row.want+" 1 live", strings.Split(w.news(), ",")[0])
			})
		})
	}
}

func TestLivenessFailsAfterItsThresholdAndHoldsUntilTheNextContainer(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		pod := podWith(does("live"), nil, nil)
		w.m.Set(pod, runs("1"))
		time.Sleep(time.Second)
		w.says("live", errNo)
		time.Sleep(20 * time.Second)
		assert.Equal(t, "started ready", w.health("1"), "two failures are not enough")
		time.Sleep(10 * time.Second)
		assert.Equal(t, "started ready failed Liveness", w.health("1"))
		assert.Equal(t, 1, w.wakes())
		assert.Equal(t, strings.Repeat("Warning Unhealthy app Liveness probe failed: it says live\n", 3), w.happened()+"\n", "each failure is told")
		w.news()
		time.Sleep(time.Hour)
		assert.Empty(t, w.news(), "nobody asks any more")

		w.m.Set(pod, stopped("1"))
		assert.Equal(t, "unknown", w.health("1"))
		w.says("live", nil)
		w.m.Set(pod, runs("2"))
		assert.Equal(t, "started ready", w.health("2"))
		assert.Equal(t, "unknown", w.health("1"), "what was found of the old one is gone")
		time.Sleep(25 * time.Second)
		assert.Len(t, strings.Split(w.news(), ","), 3)
	})
}

func TestReadinessComesAndGoes(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		w.says("ready", errNo)
		w.m.Set(podWith(nil, does("ready", thresholds(2, 3)), nil), runs("1"))
		assert.Equal(t, "started", w.health("1"))
		time.Sleep(15 * time.Second)
		w.says("ready", nil)
		time.Sleep(10 * time.Second)
		assert.Equal(t, "started", w.health("1"), "once is not enough")
		time.Sleep(10 * time.Second)
		assert.Equal(t, "started ready", w.health("1"))
		w.says("ready", errNo)
		time.Sleep(30 * time.Second)
		assert.Equal(t, "started", w.health("1"), "and nobody is to end it")
		assert.Equal(t, 2, w.wakes())
	})
}

func TestNothingElseIsCheckedBeforeAContainerHasStarted(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		w.says("start", errNo)
		w.m.Set(podWith(does("live"), does("ready", after(5)), does("start", every(3), thresholds(1, 30))), runs("1"))
		time.Sleep(10 * time.Second)
		assert.Equal(t, "0s 1 start, 3s 1 start, 6s 1 start, 9s 1 start", w.news())
		assert.Empty(t, w.health("1"))
		w.says("start", nil)
		time.Sleep(3 * time.Second)
		assert.ElementsMatch(t, []string{"12s 1 start", "12s 1 live", "12s 1 ready"}, strings.Split(w.news(), ", "), "then at once")
		assert.Equal(t, "started ready", w.health("1"))
		time.Sleep(time.Minute)
		assert.NotContains(t, w.news(), "start", "never again")
	})
}

func TestAContainerThatDoesNotStartHasFailed(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		w.says("start", errNo)
		w.m.Set(podWith(does("live"), nil, does("start", every(1), thresholds(1, 2))), runs("1"))
		time.Sleep(time.Minute)
		assert.Equal(t, "0s 1 start, 1s 1 start", w.news())
		assert.Equal(t, "failed Startup", strings.TrimPrefix(w.health("1"), "ready "))
	})
}

func TestReadinessAndStartOutliveTheAgent(t *testing.T) {
	was := func(started, ready bool) func(*corev1.ContainerStatus) {
		return func(c *corev1.ContainerStatus) { c.Started, c.Ready = &started, ready }
	}
	inWard(t, nil, func(t *testing.T, w *ward) {
		w.says("ready", errNo)
		w.m.Set(podWith(nil, does("ready"), does("start")), ofReadyPod(runs("1", was(true, true))))
		assert.Equal(t, "started ready", w.health("1"))
		time.Sleep(15 * time.Second)
		assert.Equal(t, "started ready", w.health("1"), "until a probe says otherwise, by its threshold")
		assert.NotContains(t, w.news(), "start", "it has started")
		time.Sleep(10 * time.Second)
		assert.Equal(t, "started", w.health("1"))
		w.says("start", errNo)
		w.m.Set(podWith(nil, does("ready"), does("start")), ofReadyPod(runs("2", was(true, true))))
		assert.Empty(t, w.health("2"), "another one has not, whatever its status says")
		assert.Contains(t, w.news(), "2 start")
	})
	inWard(t, nil, func(t *testing.T, w *ward) {
		w.says("ready", errNo)
		w.m.Set(podWith(nil, does("ready"), nil), runs("1", was(true, true)))
		assert.Equal(t, "started", w.health("1"), "the pod was not ready")
	})
}

// ofReadyPod adds that the pod as a whole is ready.
func ofReadyPod(status corev1.PodStatus) corev1.PodStatus {
	status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	return status
}

func TestChecksAreSpreadOnlyAfterTheAgentsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &ward{t: t, start: time.Now(), running: map[string]int{}}
		m := probe.New(w, probe.Config{})
		old := runs("old")
		time.Sleep(time.Hour)
		w.start = time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		for i := range 100 {
			pod := podWith(does("live"), nil, nil)
			pod.UID = types.UID(fmt.Sprint(i))
			m.Set(pod, old)
		}
		fresh := podWith(does("fresh"), nil, nil)
		fresh.UID = "fresh"
		m.Set(fresh, runs("new"))
		time.Sleep(9500 * time.Millisecond)
		news := w.news()
		for second := range 10 {
			assert.Contains(t, news, fmt.Sprintf("%ds old live", second))
		}
		assert.Contains(t, news, "0s new fresh", "one that has just started need not wait")
		cancel()
		require.NoError(t, <-done)
	})
}

func TestADeletedPodIsCheckedForReadinessOnly(t *testing.T) {
	for name, end := range map[string]func(*ward, *corev1.Pod){
		"by its deletionTimestamp": func(w *ward, pod *corev1.Pod) {
			deleted := pod.DeepCopy()
			deleted.DeletionTimestamp = &metav1.Time{Time: time.Now()}
			w.m.Set(deleted, runs("1"))
		},
		"by a decision of the node": func(w *ward, _ *corev1.Pod) { w.m.Ending("uid") },
	} {
		t.Run(name, func(t *testing.T) {
			inWard(t, nil, func(t *testing.T, w *ward) {
				w.says("live", errNo)
				pod := podWith(does("live", thresholds(1, 1)), does("ready"), nil)
				w.m.Set(pod, runs("1"))
				assert.Equal(t, "started ready failed Liveness", w.health("1"))
				end(w, pod)
				assert.Equal(t, "started ready", w.health("1"), "no such failure stands")
				w.news()
				time.Sleep(35 * time.Second)
				assert.NotContains(t, w.news(), "live")
				w.m.Remove("uid")
				time.Sleep(time.Minute)
				assert.Empty(t, w.news())
				assert.Equal(t, "unknown", w.health("1"))
			})
		})
	}
}

func TestAPodThatHasEndedIsNotChecked(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		pod := podWith(does("live"), does("ready"), nil)
		w.m.Set(pod, runs("1"))
		w.news()
		ended := runs("1")
		ended.Phase = corev1.PodFailed
		w.m.Set(pod, ended)
		time.Sleep(time.Minute)
		assert.Empty(t, w.news())
		assert.Zero(t, w.m.Metrics().Probes)
	})
}

func TestWhatFindsNothingOutIsTriedAgainAndIsNoVerdict(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		w.m.Set(podWith(does("live", thresholds(1, 1)), does("ready"), nil), runs("1"))
		synctest.Wait()
		w.news()
		w.says("live", errors.New("the runtime is away"))
		time.Sleep(10*time.Second + time.Millisecond)
		assert.Equal(t, 3, strings.Count(w.news(), "10s 1 live"))
		assert.Equal(t, "started ready", w.health("1"))
		assert.Equal(t, "Warning Unhealthy app Liveness probe errored: run probe command: the runtime is away", w.happened())
		assert.Equal(t, 1, w.m.Metrics().Errors)
	})
}

func TestASlowCheckIsNotDoneTwiceAndHoldsUpNoOther(t *testing.T) {
	inWard(t, func(cfg *probe.Config) { cfg.MaxExecs = 2 }, func(t *testing.T, w *ward) {
		w.takes("slow", 25*time.Second)
		pods := []*corev1.Pod{podWith(does("slow"), nil, nil), podWith(does("slow"), nil, nil), podWith(does("quick"), nil, nil)}
		for i, pod := range pods {
			pod.UID = types.UID(fmt.Sprint(i))
			w.m.Set(pod, runs(fmt.Sprint(i)))
			synctest.Wait()
		}
		time.Sleep(30 * time.Second)
		news := w.news()
		assert.Contains(t, news, "2s 2 quick", "a command beyond its timeout no longer counts")
		assert.Contains(t, news, "25s 0 slow", "the next one when it is over")
		assert.Equal(t, 4, w.m.Metrics().Overruns)
	})
}

func TestOnlySomeCommandsRunAtOnce(t *testing.T) {
	inWard(t, func(cfg *probe.Config) { cfg.MaxExecs = 3 }, func(t *testing.T, w *ward) {
		w.takes("live", 500*time.Millisecond)
		for i := range 30 {
			pod := podWith(does("live", every(60)), nil, nil)
			pod.UID = types.UID(fmt.Sprint(i))
			w.m.Set(pod, runs(fmt.Sprint(i)))
		}
		for range 10 {
			synctest.Wait()
			assert.Equal(t, 3, w.m.Metrics().InFlight)
			time.Sleep(500 * time.Millisecond)
		}
		synctest.Wait()
		assert.Equal(t, 30, w.m.Metrics().Checks)
		assert.Zero(t, w.m.Metrics().InFlight)
	})
}

// A check of a container that is gone is cancelled. It is no result, and not told of.
func TestAHungCheckIsNotHeldAgainstTheNextContainer(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		w.takes("live", 5*time.Second)
		w.says("live", errNo)
		pod := podWith(does("live", thresholds(1, 1)), nil, nil)
		w.m.Set(pod, runs("1"))
		time.Sleep(time.Second)
		w.m.Set(pod, runs("2"))
		assert.Equal(t, "0s 1 live, 1s 2 live", w.news(), "the next one is checked at once")
		assert.Equal(t, "started ready", w.health("2"))
		assert.Empty(t, w.happened())
		time.Sleep(5 * time.Second)
		assert.Equal(t, "started ready failed Liveness", w.health("2"))
	})
}

// One that waits for its turn has the initial delay of the container that it comes to,
// and its place in the line of its new sort.
func TestWhatWaitsForItsTurnGoesWithTheChange(t *testing.T) {
	inWard(t, func(cfg *probe.Config) { cfg.MaxExecs = 1 }, func(t *testing.T, w *ward) {
		w.takes("slow", 900*time.Millisecond)
		other := podWith(does("slow", every(3600)), nil, nil)
		other.UID = "other"
		w.m.Set(other, runs("0"))
		synctest.Wait()
		pod := podWith(does("live", after(5), every(60)), nil, nil)
		old := runs("1")
		old.ContainerStatuses[0].State.Running.StartedAt = metav1.NewTime(time.Now().Add(-time.Hour))
		w.m.Set(pod, old)
		synctest.Wait()
		w.m.Set(pod, runs("2"))
		time.Sleep(10 * time.Second)
		assert.Equal(t, "0s 0 slow, 5s 2 live", w.news())

		other = podWith(does("slow", every(3601)), nil, nil)
		other.UID = "other"
		w.m.Remove("other")
		w.m.Set(other, runs("3"))
		synctest.Wait()
		w.m.Set(pod, runs("4"))
		old.ContainerStatuses[0].ContainerID = "containerd://5"
		w.m.Set(pod, old)
		synctest.Wait()
		tcp := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}} // without a port: no I/O
		w.m.Set(podWith(tcp, nil, nil), old)
		time.Sleep(2 * time.Second)
		w.news()
		third := podWith(does("third"), nil, nil)
		third.UID = "third"
		w.m.Set(third, runs("6"))
		assert.Equal(t, "12s 6 third", w.news(), "no place was lost")
	})
}

// Who is being killed has started and lives, so that readiness is still asked.
func TestAPodThatIsKilledWhileItStartsIsAskedForReadiness(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		w.says("start", errNo)
		w.m.Set(podWith(does("live"), does("ready"), does("start")), runs("1"))
		assert.Empty(t, w.health("1"))
		w.m.Ending("uid")
		assert.Equal(t, "started ready", w.health("1"))
		assert.Equal(t, "0s 1 start, 0s 1 ready", w.news())
	})
}

// A clock that was set back must not keep a probe waiting beyond its delay, nor one that
// was set ahead wedge it.
func TestTheClockMayJump(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"back": 1000 * time.Hour, "ahead": -1000 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			inWard(t, nil, func(t *testing.T, w *ward) {
				status := runs("1")
				status.ContainerStatuses[0].State.Running.StartedAt = metav1.NewTime(time.Now().Add(ahead))
				w.m.Set(podWith(does("live", after(7)), nil, nil), status)
				time.Sleep(8 * time.Second)
				assert.Contains(t, w.news(), "1 live")
			})
		})
	}
}

func TestAnErrorInAnEventIsBounded(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		w.says("live", errors.New(strings.Repeat("x", 1<<20)))
		w.m.Set(podWith(does("live"), nil, nil), runs("1"))
		events := w.happened()
		assert.Contains(t, events, "Liveness probe errored: ")
		assert.Less(t, len(events), probe.MaxOutput+100)
	})
}

func TestAProbeThatIsChangedKeepsItsVerdict(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		w.m.Set(podWith(nil, does("ready"), nil), runs("1"))
		assert.Equal(t, "started ready", w.health("1"))
		w.says("other", errNo)
		w.m.Set(podWith(nil, does("other", every(1), thresholds(1, 3)), nil), runs("1"))
		assert.Equal(t, "started ready", w.health("1"))
		time.Sleep(20 * time.Second)
		assert.Equal(t, "started", w.health("1"))
		w.m.Set(podWith(nil, nil, nil), runs("1"))
		assert.Equal(t, "unknown", w.health("1"), "without a probe nothing is found")
	})
}

func TestSidecarsAreCheckedAndOtherInitContainersAreNot(t *testing.T) {
	inWard(t, nil, func(t *testing.T, w *ward) {
		pod := podWith(nil, nil, nil)
		pod.Spec.InitContainers = []corev1.Container{
			{Name: "side", RestartPolicy: new(corev1.ContainerRestartPolicyAlways), LivenessProbe: does("side")},
			{Name: "init", LivenessProbe: does("init")},
		}
		status := runs("1")
		for _, name := range []string{"side", "init"} {
			c := runs(name).ContainerStatuses[0]
			c.Name = name
			status.InitContainerStatuses = append(status.InitContainerStatuses, c)
		}
		w.m.Set(pod, status)
		assert.Equal(t, "0s side side", w.news())
	})
}

func TestCommandsAreExpandedAndAPanicIsNoEnd(t *testing.T) {
	expand := func(cfg *probe.Config) {
		cfg.Command = func(c *corev1.Container, command []string) []string {
			return []string{c.Name + "-" + command[0]}
		}
	}
	inWard(t, expand, func(t *testing.T, w *ward) {
		w.m.Set(podWith(does("live"), nil, nil), runs("1"))
		assert.Equal(t, "0s 1 app-live", w.news())
	})
	inWard(t, nil, func(t *testing.T, w *ward) {
		pod := podWith(does("live"), nil, nil)
		pod.Spec.Containers[0].LivenessProbe.Exec.Command = nil // the ward panics
		w.m.Set(pod, runs("1"))
		assert.Contains(t, w.happened(), "Liveness probe errored: the probe panicked")
		assert.Equal(t, "started ready", w.health("1"))
	})
}
