package podmanager

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Syncer does the work for one pod. The Manager calls it from the pod's worker,
// one call at a time for a UID, many at once for different pods. The pods it is
// given are shared: it must not change them.
type Syncer interface {
	// Sync brings the pod closer to its spec and says when to look again. It
	// blocks as long as it needs, is idempotent and may be repeated at any time.
	// ctx is cancelled when the pod is to end or the Manager stops; Sync should
	// return soon after, but may first complete a step that must not be torn
	// (the start of a container). Kill waits for it.
	//
	// An error means that the step failed and is to be retried. A back-off that
	// runs as it should is not an error: say so in Result.RetryAt.
	Sync(ctx context.Context, pod *corev1.Pod) (Result, error)

	// Kill ends everything of the pod within grace (at least 1 s) and returns nil
	// when nothing of it runs or is held: preStop hooks, containers in their
	// order, sandboxes, volumes, its final status. It is called for pods that never
	// started too, and for orphans, whose pod is what Lister gave. It is
	// idempotent; after an error it is called again, with the whole grace.
	// ctx is cancelled when the grace got shorter (Kill is then called again with
	// that) and when the Manager stops. A pod that was deleted has a
	// deletionTimestamp, also if its source only left it out.
	Kill(ctx context.Context, pod *corev1.Pod, grace time.Duration) error
}

// Result is what a Sync found.
type Result struct {
	// Finished says that the pod has run to its end (Succeeded or Failed): what is
	// left of it is killed, and it is not synced again. Ignored beside an error.
	Finished bool

	// RetryAt is when there is something to do again, such as the end of a
	// back-off. It is kept exactly, but never later than Resync. Zero means after
	// Resync, or after ErrorBackoff beside an error. A time that has passed means
	// at once; asked for again and again, that slows down to ErrorBackoff.
	RetryAt time.Time
}

// Lister is an optional ability of a Syncer: it finds the pods that run, so that
// the Manager can end those which nobody wants and keep a new pod from starting
// beside an old one of the same name.
type Lister interface {
	// List returns a pod for each UID of which anything runs (a container or a
	// sandbox), with at least its UID, name and namespace, and with what Kill needs
	// to end it well, such as its grace period. What has stopped must not be listed,
	// or it is killed over and over: a List that answers from a cache must wait for
	// an observation that began after the Syncer's last action. ctx has a deadline
	// of 2 minutes.
	List(ctx context.Context) ([]*corev1.Pod, error)
}

// Config of a Manager. The zero value works.
type Config struct {
	// Resync is the longest time between two Syncs of a pod, plus up to half of it
	// at random. Default 1 minute.
	Resync time.Duration
	// ErrorBackoff is the time after which a failed Sync is repeated, plus up to
	// half of it at random, and the longest between two tries of Kill.
	// Default 10 seconds.
	ErrorBackoff time.Duration
	// HousekeepingPeriod is the time between two Lists. Default 2 seconds.
	HousekeepingPeriod time.Duration
	// Admit says why a pod may not start, or nil if it may; package admission asks
	// what the kubelet asks. It is called once in each life of a pod, just before
	// its first Sync, for the oldest of those that could begin first. It is not
	// called for a pod that is ending, nor for one that an earlier agent has
	// admitted: that runs when it is first seen, or whose status has a startTime or
	// the phase Running. In admitted are the pods that were admitted, asked or not,
	// and are not yet finished, by namespace and name. All pods are shared and must
	// not be changed; the slice is Admit's. It is called from Run, may call the
	// Manager, and must not block: no pod starts meanwhile. Default admits all.
	Admit func(pod *corev1.Pod, admitted []*corev1.Pod) *Rejection
	// OnRejected is called once for a pod that Admit has refused, for its status
	// (phase Failed, the Reason, and "Pod was rejected: " before the Message) and
	// for a warning event. It comes before the pod's Kill and is called as Admit
	// is. Default none.
	OnRejected func(pod *corev1.Pod, why Rejection)
	// OnRemoved is called once for each pod that was deleted, or ended as an orphan,
	// when nothing of it is left and before another life of its UID or name begins.
	// It is called from the pod's worker, may call the Manager, and must not block.
	// After the end of Run's context it is not called: the next agent ends the pod again.
	// Default none.
	OnRemoved func(pod *corev1.Pod)
	// Logger gets state changes (Info) and what is retried (Warn). Default none.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.Resync <= 0 {
		c.Resync = time.Minute
	}
	if c.ErrorBackoff <= 0 {
		c.ErrorBackoff = 10 * time.Second
	}
	if c.HousekeepingPeriod <= 0 {
		c.HousekeepingPeriod = 2 * time.Second
	}
	if c.Admit == nil {
		c.Admit = func(*corev1.Pod, []*corev1.Pod) *Rejection { return nil }
	}
	if c.OnRejected == nil {
		c.OnRejected = func(*corev1.Pod, Rejection) {}
	}
	if c.OnRemoved == nil {
		c.OnRemoved = func(*corev1.Pod) {}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Manager holds the desired pods and their workers. Its methods other than Run
// never block, may be called from any goroutine, from Syncer and the callbacks,
// and before Run, which then begins with what they left.
type Manager struct {
	syncer Syncer
	lister Lister // nil: the Syncer cannot list
	cfg    Config
	log    *zap.Logger
	kick   chan struct{} // there is something in due

	mu       sync.Mutex // guards what follows, and the workers' fields that say so
	workers  map[types.UID]*worker
	names    gate
	due      []*worker // may need a goroutine; Run decides
	replaced bool      // the first Replace has been: what is not desired is unwanted
	surveyed bool      // what runs has been listed once
}

// New returns a Manager that lets s do the work. If s is a Lister too, orphans are
// looked for. Nothing happens before Run.
func New(s Syncer, cfg Config) *Manager {
	cfg = cfg.withDefaults()
	lister, _ := s.(Lister)
	return &Manager{
		syncer:   s,
		lister:   lister,
		cfg:      cfg,
		log:      cfg.Logger.Named("podmanager"),
		kick:     make(chan struct{}, 1),
		workers:  make(map[types.UID]*worker),
		names:    make(gate),
		surveyed: lister == nil,
	}
}

// Run works until ctx ends and then returns nil, when all workers have returned.
// It kills no pod on its way out. With a Lister, no pod is started before List has
// answered once. It is called once.
func (m *Manager) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	if m.lister != nil {
		if !m.firstSurvey(ctx) {
			return nil
		}
		running.Go(func() { m.housekeep(ctx) })
	}
	for {
		for _, w := range m.takeDue() {
			if m.start(w) {
				running.Go(func() { m.work(ctx, w) })
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-m.kick:
		}
	}
}

// schedule has Run look whether w needs a goroutine. m.mu is held.
func (m *Manager) schedule(w *worker) {
	m.due = append(m.due, w)
	select {
	case m.kick <- struct{}{}:
	default:
	}
}
