package probe_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/probe"
)

// script answers the commands of one container's probes at random, and keeps for each
// container ID and kind what they answered.
type script struct {
	mu       sync.Mutex // guards what follows
	healthy  map[string]bool
	answered map[string][]bool
	running  map[string]bool
	twice    bool
}

func (s *script) ExecSync(_ context.Context, id string, cmd []string, _ time.Duration) ([]byte, []byte, error) {
	s.mu.Lock()
	s.twice = s.twice || s.running[cmd[0]]
	s.running[cmd[0]] = true
	s.mu.Unlock()
	time.Sleep(time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[cmd[0]] = false
	healthy := s.healthy[cmd[0]]
	s.answered[id+cmd[0]] = append(s.answered[id+cmd[0]], healthy)
	if !healthy {
		return nil, nil, errNo
	}
	return nil, nil, nil
}

// judged is the model: as many equal answers in a row as the threshold says.
func judged(initial probe.Result, answers []bool, toSucceed, toFail int32) probe.Result {
	verdict, run := initial, int32(0)
	for i, healthy := range answers {
		if i > 0 && answers[i-1] != healthy {
			run = 0
		}
		run++
		switch {
		case healthy && run >= toSucceed:
			verdict = probe.Success
		case !healthy && run >= toFail:
			verdict = probe.Failure
		}
	}
	return verdict
}

func (s *script) expected(id string, pod *corev1.Pod) probe.Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := pod.Spec.Containers[0]
	startup := judged(probe.Unknown, s.answered[id+"start"], 1, c.StartupProbe.FailureThreshold)
	liveness := judged(probe.Success, s.answered[id+"live"], 1, c.LivenessProbe.FailureThreshold)
	ready := judged(probe.Failure, s.answered[id+"ready"], c.ReadinessProbe.SuccessThreshold, c.ReadinessProbe.FailureThreshold)
	health := probe.Health{Started: startup == probe.Success, Ready: ready == probe.Success}
	if startup == probe.Failure {
		health.Failed = probe.Startup
	}
	if liveness == probe.Failure {
		health.Failed = probe.Liveness
	}
	return health
}

// Whatever containers answer, and however often they are replaced, even while they are
// checked: the verdict is that of the answers of exactly that container, no probe is
// checked twice at once, and none is checked when it may not be.
func TestVerdictsAreThoseOfTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		period := rapid.Int32Range(1, 5)
		threshold := rapid.Int32Range(1, 4)
		pod := podWith(
			does("live", every(period.Draw(rt, "live")), thresholds(1, threshold.Draw(rt, "live fails"))),
			does("ready", every(period.Draw(rt, "ready")), thresholds(threshold.Draw(rt, "ready succeeds"), threshold.Draw(rt, "ready fails"))),
			does("start", every(period.Draw(rt, "start")), thresholds(1, threshold.Draw(rt, "start fails"))),
		)
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"wait", "wait", "live", "ready", "start", "replace", "again"}), 1, 40).Draw(rt, "steps")
		pauses := rapid.SliceOfN(rapid.IntRange(1, 6000), len(steps), len(steps)).Draw(rt, "pauses")
		var problem string
		synctest.Test(t, func(t *testing.T) { problem = play(t, pod, steps, pauses) })
		require.Empty(rt, problem)
	})
}

// play takes the steps and returns what was not as the model has it.
func play(t *testing.T, pod *corev1.Pod, steps []string, pauses []int) (problem string) {
	s := &script{healthy: map[string]bool{}, answered: map[string][]bool{}, running: map[string]bool{}}
	m := probe.New(s, probe.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			problem = err.Error()
		}
	}()
	synctest.Wait()
	number := 1
	status := runs("1")
	m.Set(pod, status)
	for i, step := range steps {
		switch step {
		case "live", "ready", "start":
			s.mu.Lock()
			s.healthy[step] = !s.healthy[step]
			s.mu.Unlock()
		case "replace":
			number++
			status = runs(fmt.Sprint(number))
			m.Set(pod, status)
		case "again":
			m.Set(pod.DeepCopy(), status)
		}
		time.Sleep(time.Duration(pauses[i])*time.Millisecond + 10*time.Microsecond)
		// In flight, an answer may be given and not yet taken in; past that, none is.
		for m.Metrics().InFlight > 0 {
			time.Sleep(100 * time.Microsecond)
		}
		synctest.Wait()
		id := fmt.Sprint(number)
		got, known := m.Health("uid", id)
		if want := s.expected(id, pod); !known || got != want {
			return fmt.Sprintf("step %d %s: %+v, want %+v", i, step, got, want)
		}
		if id := fmt.Sprint(number - 1); number > 1 {
			if _, known := m.Health("uid", id); known {
				return "a container that is gone has a verdict"
			}
		}
		s.mu.Lock()
		twice := s.twice
		s.mu.Unlock()
		if twice {
			return "a probe was checked twice at once"
		}
	}
	return ""
}

// FuzzSet proves that no spec and no status makes the Manager fail.
func FuzzSet(f *testing.F) {
	f.Add("app", "containerd://1", int32(0), int32(0), int32(0), int64(0), false)
	f.Add("", "://", int32(-1), int32(1<<31-1), int32(-1<<31), int64(1)<<62, true)
	f.Fuzz(func(t *testing.T, name, id string, delay, period, threshold int32, startedAt int64, hostNetwork bool) {
		spec := does("x", after(delay), every(period), thresholds(threshold, threshold))
		pod := podWith(spec, spec, spec)
		pod.Spec.HostNetwork = hostNetwork
		status := runs("1")
		c := &status.ContainerStatuses[0]
		c.Name, c.ContainerID = name, id
		c.State.Running.StartedAt = metav1.Unix(startedAt, 0)
		m := probe.New(&fakeExecer{}, probe.Config{})
		m.Set(pod, status)
		_, known := m.Health("uid", id)
		if _, bare, found := strings.Cut(id, "://"); found {
			_, known = m.Health("uid", bare)
			id = bare
		}
		require.Equal(t, name == "app" && id != "", known)
		require.Equal(t, 3, m.Metrics().Probes)
		m.Remove("uid")
		require.Zero(t, m.Metrics().Probes)
	})
}
