package imagepull

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/edged-project/edged/cri"
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
	// slow link and wear the flash without being done sooner. 1 is serial.
	MaxParallel int
	// InitialBackoff is how long an image is left alone after its first failed
	// pull for a pod; each further failure doubles it, without jitter, as users
	// know it of the kubelet. Default 10 s.
	InitialBackoff time.Duration
	// MaxBackoff bounds the doubling. A failure is forgotten after twice as
	// long. Default 5 minutes.
	MaxBackoff time.Duration
	// Logger is told of pulls; nil logs nothing.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.MaxParallel <= 0 {
		c.MaxParallel = 3
	}
	if c.InitialBackoff <= 0 {
		c.InitialBackoff = 10 * time.Second
	}
	if c.MaxBackoff <= 0 {
		c.MaxBackoff = 5 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Puller brings images to the node. Its methods may be called from any goroutine.
type Puller struct {
	runtime Runtime
	slots   *semaphore.Weighted
	log     *zap.Logger

	mu       sync.Mutex // guards the fields below
	pulls    map[string]*pull
	failures failures
}

// New returns a puller that asks the runtime.
func New(runtime Runtime, cfg Config) *Puller {
	cfg = cfg.withDefaults()
	return &Puller{
		runtime: runtime,
		slots:   semaphore.NewWeighted(int64(cfg.MaxParallel)),
		log:     cfg.Logger.Named("imagepull"),
		pulls:   map[string]*pull{},
		failures: failures{
			initial: min(cfg.InitialBackoff, cfg.MaxBackoff), max: cfg.MaxBackoff, byKey: map[key]failure{},
		},
	}
}

// Ensure makes the container's image present as its imagePullPolicy says, and
// returns it as the runtime reports it: ID, user, size. It blocks until the
// pull has ended or ctx does, and is idempotent. sandbox is the configuration
// of the pod's sandbox, which must exist. The arguments are not changed; the
// result is the caller's.
//
// Errors are *Error, except that of a ctx that ended: this leaves no back-off,
// and does not end a pull that others wait for too.
func (p *Puller) Ensure(ctx context.Context, pod *corev1.Pod, container *corev1.Container, sandbox *runtimeapi.PodSandboxConfig) (*runtimeapi.Image, error) {
	name, err := withDefaultTag(container.Image)
	if err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %s", container.Image, err)
		return nil, &Error{reason: ReasonInvalidName, message: message, cause: err}
	}
	spec := &runtimeapi.ImageSpec{Image: name, Annotations: pod.Annotations}
	k := key{pod: pod.UID, image: name}
	image, err := p.ensure(ctx, k, container, spec, sandbox)
	if err == nil {
		p.succeeded(k)
		return image, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("ensure image %q: %w", name, ctx.Err())
	}
	return nil, err
}

func (p *Puller) ensure(ctx context.Context, k key, container *corev1.Container, spec *runtimeapi.ImageSpec, sandbox *runtimeapi.PodSandboxConfig) (*runtimeapi.Image, error) {
	never := container.ImagePullPolicy == corev1.PullNever
	if !never {
		if err := p.backingOff(k, container.Image); err != nil {
			return nil, err
		}
	}
	if container.ImagePullPolicy != corev1.PullAlways {
		image, err := p.inspect(ctx, spec)
		if image != nil || err != nil {
			return image, err
		}
	}
	if never {
		return nil, &Error{
			reason:  ReasonNeverPull,
			message: fmt.Sprintf("Container image %q is not present with pull policy of Never", container.Image),
		}
	}
	pulled, err := p.pull(ctx, spec, sandbox)
	switch {
	case err == nil:
		return p.inspectPulled(ctx, &runtimeapi.ImageSpec{Image: pulled, Annotations: spec.Annotations}, spec.Image)
	case ctx.Err() != nil:
		return nil, err
	}
	return nil, p.failed(k, err)
}

// Forget drops what is remembered of the pod's failed pulls. It is idempotent
// and does not block.
func (p *Puller) Forget(pod types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures.forget(pod)
}

// inspect returns the image as the runtime reports it, nil when it is not there.
func (p *Puller) inspect(ctx context.Context, spec *runtimeapi.ImageSpec) (*runtimeapi.Image, error) {
	status, err := p.runtime.ImageStatus(ctx, spec, false)
	if err != nil {
		return nil, inspectError(spec.Image, err)
	}
	return status.GetImage(), nil
}

// inspectPulled asks for an image by what the pull of name returned.
func (p *Puller) inspectPulled(ctx context.Context, spec *runtimeapi.ImageSpec, name string) (*runtimeapi.Image, error) {
	image, err := p.inspect(ctx, spec)
	if image == nil && err == nil {
		return nil, inspectError(name, fmt.Errorf("the runtime pulled it as %q and does not find it", spec.Image))
	}
	return image, err
}

func inspectError(name string, err error) error {
	return &Error{reason: ReasonInspect, message: fmt.Sprintf("Failed to inspect image %q: %s", name, cri.Message(err)), cause: err}
}

// backingOff is the error for an image that is not to be tried yet. Users know
// the image by the name in the spec.
func (p *Puller) backingOff(k key, image string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, active := p.failures.active(k, time.Now())
	if !active {
		return nil
	}
	return &Error{
		reason:  ReasonBackOff,
		message: fmt.Sprintf("Back-off pulling image %q: %s: %s", image, f.reason, f.message),
		retryAt: f.retryAt(),
	}
}

// failed takes note of a failed pull, and words it.
func (p *Puller) failed(k key, err error) error {
	f := failure{reason: pullReason(err), message: cri.Message(err)}
	p.mu.Lock()
	defer p.mu.Unlock()
	f = p.failures.add(k, f, time.Now())
	return &Error{reason: f.reason, message: f.message, retryAt: f.retryAt(), cause: err}
}

func (p *Puller) succeeded(k key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.failures.byKey, k)
}
