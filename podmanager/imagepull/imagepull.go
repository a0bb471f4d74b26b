package imagepull

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Runtime is what the puller needs of a CRI runtime; cri.Client has it. Both
// calls must return when their context ends; ImageStatus has a deadline of its
// own and PullImage has none. An image that is not there is a response without
// Image.
type Runtime interface {
	ImageStatus(ctx context.Context, image *runtimeapi.ImageSpec, verbose bool) (*runtimeapi.ImageStatusResponse, error)
	PullImage(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, sandbox *runtimeapi.PodSandboxConfig) (string, error)
}

// Config of a Puller. The zero value works.
type Config struct {
	// MaxParallel is how many images are pulled at once; the others wait in the
	// order in which they came. Default 3: with the kubelet's one, a registry
	// that does not answer holds up every pod of the node, while many share a
	// slow link and wear the flash without being done sooner. 1 is serial, but
	// for slow ones.
	MaxParallel int
	// SlowAfter is how long a pull counts against MaxParallel. It goes on after
	// that, but no longer keeps the others waiting: CRI does not tell a slow pull
	// from one that makes no progress. So at most MaxParallel more begin in each
	// SlowAfter, and never more than there are images that somebody waits for.
	// Default 1 minute: three pulls get some 75 MB in it over 10 Mbit/s, so that
	// what is usual on the edge is done within its turn, while three pulls from a
	// dead registry delay the others by no more than that.
	SlowAfter time.Duration
	// InitialBackoff is how long an image is left alone after its first failed
	// pull for a pod; each further failure doubles it, without jitter, as users
	// know it of the kubelet. Default 10 s.
	InitialBackoff time.Duration
	// MaxBackoff bounds the doubling. A failure is forgotten after twice as
	// long. Default 5 minutes.
	MaxBackoff time.Duration
	// Secrets is where the pods' imagePullSecrets are found; nil has none.
	Secrets Secrets
	// DockerConfig is the path of a config.json of docker with the node's own
	// credentials, which serve all pods. It is read at each pull, so that it may
	// be rotated; it need not exist. Default none.
	DockerConfig string
	// CredentialProviders are plugins, which are asked at each pull and come after
	// the secrets and DockerConfig; nil has none. See ReadCredentialProviders.
	CredentialProviders *CredentialProviders
	// Records is a folder of the agent's own, made when it is needed, in which is kept
	// who has proven that he may have which image: with it, a pod gets an image that
	// was pulled with the secret of another only if it has that secret too, or once
	// the registry gave it the image (KEP-2535). Images that this agent has not pulled
	// are for all. Default none: every pod gets what is there.
	Records string
	// Recorder is told of events; nil tells nobody.
	Recorder Recorder
	// Logger is told of pulls; nil logs nothing.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.MaxParallel <= 0 {
		c.MaxParallel = 3
	}
	if c.SlowAfter <= 0 {
		c.SlowAfter = time.Minute
	}
	if c.InitialBackoff <= 0 {
		c.InitialBackoff = 10 * time.Second
	}
	if c.MaxBackoff <= 0 {
		c.MaxBackoff = 5 * time.Minute
	}
	if c.Secrets == nil {
		c.Secrets = noSecrets{}
	}
	if c.Recorder == nil {
		c.Recorder = nobody{}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Puller brings images to the node. Its methods may be called from any goroutine.
type Puller struct {
	runtime      Runtime
	secrets      Secrets
	dockerConfig string
	providers    *CredentialProviders
	recorder     Recorder
	slots        *semaphore.Weighted
	slowAfter    time.Duration
	log          *zap.Logger
	records      *records

	mu       sync.Mutex // guards the fields below
	pulls    map[pullKey]*pull
	failures failures
	leases   map[string]int           // how many there are, by full name
	removals map[string]chan struct{} // those under way, by full name; closed at their end
	removed  int                      // how many removals have ended
}

// New returns a puller that asks the runtime.
func New(runtime Runtime, cfg Config) *Puller {
	cfg = cfg.withDefaults()
	return &Puller{
		runtime:      runtime,
		secrets:      cfg.Secrets,
		dockerConfig: cfg.DockerConfig,
		providers:    cfg.CredentialProviders,
		recorder:     cfg.Recorder,
		slots:        semaphore.NewWeighted(int64(cfg.MaxParallel)),
		slowAfter:    cfg.SlowAfter,
		log:          cfg.Logger.Named("imagepull"),
		records:      &records{folder: cfg.Records, intents: map[string]*intent{}},
		pulls:        map[pullKey]*pull{},
		failures: failures{
			initial: min(cfg.InitialBackoff, cfg.MaxBackoff), max: cfg.MaxBackoff, byKey: map[key]failure{},
		},
		leases:   map[string]int{},
		removals: map[string]chan struct{}{},
	}
}

// request is what one call of Ensure wants.
type request struct {
	pod       *corev1.Pod
	container *corev1.Container
	sandbox   *runtimeapi.PodSandboxConfig
	spec      *runtimeapi.ImageSpec
	lease     *lease
	missing   []string // the pull secrets that were not to be had
}

func (r *request) key() key { return key{pod: r.pod.UID, image: r.spec.Image} }

// Ensure makes the container's image present as its imagePullPolicy says, and
// returns it as the runtime reports it: ID, user, size. It blocks until the
// pull has ended or ctx does, and is idempotent. sandbox is the configuration
// of the pod's sandbox, which must exist. The arguments are not changed; the
// result is the caller's.
//
// From the call on the image is leased: see Leased. The caller calls release,
// which is idempotent and does not block, when a container holds the image or
// none will. With an error the lease has ended, and release is nil.
//
// Errors are *Error, except that of a ctx that ended: this leaves no back-off
// and no event, and does not end a pull that others wait for too.
func (p *Puller) Ensure(ctx context.Context, pod *corev1.Pod, container *corev1.Container, sandbox *runtimeapi.PodSandboxConfig) (image *runtimeapi.Image, release func(), err error) {
	r := &request{pod: pod, container: container, sandbox: sandbox}
	name, err := withDefaultTag(container.Image)
	if err != nil {
		failed := invalidName(container.Image, err)
		p.reportError(r, failed)
		return nil, nil, failed
	}
	r.spec = &runtimeapi.ImageSpec{Image: name, Annotations: pod.Annotations}
	r.lease = p.newLease(name)
	image, failed := p.ensure(ctx, r)
	if failed == nil {
		return image, r.lease.end, nil
	}
	r.lease.end()
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("ensure image %q: %w", name, ctx.Err())
	}
	p.reportError(r, failed)
	return nil, nil, failed
}

func (p *Puller) ensure(ctx context.Context, r *request) (*runtimeapi.Image, *Error) {
	never := r.container.ImagePullPolicy == corev1.PullNever
	if r.container.ImagePullPolicy != corev1.PullAlways {
		image, err := p.find(ctx, r, r.spec)
		if err != nil {
			return nil, err
		}
		switch {
		case image == nil:
		case p.mayHave(ctx, r, image):
			p.succeeded(r)
			p.reportPresent(r)
			return image, nil
		case never:
			return nil, unproven(r.container.Image)
		}
	}
	if never {
		return nil, neverPull(r.container.Image)
	}
	if err := p.backingOff(r); err != nil {
		return nil, err
	}
	return p.recorded(ctx, r)
}

// pullAndFind returns the image that was pulled, and the credentials that it was
// pulled with.
func (p *Puller) pullAndFind(ctx context.Context, r *request) (*runtimeapi.Image, credentials, *Error) {
	if _, err := p.settle(ctx, r.spec.Image); err != nil {
		return nil, credentials{}, &Error{cause: err} // nobody sees it: ctx has ended
	}
	p.reportPulling(r)
	asked := time.Now()
	var logins []credentials
	logins, r.missing = p.credentials(ctx, r.pod, r.spec.Image)
	if ctx.Err() != nil {
		return nil, credentials{}, &Error{cause: ctx.Err()} // nobody sees it
	}
	pulled, err := p.pull(ctx, r, logins)
	if err != nil {
		return nil, credentials{}, &Error{cause: err} // nobody sees it: ctx has ended
	}
	if pulled.err != nil {
		return nil, credentials{}, p.failed(r, pulled.err)
	}
	image, failed := p.findPulled(ctx, r, pulled.ref)
	if failed == nil {
		p.succeeded(r)
		p.reportPulled(r, image, pulled.took, time.Since(asked))
	}
	return image, pulled.by, failed
}

// Forget drops what is remembered of the pod's failed pulls. It is idempotent
// and does not block.
func (p *Puller) Forget(pod types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures.forget(pod)
}

// inspect returns the image as the runtime reports it, nil when it is not there.
func (p *Puller) inspect(ctx context.Context, spec *runtimeapi.ImageSpec) (*runtimeapi.Image, *Error) {
	status, err := p.runtime.ImageStatus(ctx, spec, false)
	if err != nil {
		return nil, inspectError(spec.Image, err)
	}
	return status.GetImage(), nil
}

// find is inspect, and leases the image that it finds by its ID, so that the answer
// stays true. Where a removal may have made it untrue in between, it asks again.
func (p *Puller) find(ctx context.Context, r *request, spec *runtimeapi.ImageSpec) (*runtimeapi.Image, *Error) {
	name, leased := r.spec.Image, ""
	for {
		before, err := p.settle(ctx, name)
		if err != nil {
			return nil, &Error{cause: err} // nobody sees it: ctx has ended
		}
		image, failed := p.inspect(ctx, spec)
		if image == nil || failed != nil {
			return nil, failed
		}
		if image.GetId() == leased {
			return image, nil
		}
		name, leased = image.GetId(), image.GetId()
		r.lease.add(leased)
		after, err := p.settle(ctx, leased)
		if err != nil {
			return nil, &Error{cause: err}
		}
		if after == before {
			return image, nil
		}
	}
}

// findPulled finds an image by what its pull returned.
func (p *Puller) findPulled(ctx context.Context, r *request, ref string) (*runtimeapi.Image, *Error) {
	image, err := p.find(ctx, r, &runtimeapi.ImageSpec{Image: ref, Annotations: r.spec.Annotations})
	if image == nil && err == nil {
		return nil, inspectError(r.spec.Image, fmt.Errorf("the runtime pulled it as %q and does not find it", ref))
	}
	return image, err
}

// backingOff is the error for an image that is not to be tried yet. Users know
// the image by the name in the spec.
func (p *Puller) backingOff(r *request) *Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, active := p.failures.active(r.key(), time.Now())
	if !active {
		return nil
	}
	return &Error{
		reason:  ReasonBackOff,
		message: fmt.Sprintf("%s: %s: %s", backOffMessage(r.container.Image), f.reason, f.message),
		retryAt: f.retryAt(),
	}
}

// failed takes note of a failed pull, and words it.
func (p *Puller) failed(r *request, err error) *Error {
	var f failure
	f.reason, f.message = wordPull(r.container.Image, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	f = p.failures.add(r.key(), f, time.Now())
	return &Error{reason: f.reason, message: f.message, retryAt: f.retryAt(), cause: err}
}

func (p *Puller) succeeded(r *request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.failures.byKey, r.key())
}
