package probe

import (
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri"
)

// Config of a Manager. The zero value works.
type Config struct {
	// OnResult is told of a pod each time a verdict on one of its containers changes,
	// after the lookups show it. It must not block. Default: nobody is told.
	OnResult func(uid types.UID)
	// OnEvent is told of failures and warnings, in the words of the kubelet. pod and
	// container are shared and must not be changed. It must not block. Default:
	// nobody is told.
	OnEvent func(pod *corev1.Pod, container *corev1.Container, eventType, reason, message string)
	// Command gives the command of a probe as it is to be run, with the container's
	// variables expanded. Default: as it is.
	Command func(container *corev1.Container, command []string) []string
	// MaxExecs is how many commands run at once: each makes the runtime start
	// processes. One that takes longer than its timeout no longer counts. Default: the
	// number of CPUs, but at least 2.
	MaxExecs int
	// MaxChecks is how many other checks are under way at once. Default 64.
	MaxChecks int
	// UserAgent is as in CheckerConfig.
	UserAgent string
	// Logger, nil logs nothing.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.OnResult == nil {
		c.OnResult = func(types.UID) {}
	}
	if c.OnEvent == nil {
		c.OnEvent = func(*corev1.Pod, *corev1.Container, string, string, string) {}
	}
	if c.Command == nil {
		c.Command = func(_ *corev1.Container, command []string) []string { return command }
	}
	if c.MaxExecs <= 0 {
		c.MaxExecs = max(2, runtime.NumCPU())
	}
	if c.MaxChecks <= 0 {
		c.MaxChecks = 64
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Manager runs the probes of all pods. Its methods other than Run do not block and
// may be called from any goroutine, before Run too.
type Manager struct {
	checker *Checker
	cfg     Config
	log     *zap.Logger
	wake    chan struct{} // size 1: the schedule has changed

	mu      sync.Mutex // guards what follows, and all that hangs on it
	pods    map[types.UID]*pod
	agenda  agenda
	execs   lane
	checks  lane
	began   time.Time // when Run did
	metrics Metrics
}

// Metrics are counts since the Manager was made.
type Metrics struct {
	// Probes there are now, and of them in flight.
	Probes, InFlight int
	// Checks that have ended, and of them those that found nothing out.
	Checks, Errors int
	// Overruns are the checks that were left out because the one before was still
	// in flight.
	Overruns int
}

// New returns a Manager that runs commands through exec. Nothing is checked before
// Run.
func New(exec Execer, cfg Config) *Manager {
	cfg = cfg.withDefaults()
	return &Manager{
		checker: NewChecker(exec, CheckerConfig{UserAgent: cfg.UserAgent}),
		cfg:     cfg,
		log:     cfg.Logger.Named("probe"),
		wake:    make(chan struct{}, 1),
		pods:    map[types.UID]*pod{},
		execs:   lane{limit: cfg.MaxExecs},
		checks:  lane{limit: cfg.MaxChecks},
	}
}

// pod is what is known of one pod.
type pod struct {
	pod     *corev1.Pod
	status  corev1.PodStatus
	first   bool // the status is the first one
	ending  bool
	workers []*worker
}

// Set tells of a pod and its newest status: which containers run, since when, and at
// which address. Call it each time a status was made. Containers that have begun are
// checked, those that have ended no more; a probe that was changed begins anew with
// the verdict that it had. It is idempotent; pod and status are shared from then on
// and must not be changed.
//
// The first status of a pod must be the stored one. A container has started if that says
// so of it, and is ready if it says so of it and of the pod: that is how both outlive a
// restart of the agent, until a probe says otherwise. Of later containers only probes
// say so, whatever their status.
//
// A pod with a deletionTimestamp is no longer checked for liveness and startup; one
// in a terminal phase is not checked at all.
func (m *Manager) Set(desired *corev1.Pod, status corev1.PodStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if status.Phase == corev1.PodSucceeded || status.Phase == corev1.PodFailed {
		m.remove(desired.UID)
		return
	}
	p := m.pods[desired.UID]
	if p == nil {
		p = &pod{first: true}
		m.pods[desired.UID] = p
	}
	p.pod, p.status = desired, status
	p.ending = p.ending || desired.DeletionTimestamp != nil
	m.matchWorkers(p)
	for _, w := range p.workers {
		m.place(w)
	}
	p.first = false
}

// Ending tells that the containers of a pod are about to be stopped: it is no longer
// checked for liveness and startup, and no such failure stands. Readiness goes on
// until Remove.
func (m *Manager) Ending(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.pods[uid]; p != nil {
		p.ending = true
		for _, w := range p.workers {
			m.place(w)
		}
	}
}

// Remove ends the probes of a pod and forgets what they found.
func (m *Manager) Remove(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(uid)
}

func (m *Manager) remove(uid types.UID) {
	p := m.pods[uid]
	if p == nil {
		return
	}
	for _, w := range p.workers {
		m.drop(w)
	}
	p.workers = nil
	delete(m.pods, uid)
}

// Health is what the probes of a container have found.
type Health struct {
	// Started: the startup probe has succeeded, or there is none.
	Started bool
	// Ready: the readiness probe succeeds, or there is none.
	Ready bool
	// Failed is Liveness or Startup if that probe wants the container ended, else
	// empty.
	Failed Kind
}

// Health returns what was found of the container with this ID, which is the
// runtime's. It is false of a container without probes, and of one that Set has not
// told of as running.
func (m *Manager) Health(uid types.UID, containerID string) (Health, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	health, known := Health{Started: true, Ready: true}, false
	p := m.pods[uid]
	if p == nil || containerID == "" {
		return Health{}, false
	}
	for _, w := range p.workers {
		if w.id != containerID {
			continue
		}
		known = true
		switch verdict := w.tracker.Verdict(); w.kind {
		case Readiness:
			health.Ready = verdict == Success
		case Startup:
			health.Started = verdict == Success
			fallthrough
		case Liveness:
			if verdict == Failure {
				health.Failed = w.kind
			}
		}
	}
	return health, known
}

// Metrics returns the counts of now.
func (m *Manager) Metrics() Metrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := m.metrics
	for _, p := range m.pods {
		counts.Probes += len(p.workers)
	}
	return counts
}

// matchWorkers has one worker for each probe of the pod's spec. m.mu is held.
func (m *Manager) matchWorkers(p *pod) {
	earlier := p.workers
	p.workers = nil
	for _, container := range probed(p.pod) {
		for _, kind := range []Kind{Startup, Liveness, Readiness} {
			spec := kind.of(container)
			if spec == nil {
				continue
			}
			w := take(&earlier, container.Name, kind)
			if w == nil {
				w = &worker{pod: p, kind: kind, index: notQueued}
			}
			if w.spec == nil || !reflect.DeepEqual(w.spec, spec) {
				w.change(spec)
			}
			w.container = container
			p.workers = append(p.workers, w)
		}
	}
	for _, w := range earlier {
		m.drop(w)
	}
}

// take removes a worker from the list and returns it, nil if it is not there.
func take(workers *[]*worker, container string, kind Kind) *worker {
	i := slices.IndexFunc(*workers, func(w *worker) bool { return w.container.Name == container && w.kind == kind })
	if i < 0 {
		return nil
	}
	w := (*workers)[i]
	*workers = slices.Delete(*workers, i, i+1)
	return w
}

// probed returns the containers that may have probes: regular ones and sidecars.
func probed(pod *corev1.Pod) []*corev1.Container {
	var containers []*corev1.Container
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; cri.IsSidecar(c) {
			containers = append(containers, c)
		}
	}
	for i := range pod.Spec.Containers {
		containers = append(containers, &pod.Spec.Containers[i])
	}
	return containers
}

// containerStatus returns what the status says of a container, nil if nothing.
func containerStatus(status *corev1.PodStatus, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{status.ContainerStatuses, status.InitContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
