package metaclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
)

const (
	defaultCacheAfter = 200 * time.Millisecond
	// reportTimeout bounds one call of PodStatusReporter or EventReporter.
	reportTimeout = 10 * time.Second
)

// Upstream is where the desired pods come from. Implement it to bring a control
// plane of your own.
type Upstream interface {
	// Watch blocks until ctx ends, then returns nil. It calls deliver with the
	// complete set of this node's pods as soon as it knows that set, even when it
	// is empty, and again after each change, one call at a time.
	//
	// When Watch cannot go on it returns an error, and is called again after a
	// pause; it then starts with a complete set anew. It never delivers a set that
	// it is not sure of: a lost connection is an error and not "no pods".
	//
	// deliver blocks until the set is durable. It keeps no pointer into pods and
	// changes nothing in them. An error of deliver means that the set was not
	// taken; Watch returns that error, wrapped or not.
	Watch(ctx context.Context, deliver func(pods []*corev1.Pod) error) error
}

// PodStatusReporter is an optional second ability of an Upstream: it wants to
// know how its pods are.
type PodStatusReporter interface {
	// ReportPodStatus sends pod.Status of the pod with pod.UID upstream. It may
	// block until ctx ends, must be safe to call from several goroutines and while
	// Watch runs, and must not keep or change pod. A pod that the upstream no
	// longer knows under this UID is no error.
	ReportPodStatus(ctx context.Context, pod *corev1.Pod) error
}

// EventReporter is an optional third ability of an Upstream: it wants to know
// what happens to its pods.
type EventReporter interface {
	// ReportEvent sends an event upstream. An event that comes again, under the
	// same name and namespace, replaces the one before: it has been counted up.
	// ReportEvent may block until ctx ends, must be safe to call from several
	// goroutines and while Watch runs, and must not keep or change event. An event
	// that the upstream will never take is no error.
	ReportEvent(ctx context.Context, event *corev1.Event) error
}

// Config adjusts a Client. The zero value works.
type Config struct {
	// OnPods receives each set of pods, sorted by namespace and name, with the last
	// reported status of each in pod.Status. It is called from Run, one call at a
	// time, also with an empty set, and must not block; the pods belong to the
	// callee. Sets may repeat.
	//
	// complete means that the upstream delivered this very set. Only then is a pod
	// that is missing from it known to be unwanted, and only after that may orphans
	// be killed. A set that is not complete is what the store remembered.
	// Default: nobody is told.
	OnPods func(pods []*corev1.Pod, complete bool)

	// CacheAfter is how long Run waits for the upstream's first set before it hands
	// on the stored pods. A folder answers within milliseconds, so that a changed
	// manifest is not first started in its old form; a dead network must not delay
	// a cold boot, so the wait is short. Negative means not to wait.
	// Default: 200 ms.
	CacheAfter time.Duration

	// Logger default: no log.
	Logger *zap.Logger
}

// Client is the node's memory of what its upstream wants. Make one with Open.
// Its methods may be called from several goroutines.
type Client struct {
	store    store
	upstream Upstream
	reporter PodStatusReporter // nil when the upstream takes no reports
	events   EventReporter     // nil when the upstream takes no events
	cfg      Config
	log      *zap.Logger
}

// Open opens the store at path, creating it and its folder where they do not
// exist, and returns a Client that Close must release. It talks to nobody; Run
// does.
//
// Open may block: up to five seconds when another process holds the file, and
// then fails with ErrLocked. A store that a newer program wrote is left as it is
// (VersionError). A damaged file is renamed to <path>.corrupt-<time>, logged, and
// replaced by an empty one; such files are never deleted.
func Open(path string, up Upstream, cfg Config) (*Client, error) {
	if up == nil {
		return nil, errors.New("metaclient: Open needs an upstream")
	}
	if cfg.CacheAfter == 0 {
		cfg.CacheAfter = defaultCacheAfter
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	log := cfg.Logger.Named("metaclient")
	st, err := openStore(path, checkValue, log)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	c := &Client{store: st, upstream: up, cfg: cfg, log: log}
	c.reporter, _ = up.(PodStatusReporter)
	c.events, _ = up.(EventReporter)
	return c, nil
}

// Close releases the file. It waits for reads and writes under way, and is
// idempotent. Call it after Run has returned; methods called later fail.
func (c *Client) Close() error {
	if err := c.store.close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// delivery is one set on its way from the upstream's goroutine to Run's.
type delivery struct {
	pods  []*corev1.Pod
	taken chan<- error
}

// Run watches the upstream, stores what it delivers, and calls Config.OnPods. It
// blocks until ctx ends and then returns nil; nothing the upstream does makes it
// return earlier. Call it once.
func (c *Client) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	deliveries := make(chan delivery)
	var watcher sync.WaitGroup
	watcher.Go(func() { c.watch(ctx, deliveries) })
	defer watcher.Wait()

	cache := time.NewTimer(c.cfg.CacheAfter)
	defer cache.Stop()
	intake := intake{client: c}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-cache.C:
			if err := c.handOn(ctx, false); err != nil {
				c.log.Error("stored pods cannot be read", zap.Error(err))
			}
		case d := <-deliveries:
			err := intake.take(ctx, d.pods)
			if err == nil {
				cache.Stop()
			}
			d.taken <- err
		}
	}
}

// handOn gives the stored set to OnPods. It reads the store anew, which is also
// what makes the pods the callee's own.
func (c *Client) handOn(ctx context.Context, complete bool) error {
	if c.cfg.OnPods == nil {
		return nil
	}
	pods, err := c.Pods(ctx)
	if err != nil {
		return err
	}
	c.cfg.OnPods(pods, complete)
	return nil
}
