package eviction

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// patience is how long a round waits for the end of the pod that it evicts, beyond
// the grace of that.
const patience = 30 * time.Second

// lookTime bounds a look at what pods use: on a slow disk with millions of files,
// nobody would watch over the memory meanwhile.
const lookTime = 30 * time.Second

// Meter measures the node; *Node does.
type Meter interface {
	// Measure returns how much is left, by signal. What cannot be measured is
	// missing, and the error tells why, beside the rest. It may block until ctx ends.
	Measure(ctx context.Context) (map[Signal]Amount, error)
	// OwnImageFs reports whether images and writable layers are on another file
	// system than the rest.
	OwnImageFs(ctx context.Context) bool
}

// PodStats tells what pods use; *Stats does.
type PodStats interface {
	// Usage of the pods, by UID. With disk, what is in their volumes, logs and hosts
	// files is counted too, which reads their directories. What of a pod is not known
	// is missing; the error tells why, beside the rest.
	Usage(ctx context.Context, pods []*corev1.Pod, disk bool) (map[types.UID]Usage, error)
}

// Eviction is the end of a pod by a decision of the node.
type Eviction struct {
	// Reason and Message for the pod's status, Disruption for its condition
	// DisruptionTarget.
	Reason, Message, Disruption string
	// Grace is how long it gets to end.
	Grace time.Duration
}

// Config of a Manager. The zero value watches, and evicts nobody.
type Config struct {
	// Thresholds, DefaultHard() by default. An empty slice has none.
	Thresholds []Threshold
	// MaxPodGrace is the most that a pod gets to end which is evicted for a soft
	// threshold, at most its own grace. Default 0: it is ended at once.
	MaxPodGrace time.Duration
	// Period is the time from the end of a round to the next. Default 10 s.
	Period time.Duration
	// StoragePeriod is the time between two checks of the limits of volumes and
	// ephemeral storage, for which the directories of the pods that have such limits
	// are read. Default 1 minute.
	StoragePeriod time.Duration
	// Transition is how long a condition of the node stays after its cause has gone.
	// Default 5 minutes.
	Transition time.Duration

	// Active returns the pods that have begun and not ended; they are shared and not
	// changed. One that only waits for its turn uses nothing, and must not go in place
	// of one that does. It must not block. Nil has none.
	Active func() []*corev1.Pod
	// Request is what a pod requests of a resource, in bytes. Nil: nothing.
	Request func(pod *corev1.Pod, name corev1.ResourceName) int64
	// Critical reports whether a pod must not be evicted. Default Critical.
	Critical func(pod *corev1.Pod) bool
	// Reclaim frees disk that nobody needs: dead containers, unused images. It may
	// block until ctx ends. Nil frees nothing.
	Reclaim func(ctx context.Context) error
	// Evict fails the pod and blocks until it has ended, or ctx has. It is
	// idempotent. After an error the pod goes last in the rounds to come. Nil evicts
	// nobody.
	Evict func(ctx context.Context, pod *corev1.Pod, why Eviction) error
	// OnChange is told that a condition of the node has changed. It must not block.
	OnChange func()
	// OnEvent is told what happens to a pod or, if that is nil, to the node. It must
	// not block.
	OnEvent func(pod *corev1.Pod, eventType, reason, message string)
	// Logger, nil logs nothing.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.Thresholds == nil {
		c.Thresholds = DefaultHard()
	}
	c.Period = orElse(c.Period, 10*time.Second)
	c.StoragePeriod = orElse(c.StoragePeriod, time.Minute)
	c.Transition = orElse(c.Transition, 5*time.Minute)
	if c.Active == nil {
		c.Active = func() []*corev1.Pod { return nil }
	}
	if c.Request == nil {
		c.Request = func(*corev1.Pod, corev1.ResourceName) int64 { return 0 }
	}
	if c.Critical == nil {
		c.Critical = Critical
	}
	if c.Reclaim == nil {
		c.Reclaim = func(context.Context) error { return nil }
	}
	if c.OnChange == nil {
		c.OnChange = func() {}
	}
	if c.OnEvent == nil {
		c.OnEvent = func(*corev1.Pod, string, string, string) {}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

func orElse(d, fallback time.Duration) time.Duration {
	if d <= 0 {
		return fallback
	}
	return d
}

// Manager watches the node and evicts pods. Its methods other than Run may be called
// from any goroutine.
type Manager struct {
	meter Meter
	stats PodStats
	cfg   Config
	log   *zap.Logger

	// Owned by Run.
	pressure  *pressure
	limitsDue time.Time          // when limits are checked next
	said      map[string]string  // what was logged last, by what it is about
	ending    map[types.UID]bool // the evicted pods whose end was awaited in vain

	mu       sync.Mutex // guards reported
	reported []corev1.NodeCondition
}

// New returns a Manager. Nothing is measured before Run.
func New(meter Meter, stats PodStats, cfg Config) *Manager {
	cfg = cfg.withDefaults()
	return &Manager{
		meter: meter, stats: stats, cfg: cfg, log: cfg.Logger.Named("eviction"),
		pressure: newPressure(cfg.Thresholds, cfg.Transition), said: map[string]string{}, ending: map[types.UID]bool{},
	}
}

// Run measures and acts, round after round, until ctx ends. It returns nil then, and
// an error only for thresholds that are not valid. It is called once.
func (m *Manager) Run(ctx context.Context) error {
	if err := Validate(m.cfg.Thresholds); err != nil {
		return err
	}
	for {
		m.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(m.cfg.Period):
		}
	}
}

// round ends the pods that exceed limits of their own or, if there are none, one pod at
// most of those that there is too little left for.
func (m *Manager) round(ctx context.Context) {
	if m.enforceLimits(ctx) {
		return
	}
	const short = "too little is left"
	due, amounts := m.measure(ctx)
	if len(due) == 0 || ctx.Err() != nil {
		m.isNews(short, "")
		return
	}
	first := due[0]
	if m.isNews(short, string(first.Signal)) {
		m.log.Warn(short, zap.String("signal", string(first.Signal)), zap.Int64("available", amounts[first.Signal].Available))
	}
	m.cfg.OnEvent(nil, corev1.EventTypeWarning, eventThresholdMet, fmt.Sprintf("Attempting to reclaim %s", first.Signal.resource()))
	if first.Signal.isDisk() {
		m.warn(ctx, "not all that nobody needs was freed", m.cfg.Reclaim(ctx))
		if due, amounts = m.measure(ctx); len(due) == 0 || ctx.Err() != nil {
			return
		}
		first = due[0]
	}
	m.evictFor(ctx, first, amounts[first.Signal])
}

// measure returns the thresholds on which to act.
func (m *Manager) measure(ctx context.Context) ([]Threshold, map[Signal]Amount) {
	amounts, err := m.meter.Measure(ctx)
	m.warn(ctx, "not all of the node can be measured", err)
	due := m.pressure.observe(amounts, time.Now())
	m.setConditions(m.pressure.reported)
	return due, amounts
}

// isNews reports whether there is something to say that was not said the last time: a
// node that stays in trouble must not fill its flash with that.
func (m *Manager) isNews(about, text string) bool {
	before := m.said[about]
	m.said[about] = text
	return text != "" && text != before
}

// warn logs an error that is news; nil is none. That ctx has ended is nothing to tell.
func (m *Manager) warn(ctx context.Context, what string, err error) {
	text := ""
	if err != nil && ctx.Err() == nil {
		text = err.Error()
	}
	if m.isNews(what, text) {
		m.log.Warn(what, zap.Error(err))
	}
}

// evictFor evicts the first pod that may go. One that was evicted before and does not
// end goes last: whoever waits for it again frees nothing.
func (m *Manager) evictFor(ctx context.Context, t Threshold, amount Amount) {
	pods := m.cfg.Active()
	usage := m.usage(ctx, pods, t.Signal.isDisk())
	ownImageFs := t.Signal.isDisk() && m.meter.OwnImageFs(ctx)
	candidates := make([]*candidate, 0, len(pods))
	for _, pod := range pods {
		if m.cfg.Evict == nil || m.cfg.Critical(pod) {
			continue
		}
		candidates = append(candidates, &candidate{
			pod: pod, usage: usage[pod.UID].of(t.Signal, ownImageFs), ending: m.ending[pod.UID],
			request: m.cfg.Request(pod, t.Signal.resource()), priority: priorityOf(pod),
		})
	}
	const hopeless = "no pod can be evicted, though too little is left"
	if len(candidates) == 0 {
		if m.isNews(hopeless, string(t.Signal)) {
			m.log.Error(hopeless, zap.String("signal", string(t.Signal)))
		}
		return
	}
	m.isNews(hopeless, "")
	first := rank(t.Signal, candidates)[0].pod
	m.evict(ctx, first, message(t, amount, first, usage[first.UID]), m.grace(t, first))
}

// usage is what pods use, as far as that is found out in time.
func (m *Manager) usage(ctx context.Context, pods []*corev1.Pod, disk bool) map[types.UID]Usage {
	inTime, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	usage, err := m.stats.Usage(inTime, pods, disk)
	m.warn(ctx, "not all is known of what pods use", err)
	return usage
}

// grace is how long a pod gets to end: next to nothing for a hard threshold.
func (m *Manager) grace(t Threshold, pod *corev1.Pod) time.Duration {
	if t.Grace == 0 {
		return time.Second
	}
	grace, own := m.cfg.MaxPodGrace, int64(corev1.DefaultTerminationGracePeriodSeconds)
	if seconds := pod.Spec.TerminationGracePeriodSeconds; seconds != nil {
		own = *seconds
	}
	if own < int64(grace/time.Second) { // compared in seconds, of which there may be more than a Duration holds
		grace = time.Duration(own) * time.Second
	}
	return max(time.Second, grace)
}

// evict ends a pod, waits for that, and reports whether it came.
func (m *Manager) evict(ctx context.Context, pod *corev1.Pod, why string, grace time.Duration) bool {
	first := !m.ending[pod.UID]
	if first {
		m.log.Warn("pod is evicted", zap.String("pod", pod.Namespace+"/"+pod.Name), zap.String("uid", string(pod.UID)),
			zap.String("why", why), zap.Duration("grace", grace))
	}
	m.cfg.OnEvent(pod, corev1.EventTypeWarning, ReasonEvicted, why)
	inTime, cancel := context.WithTimeout(ctx, patience+grace)
	defer cancel()
	err := m.cfg.Evict(inTime, pod, Eviction{Reason: ReasonEvicted, Message: why, Disruption: DisruptionReason, Grace: grace})
	if err == nil {
		delete(m.ending, pod.UID)
		return true
	}
	m.ending[pod.UID] = true
	if first && ctx.Err() == nil {
		m.log.Error("evicted pod does not end", zap.String("pod", pod.Namespace+"/"+pod.Name), zap.Error(err))
	}
	return false
}

// enforceLimits evicts the pods that exceed a limit of their own, and reports whether
// one has ended. It waits for no more than one that does not: somebody has to watch
// over the node.
func (m *Manager) enforceLimits(ctx context.Context) bool {
	if time.Now().Before(m.limitsDue) {
		return false
	}
	defer func() { m.limitsDue = time.Now().Add(m.cfg.StoragePeriod) }()
	active := m.cfg.Active()
	maps.DeleteFunc(m.ending, func(uid types.UID, _ bool) bool {
		return !slices.ContainsFunc(active, func(pod *corev1.Pod) bool { return pod.UID == uid })
	})
	pods := slices.DeleteFunc(slices.Clone(active), func(pod *corev1.Pod) bool {
		return m.cfg.Evict == nil || m.cfg.Critical(pod) || !limited(pod)
	})
	if len(pods) == 0 {
		return false
	}
	// Where there is no time for all, each has its chance.
	rand.Shuffle(len(pods), func(i, j int) { pods[i], pods[j] = pods[j], pods[i] })
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int { return compareBool(m.ending[a.UID], m.ending[b.UID]) })
	usage := m.usage(ctx, pods, true)
	ended := false
	for _, pod := range pods {
		why := overLimit(pod, usage[pod.UID])
		if why == "" {
			continue
		}
		if ctx.Err() != nil || !m.evict(ctx, pod, why, time.Second) {
			break
		}
		ended = true
	}
	return ended
}

func (m *Manager) logCondition(c corev1.NodeCondition) {
	log := m.log.Info
	if c.Status == corev1.ConditionTrue {
		log = m.log.Warn
	}
	log("condition of the node has changed", zap.String("condition", string(c.Type)), zap.String("status", string(c.Status)))
}
