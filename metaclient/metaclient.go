package metaclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/metaclient/internal/store"
)

const (
	defaultCacheAfter     = 200 * time.Millisecond
	defaultClosureWait    = 2 * time.Second
	defaultRequestTimeout = 5 * time.Second
	defaultFlushAfter     = 5 * time.Second
	defaultReplayWithin   = 5 * time.Second
	// reportTimeout bounds one call of a reporter.
	reportTimeout = 10 * time.Second
)

// Config adjusts a Client. The zero value works.
type Config struct {
	// OnPods receives each set of pods, sorted by namespace and name, with the last
	// reported status of each in pod.Status; the conditions that are not the node's,
	// such as readiness gates, are as the upstream has them. It is called from Run,
	// one call at a time, also with an empty set, and must not block; the pods belong
	// to the callee. Sets may repeat.
	//
	// complete means that the upstream delivered this very set, and that what it could
	// not tell of is in it as it was stored. Only then is a pod that is missing from
	// it known to be unwanted, and only after that may orphans be killed. A set that
	// is not complete is what the store remembered.
	// Default: nobody is told.
	OnPods func(pods []*corev1.Pod, complete bool)

	// CacheAfter is how long Run waits for the upstream's first set before it hands
	// on the stored pods. A folder answers within milliseconds, so that a changed
	// manifest is not first started in its old form; a dead network must not delay
	// a cold boot, so the wait is short. Negative means not to wait.
	// Default: 200 ms.
	CacheAfter time.Duration

	// OnObject is told of each object that has changed, or has appeared or gone, by
	// a delivery or an answer of the upstream, once that is durable. kind is a Kind.
	// It is called from several goroutines, and must not block: the upstream waits.
	// Read the object anew; nobody is told of the first read of one.
	// Default: nobody is told.
	OnObject func(kind, namespace, name string)

	// ClosureWait is how long a set of pods waits at most for objects that its pods
	// refer to and that are not stored yet. Default: 2 s.
	ClosureWait time.Duration

	// RequestTimeout bounds one question to the upstream. Default: 5 s.
	RequestTimeout time.Duration

	// FlushAfter is how long a report may wait to be stored, so that one write takes
	// many: what a power cut may cost. Negative means not to wait. Default: 5 s.
	FlushAfter time.Duration

	// ReplayWithin is the time over which nodes spread what they report when the
	// upstream is there again, or for the first time after a start. Negative means at
	// once. Default: 5 s.
	ReplayWithin time.Duration

	// Key returns the key that secrets and tokens are sealed with in the file, of 32
	// bytes at least: KeyFile, KeyCredential, or a function of your own that asks a
	// TPM. It is called once, by Open. What was stored without a key is sealed then;
	// what was sealed with another key counts as not stored.
	// Default: secrets lie in the file as they are; only its owner can read it.
	Key func() ([]byte, error)

	// Logger default: no log.
	Logger *zap.Logger
}

// Client is the node's memory of what its upstream wants. Make one with Open.
// Its methods may be called from several goroutines.
type Client struct {
	store    store.Store
	upstream Upstream
	cfg      Config
	log      *zap.Logger

	// Optional abilities of the upstream, nil where it lacks them.
	getter   Getter
	issuer   TokenRequester
	follower Follower
	statuses PodStatusReporter
	nodes    NodeReporter
	events   EventReporter

	link      link
	wanted    *wanted
	outbox    *outbox
	questions flights[Ref, answer]
	tokens    flights[string, []byte]
	urgent    chan struct{} // of size 1: a report must not wait for others
	anew      chan struct{} // of size 1: Watch is to start anew
}

// Open opens the store at path, creating it and its folder where they do not
// exist, and returns a Client that Close must release. It talks to nobody; Run
// does.
//
// Open may block: up to five seconds when another process holds the file, and
// then fails with ErrLocked. A store that a newer program wrote is left as it is
// (VersionError). A damaged file is renamed to <path>.corrupt-<time>, logged, and
// replaced by <path>.good, the copy that each start makes of a sound store, or else
// by an empty one; such files are never deleted. That copy is also used when the
// file is missing or empty: to begin with nothing, remove both. When the copy cannot
// be used for the moment (the disk is full), Open fails and changes nothing.
func Open(path string, up Upstream, cfg Config) (*Client, error) {
	if up == nil {
		return nil, errors.New("metaclient: Open needs an upstream")
	}
	cfg = cfg.withDefaults()
	log := cfg.Logger.Named("metaclient")
	var key []byte
	if cfg.Key != nil {
		var err error
		if key, err = cfg.Key(); err != nil {
			return nil, fmt.Errorf("open store %s: get key: %w", path, err)
		}
		if key == nil {
			key = []byte{} // too short, rather than none
		}
	}
	st, err := store.Open(path, store.Config{Buckets: buckets(), Key: key, Logger: log})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	c := newClient(st, up, cfg, log)
	if err := errors.Join(c.want(), c.reload()); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", path, err), st.Close())
	}
	return c, nil
}

func (cfg Config) withDefaults() Config {
	cfg.CacheAfter = cmp.Or(cfg.CacheAfter, defaultCacheAfter)
	cfg.ClosureWait = cmp.Or(max(cfg.ClosureWait, 0), defaultClosureWait)
	cfg.RequestTimeout = cmp.Or(max(cfg.RequestTimeout, 0), defaultRequestTimeout)
	cfg.FlushAfter = cmp.Or(cfg.FlushAfter, defaultFlushAfter)
	cfg.ReplayWithin = cmp.Or(cfg.ReplayWithin, defaultReplayWithin)
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return cfg
}

func newClient(st store.Store, up Upstream, cfg Config, log *zap.Logger) *Client {
	c := &Client{
		store: st, upstream: up, cfg: cfg, log: log,
		wanted: newWanted(), outbox: newOutbox(),
		urgent: make(chan struct{}, 1), anew: make(chan struct{}, 1),
	}
	c.getter, _ = up.(Getter)
	c.issuer, _ = up.(TokenRequester)
	c.follower, _ = up.(Follower)
	c.statuses, _ = up.(PodStatusReporter)
	c.nodes, _ = up.(NodeReporter)
	c.events, _ = up.(EventReporter)
	return c
}

// Close stores what has been reported and releases the file. It waits for reads
// and writes under way, and is idempotent. Call it after Run has returned; what reads
// or writes the store fails later, and what is reported later is lost.
func (c *Client) Close() error {
	err := c.flush()
	if cerr := c.store.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close store: %w", cerr))
	}
	return err
}

// Run watches the upstream, stores what it delivers, calls Config.OnPods and
// Config.OnObject, and sends what is reported. It blocks until ctx ends and then
// returns nil; nothing the upstream does makes it return earlier. Call it once.
func (c *Client) Run(ctx context.Context) error {
	deliveries := make(chan delivery)
	var others sync.WaitGroup
	others.Go(func() { c.watch(ctx, deliveries) })
	others.Go(func() { c.refill(ctx) })
	others.Go(func() { c.journal(ctx) })
	others.Go(func() { c.send(ctx) })
	defer others.Wait()

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
		case <-c.wanted.stale:
			if err := c.tidy(); err != nil {
				c.log.Error("stored pods cannot be read", zap.Error(err))
			}
		case d := <-deliveries:
			err := intake.take(ctx, d)
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
