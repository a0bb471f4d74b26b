package eviction_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/gc/eviction"
)

const mega = 1 << 20

// house is a node of which a test says what is left, and that notes what happens.
type house struct {
	start time.Time
	log   *observer.ObservedLogs

	mu      sync.Mutex // guards what follows
	left    map[eviction.Signal]eviction.Amount
	err     error
	pods    []*corev1.Pod
	usage   map[types.UID]eviction.Usage
	looks   int
	freed   map[eviction.Signal]int64 // by each Reclaim
	stuck   string                    // with this their names begin that do not end
	vast    bool                      // no look at the pods comes to its end
	happens []string
}

func (h *house) note(format string, args ...any) {
	h.happens = append(h.happens, fmt.Sprintf("%v "+format, append([]any{time.Since(h.start)}, args...)...))
}

func (h *house) Measure(context.Context) (map[eviction.Signal]eviction.Amount, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := map[eviction.Signal]eviction.Amount{}
	for signal, amount := range h.left {
		left[signal] = amount
	}
	return left, h.err
}

func (h *house) OwnImageFs(context.Context) bool { return false }

func (h *house) Usage(ctx context.Context, _ []*corev1.Pod, _ bool) (map[types.UID]eviction.Usage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looks++
	if h.vast {
		h.mu.Unlock()
		<-ctx.Done()
		h.mu.Lock()
		return h.usage, ctx.Err()
	}
	return h.usage, nil
}

func (h *house) reclaim(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note("reclaim")
	for signal, freed := range h.freed {
		h.add(signal, freed)
	}
	return nil
}

func (h *house) add(signal eviction.Signal, freed int64) {
	amount := h.left[signal]
	amount.Available += freed
	h.left[signal] = amount
}

// frees says what each Reclaim frees.
func (h *house) frees(signal eviction.Signal, freed int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.freed[signal] = freed
}

// looked is how often somebody asked what pods use.
func (h *house) looked() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.looks
}

// evict ends a pod: what it used is free again.
func (h *house) evict(ctx context.Context, pod *corev1.Pod, why eviction.Eviction) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note("evict %s within %v: %s", pod.Name, why.Grace, why.Message)
	if h.stuck != "" && strings.HasPrefix(pod.Name, h.stuck) {
		h.mu.Unlock()
		<-ctx.Done()
		h.mu.Lock()
		return ctx.Err()
	}
	for i, other := range h.pods {
		if other.UID == pod.UID {
			h.pods = append(h.pods[:i:i], h.pods[i+1:]...)
			break
		}
	}
	for _, c := range h.usage[pod.UID].Containers {
		h.add(eviction.MemoryAvailable, c.Memory)
		h.add(eviction.NodeFsAvailable, c.Layer.Bytes)
	}
	return nil
}

func (h *house) active() []*corev1.Pod {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pods
}

// add a pod that uses so many megabytes of memory and disk.
func (h *house) run(name string, memory, disk int64, change ...func(*corev1.Pod)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}}
	pod.Spec.Containers = []corev1.Container{{Name: "app"}}
	pod.Spec.TerminationGracePeriodSeconds = new(int64(30))
	for _, each := range change {
		each(pod)
	}
	h.pods = append(h.pods, pod)
	h.usage[pod.UID] = eviction.Usage{Containers: map[string]eviction.ContainerUsage{
		"app": {Memory: memory * mega, Layer: eviction.Disk{Bytes: disk * mega}},
	}}
}

func (h *house) set(signal eviction.Signal, available int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left[signal] = eviction.Amount{Available: available * mega, Capacity: 1000 * mega}
}

// inHouse runs a Manager in virtual time.
func inHouse(t *testing.T, change func(*eviction.Config), play func(*testing.T, *house, *eviction.Manager)) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		h := &house{start: time.Now(), log: logs, left: map[eviction.Signal]eviction.Amount{}, usage: map[types.UID]eviction.Usage{}, freed: map[eviction.Signal]int64{}}
		h.set(eviction.MemoryAvailable, 500)
		h.set(eviction.NodeFsAvailable, 500)
		cfg := eviction.Config{
			Active: h.active, Reclaim: h.reclaim, Evict: h.evict, Logger: zap.New(core),
			OnEvent: func(pod *corev1.Pod, eventType, reason, _ string) {
				about := "node"
				if pod != nil {
					about = pod.Name
				}
				h.mu.Lock()
				defer h.mu.Unlock()
				h.note("%s %s %s", eventType, reason, about)
			},
		}
		change(&cfg)
		m := eviction.New(h, h, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		time.Sleep(time.Millisecond)
		play(t, h, m)
		cancel()
		assert.NoError(t, <-done)
	})
}

func byDefault(*eviction.Config) {}

// news is what has happened since the last time.
func (h *house) news() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	news := strings.Join(h.happens, "\n")
	h.happens = nil
	return news
}

func conditions(m *eviction.Manager) string {
	var has []string
	for _, c := range m.Conditions() {
		if c.Status == corev1.ConditionTrue {
			has = append(has, string(c.Type))
		}
	}
	return strings.Join(has, " ")
}

func TestANodeWithEnoughIsLeftAlone(t *testing.T) {
	inHouse(t, byDefault, func(t *testing.T, h *house, m *eviction.Manager) {
		h.run("a", 400, 400)
		time.Sleep(time.Hour)
		assert.Empty(t, h.news())
		assert.Zero(t, h.looked(), "nobody asks what pods use")
		assert.Zero(t, h.log.Len())
		assert.Empty(t, conditions(m))
		assert.Len(t, m.Conditions(), 3)
	})
}

func TestOnePodInARoundIsEvictedUntilThereIsEnough(t *testing.T) {
	inHouse(t, byDefault, func(t *testing.T, h *house, m *eviction.Manager) {
		h.run("small", 10, 0)
		h.run("big", 30, 0)
		h.run("middle", 20, 0)
		h.set(eviction.MemoryAvailable, 55)
		time.Sleep(5 * time.Minute)
		assert.Equal(t, `10s Warning EvictionThresholdMet node
10s Warning Evicted big
10s evict big within 1s: The node was low on resource: memory. Threshold quantity: 100Mi, available: 55Mi. Container app was using 30Mi, request is 0, has larger consumption of memory. 
20s Warning EvictionThresholdMet node
20s Warning Evicted middle
20s evict middle within 1s: The node was low on resource: memory. Threshold quantity: 100Mi, available: 85Mi. Container app was using 20Mi, request is 0, has larger consumption of memory. `, h.news())
		assert.Equal(t, "MemoryPressure", conditions(m))
		time.Sleep(time.Minute)
		assert.Empty(t, conditions(m))
		assert.Equal(t, 1, h.log.FilterMessage("condition of the node has changed").FilterLevelExact(zap.WarnLevel).Len())
	})
}

func TestDiskThatNobodyNeedsIsFreedFirst(t *testing.T) {
	for name, row := range map[string]struct {
		freed int64
		want  string
	}{
		"enough":     {100 * mega, "10s Warning EvictionThresholdMet node\n10s reclaim"},
		"not enough": {10 * mega, "10s Warning EvictionThresholdMet node\n10s reclaim\n10s Warning Evicted big\n10s evict big"},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, byDefault, func(t *testing.T, h *house, _ *eviction.Manager) {
				h.run("small", 0, 10)
				h.run("big", 0, 80)
				h.frees(eviction.NodeFsAvailable, row.freed)
				h.set(eviction.NodeFsAvailable, 50)
				time.Sleep(time.Minute)
				assert.Equal(t, row.want, strings.Split(h.news(), " within")[0])
			})
		})
	}
}

func TestCriticalPodsStay(t *testing.T) {
	critical := func(pod *corev1.Pod) { pod.Spec.PriorityClassName = "system-node-critical" }
	inHouse(t, byDefault, func(t *testing.T, h *house, _ *eviction.Manager) {
		h.run("critical", 900, 0, critical)
		h.set(eviction.MemoryAvailable, 50)
		time.Sleep(time.Hour)
		assert.NotContains(t, h.news(), "evict")
		for _, once := range []string{"too little is left", "no pod can be evicted, though too little is left"} {
			assert.Equal(t, 1, h.log.FilterMessage(once).Len(), once)
		}
		h.set(eviction.MemoryAvailable, 500)
		time.Sleep(time.Minute)
		h.set(eviction.MemoryAvailable, 50)
		time.Sleep(time.Minute)
		assert.Equal(t, 2, h.log.FilterMessage("too little is left").Len(), "it is news again")
	})
}

// One pod goes in a round also when it does not end: what it frees late is measured
// before another has to go.
func TestAPodThatDoesNotEndIsPassedOverInTheNextRound(t *testing.T) {
	inHouse(t, byDefault, func(t *testing.T, h *house, _ *eviction.Manager) {
		h.run("stuck", 50, 0)
		h.run("other", 40, 0)
		h.run("third", 30, 0)
		h.mu.Lock()
		h.stuck = "stuck"
		h.mu.Unlock()
		h.set(eviction.MemoryAvailable, 65)
		time.Sleep(45 * time.Second)
		news := h.news()
		assert.Contains(t, news, "10s evict stuck")
		assert.NotContains(t, news, "evict other", "one in a round")
		time.Sleep(10 * time.Second)
		assert.Contains(t, h.news(), "51s evict other")
		h.set(eviction.MemoryAvailable, 65)
		time.Sleep(10 * time.Second)
		assert.Contains(t, h.news(), "1m1s evict third")
		h.set(eviction.MemoryAvailable, 65)
		time.Sleep(10 * time.Second)
		assert.Contains(t, h.news(), "1m11s evict stuck", "there is nobody else")
	})
}

func TestAPodThatDoesNotEndIsLoggedOnce(t *testing.T) {
	inHouse(t, byDefault, func(t *testing.T, h *house, _ *eviction.Manager) {
		h.run("stuck", 50, 0)
		h.mu.Lock()
		h.stuck = "stuck"
		h.mu.Unlock()
		h.set(eviction.MemoryAvailable, 50)
		time.Sleep(24 * time.Hour)
		assert.Greater(t, strings.Count(h.news(), "evict stuck"), 1000, "tried again all the time")
		for _, once := range []string{"pod is evicted", "evicted pod does not end"} {
			assert.Equal(t, 1, h.log.FilterMessage(once).Len(), once)
		}
	})
}

func TestAPodThatEndsLateSparesTheNext(t *testing.T) {
	inHouse(t, byDefault, func(t *testing.T, h *house, _ *eviction.Manager) {
		h.run("late", 50, 0)
		h.run("other", 40, 0)
		h.mu.Lock()
		h.stuck = "late"
		h.mu.Unlock()
		h.set(eviction.MemoryAvailable, 65)
		time.Sleep(45 * time.Second)
		h.set(eviction.MemoryAvailable, 115)
		time.Sleep(time.Minute)
		assert.NotContains(t, h.news(), "evict other")
	})
}

func TestASoftThresholdGivesTime(t *testing.T) {
	soft := func(cfg *eviction.Config) {
		cfg.MaxPodGrace = 20 * time.Second
		cfg.Thresholds = []eviction.Threshold{{Signal: eviction.MemoryAvailable, Value: eviction.Value{Percent: 20}, Grace: time.Minute}}
	}
	inHouse(t, soft, func(t *testing.T, h *house, m *eviction.Manager) {
		h.run("a", 200, 0)
		h.set(eviction.MemoryAvailable, 150)
		time.Sleep(65 * time.Second)
		assert.Empty(t, h.news())
		assert.Equal(t, "MemoryPressure", conditions(m))
		time.Sleep(10 * time.Second)
		assert.Contains(t, h.news(), "evict a within 20s")
	})
}

func TestASoftThresholdGivesAPodItsOwnGraceUpToTheMost(t *testing.T) {
	soft := func(cfg *eviction.Config) {
		cfg.MaxPodGrace = time.Minute
		cfg.Thresholds = []eviction.Threshold{{Signal: eviction.MemoryAvailable, Value: eviction.Value{Percent: 20}, Grace: time.Second}}
	}
	for name, c := range map[string]struct {
		own  *int64
		want string
	}{
		"one that says nothing has the default": {nil, "30s"},
		"its own":                               {new(int64(45)), "45s"},
		"the most":                              {new(int64(3600)), "1m0s"},
		"more than a Duration holds":            {new(int64(math.MaxInt64)), "1m0s"},
		"none":                                  {new(int64(0)), "1s"},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, soft, func(t *testing.T, h *house, _ *eviction.Manager) {
				h.run("a", 200, 0, func(pod *corev1.Pod) { pod.Spec.TerminationGracePeriodSeconds = c.own })
				h.set(eviction.MemoryAvailable, 150)
				time.Sleep(25 * time.Second)
				assert.Contains(t, h.news(), "evict a within "+c.want)
			})
		})
	}
}

func TestPodsThatExceedTheirOwnLimitsAreEvicted(t *testing.T) {
	limited := func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("10Mi")}
	}
	inHouse(t, byDefault, func(t *testing.T, h *house, _ *eviction.Manager) {
		h.run("over", 0, 11, limited)
		h.run("within", 0, 9, limited)
		h.run("unlimited", 0, 100)
		time.Sleep(10 * time.Minute)
		assert.Equal(t, "1m0s Warning Evicted over\n1m0s evict over within 1s: Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. ", h.news())
		assert.Equal(t, 10, h.looked(), "disk is looked at once in a minute")
	})
}

// Those that do not end hold up neither the watch over the node nor the others.
func TestPodsOverTheirLimitsThatDoNotEndHoldUpNothingElse(t *testing.T) {
	limited := func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("10Mi")}
	}
	inHouse(t, byDefault, func(t *testing.T, h *house, m *eviction.Manager) {
		h.mu.Lock()
		h.stuck = "stuck"
		h.mu.Unlock()
		for n := range 5 {
			h.run(fmt.Sprint("stuck-", n), 0, 11, limited)
		}
		time.Sleep(10 * time.Minute)
		assert.Contains(t, h.news(), "evict stuck-")

		h.run("big", 60, 0)
		h.set(eviction.MemoryAvailable, 50)
		time.Sleep(time.Minute)
		assert.Equal(t, "MemoryPressure", conditions(m))
		assert.Contains(t, h.news(), "evict big")

		h.run("over", 0, 11, limited)
		time.Sleep(2 * time.Minute)
		assert.Contains(t, h.news(), "evict over", "who may end comes before those that do not")
	})
}

// What was found until then counts: it is not less than that.
func TestALookAtVastDisksIsCutShort(t *testing.T) {
	limited := func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("10Mi")}
	}
	inHouse(t, byDefault, func(t *testing.T, h *house, _ *eviction.Manager) {
		h.run("over", 0, 11, limited)
		h.run("big", 500, 0)
		h.mu.Lock()
		h.vast = true
		h.mu.Unlock()
		time.Sleep(2 * time.Minute)
		assert.Contains(t, h.news(), "evict over")
		h.set(eviction.MemoryAvailable, 50)
		time.Sleep(2 * time.Minute)
		assert.Contains(t, h.news(), "evict big")
	})
}

func TestWhatCannotBeMeasuredIsLoggedOnceAndEvictsNobody(t *testing.T) {
	inHouse(t, byDefault, func(t *testing.T, h *house, _ *eviction.Manager) {
		h.run("a", 1, 1)
		h.mu.Lock()
		h.left, h.err = nil, errors.New("no such file")
		h.mu.Unlock()
		time.Sleep(time.Hour)
		assert.Empty(t, h.news())
		assert.Equal(t, 1, h.log.FilterMessage("not all of the node can be measured").Len())
	})
}

func TestWhichPodsANodeUnderPressureRefuses(t *testing.T) {
	plain := func(*corev1.Pod) {}
	requests := func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"memory": resource.MustParse("1Mi")}
	}
	podRequests := func(pod *corev1.Pod) {
		pod.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{"memory": resource.MustParse("1Mi")}}
	}
	tolerates := func(pod *corev1.Pod) {
		pod.Spec.Tolerations = []corev1.Toleration{{Key: "node.kubernetes.io/memory-pressure", Operator: corev1.TolerationOpExists}}
	}
	critical := func(pod *corev1.Pod) { pod.Spec.Priority = new(int32(2_000_000_001)) }
	for name, row := range map[string]struct {
		pod  func(*corev1.Pod)
		low  eviction.Signal
		want string
	}{
		"enough of all":               {plain, "", ""},
		"memory, BestEffort":          {plain, eviction.MemoryAvailable, "The node had condition: [MemoryPressure]. "},
		"memory, Burstable":           {requests, eviction.MemoryAvailable, ""},
		"memory, of pod level":        {podRequests, eviction.MemoryAvailable, ""},
		"memory, BestEffort tolerant": {tolerates, eviction.MemoryAvailable, ""},
		"memory, critical":            {critical, eviction.MemoryAvailable, ""},
		"disk, Burstable":             {requests, eviction.NodeFsAvailable, "The node had condition: [DiskPressure]. "},
		"disk, tolerant of memory":    {tolerates, eviction.NodeFsAvailable, "The node had condition: [DiskPressure]. "},
		"disk, critical":              {critical, eviction.NodeFsAvailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, byDefault, func(t *testing.T, h *house, m *eviction.Manager) {
				if row.low != "" {
					h.set(row.low, 1)
				}
				time.Sleep(time.Minute)
				pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
				row.pod(pod)
				why := m.Refuses(pod)
				if row.want == "" {
					assert.Nil(t, why)
					return
				}
				require.NotNil(t, why)
				assert.Equal(t, eviction.Refusal{Reason: "Evicted", Message: row.want}, *why)
			})
		})
	}
}

func TestChangesOfConditionsAreTold(t *testing.T) {
	var told atomic.Int32
	count := func(cfg *eviction.Config) { cfg.OnChange = func() { told.Add(1) } }
	inHouse(t, count, func(t *testing.T, h *house, _ *eviction.Manager) {
		time.Sleep(time.Minute)
		assert.Zero(t, told.Load())
		h.set(eviction.MemoryAvailable, 1)
		time.Sleep(time.Minute)
		h.set(eviction.MemoryAvailable, 500)
		time.Sleep(10 * time.Minute)
		assert.EqualValues(t, 2, told.Load())
	})
}
