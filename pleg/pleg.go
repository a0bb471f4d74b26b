package pleg

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// slowAfter is how long the work on one pod counts against Config.Inspectors.
// The bound is there to spare the runtime from bursts; a pod whose status hangs
// is no load, and must not keep others waiting.
const slowAfter = time.Second

// Runtime is what the generator asks of a container runtime. The signatures are
// those of k8s.io/cri-api's RuntimeService. Every call must end soon after its
// ctx does.
type Runtime interface {
	ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error)
	ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error)
	PodSandboxStatus(ctx context.Context, podSandboxID string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error)
	ContainerStatus(ctx context.Context, containerID string, verbose bool) (*runtimeapi.ContainerStatusResponse, error)
}

// Config tunes a Generator. The zero value works.
type Config struct {
	// OnChange is told the UID of each pod of which a container started, ended
	// or vanished, or a sandbox changed its state, after State can show it. The
	// first listing tells every pod there is. The removal of what had ended
	// already is not told. It is called from several goroutines and must not
	// block. Default: nobody is told.
	OnChange func(types.UID)

	// Period is the pause from the end of one listing of all pods to the start
	// of the next. Default 1s.
	Period time.Duration
	// EventPeriod is the same while the runtime's events can be trusted to tell of
	// changes. Default 10s; at most half of HealthyFor, and never less than Period.
	EventPeriod time.Duration
	// Inspectors is how many pods are looked at in parallel. One that takes
	// longer than a second no longer counts. Default 4.
	Inspectors int
	// InspectTimeout limits the inspection of one pod, which is one status call
	// for each of its sandboxes and containers. Default 2m.
	InspectTimeout time.Duration
	// ListTimeout limits one listing, which is two calls. Default 2m.
	ListTimeout time.Duration
	// HealthyFor is how old the start of the last good listing of all pods may
	// be before Healthy complains. Default 3m.
	HealthyFor time.Duration

	// Logger receives failures and recoveries, each once. Default: no log.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.OnChange == nil {
		c.OnChange = func(types.UID) {}
	}
	if c.Period <= 0 {
		c.Period = time.Second
	}
	if c.EventPeriod <= 0 {
		c.EventPeriod = 10 * time.Second
	}
	if c.Inspectors <= 0 {
		c.Inspectors = 4
	}
	if c.InspectTimeout <= 0 {
		c.InspectTimeout = 2 * time.Minute
	}
	if c.ListTimeout <= 0 {
		c.ListTimeout = 2 * time.Minute
	}
	if c.HealthyFor <= 0 {
		c.HealthyFor = 3 * time.Minute
	}
	c.EventPeriod = max(min(c.EventPeriod, c.HealthyFor/2), c.Period)
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Generator observes a runtime. All methods may be called at any time from any
// goroutine; nothing is observed unless Run runs.
type Generator struct {
	runtime Runtime
	eventer Eventer // nil: the runtime has no events
	cfg     Config
	log     *zap.Logger

	cache cache
	// wake says that the cache's queue may hold pods to look at.
	wake chan struct{}
	// doubt says that the long period between two listings of all pods may have
	// become too long.
	doubt chan struct{}
	// distrust is what the log says of the events last; Run's goroutine has it.
	distrust bool
}

// New returns a generator that observes the runtime; one that is an Eventer too is
// asked for its events. It makes no call yet.
func New(runtime Runtime, cfg Config) *Generator {
	cfg = cfg.withDefaults()
	eventer, _ := runtime.(Eventer)
	return &Generator{
		runtime: runtime,
		eventer: eventer,
		cfg:     cfg,
		log:     cfg.Logger.Named("pleg"),
		cache:   cache{pods: map[types.UID]*pod{}, relisted: make(chan struct{}), suspects: map[types.UID]mark{}},
		wake:    make(chan struct{}, 1),
		doubt:   make(chan struct{}, 1),
	}
}

// Run observes the runtime until ctx ends, and then returns nil. It blocks, is
// called once, and every goroutine that it started has ended when it returns. A
// runtime that fails is asked again, for ever.
func (g *Generator) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { g.dispatch(ctx, &running) })
	if g.eventer != nil {
		running.Go(func() { g.stream(ctx) })
	}
	for ctx.Err() == nil {
		g.relist(ctx)
		g.rest(ctx)
	}
	running.Wait()
	return nil
}

// rest waits until all pods are to be listed again: for a period from now on, a short
// one as soon as events do not do.
func (g *Generator) rest(ctx context.Context) {
	long := time.NewTimer(g.cfg.EventPeriod)
	defer long.Stop()
	short := time.NewTimer(g.cfg.Period)
	defer short.Stop()
	for isShortOver := false; !isShortOver || g.cache.eventful(); {
		select {
		case <-ctx.Done():
			return
		case <-long.C:
			return
		case <-short.C:
			isShortOver = true
		case <-g.doubt:
		}
	}
}

// State returns the newest observation of the pod that began after notBefore,
// and waits for one if there is none yet; then it also asks for one at once, so
// that nobody waits for the next full listing. With the zero notBefore any
// observation will do.
//
// notBefore must come from time.Now in this process; one in the future is waited
// for. A pod that the runtime does not know has an empty state with its UID. The
// result is the caller's, but what it points to is shared and must not be
// changed. An error is that of ctx, or of the pod's last inspection if that began
// after notBefore; the latter stays until an inspection succeeds, and the pod is
// inspected again with each listing. That the runtime as a whole does not answer
// is not an error here: see Healthy.
func (g *Generator) State(ctx context.Context, uid types.UID, notBefore time.Time) (*cri.PodState, error) {
	wanted := g.cache.threshold(notBefore)
	for {
		answer := g.cache.state(uid, wanted)
		if answer.wait == nil {
			return answer.state, answer.err
		}
		g.poke()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the state of pod %q: %w", uid, ctx.Err())
		case <-answer.wait:
		}
	}
}

// Pods returns every pod that the runtime knows by a listing of all pods that
// began after notBefore, ordered by UID, and waits for that listing if need be;
// with the zero notBefore only for the first one. What has been seen of single
// pods since is in it.
//
// The UID, Namespace and Name of each are always filled; sandboxes and
// containers are as last observed, and missing as long as no inspection of the
// pod succeeded: ask State before acting on them. Ownership is as with State. An
// error is that of ctx.
func (g *Generator) Pods(ctx context.Context, notBefore time.Time) ([]*cri.PodState, error) {
	wanted := g.cache.threshold(notBefore)
	for {
		pods, wait := g.cache.list(wanted)
		if wait == nil {
			return pods, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a listing of all pods: %w", ctx.Err())
		case <-wait:
		}
	}
}

// Refresh asks for the pod to be listed and inspected at once, even if nothing
// about it seems to have changed. It does not block, and requests for a pod that
// wait already are joined. If very many pods that the runtime never showed wait,
// further such are left to the next full listing.
func (g *Generator) Refresh(uid types.UID) {
	g.cache.refresh(uid)
	g.poke()
}

// Healthy returns nil if all pods were listed lately, else an error that says
// why not. It does not block and makes no call. Single pods whose inspection
// fails do not make the generator unhealthy.
func (g *Generator) Healthy() error {
	listedAt, lastErr := g.cache.health()
	if listedAt.IsZero() {
		return because(lastErr, "pleg: the pods were never listed")
	}
	if age := time.Since(listedAt); age > g.cfg.HealthyFor {
		return because(lastErr, "pleg: the last good listing began %v ago, more than %v",
			age.Truncate(time.Millisecond), g.cfg.HealthyFor)
	}
	return nil
}

// Metrics are counts since the generator was made, and what it is at.
type Metrics struct {
	// Relists are the good listings of all pods, LastRelist is how long the last one
	// took, and Relisting how long the one under way has taken so far, zero if none is.
	Relists               int
	LastRelist, Relisting time.Duration
	// Streams is how often a stream of events was asked for, Events how many came, and of
	// them EventsCoalesced those of a pod that was about to be listed anyway.
	Streams, Events, EventsCoalesced int
	// EventsLost are the changes that a listing of all pods found and no event was of.
	EventsLost int
	// Eventful: changes are learnt from events, and all pods are listed rarely.
	Eventful bool
}

// Metrics returns the counts of now. It does not block.
func (g *Generator) Metrics() Metrics { return g.cache.counts() }

// because words an error, with its cause where one is known.
func because(cause error, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if cause == nil {
		return fmt.Errorf("%s: the runtime has not answered", text)
	}
	return fmt.Errorf("%s: %w", text, cause)
}
