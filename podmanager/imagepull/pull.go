package imagepull

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// pullKey tells pulls apart: who may not see an image must not be given it by
// the pull of somebody who may.
type pullKey struct {
	image       string
	credentials string // all of them, written out; for comparison only
}

// pull is one pull under way, and those who wait for it.
type pull struct {
	key     pullKey
	cancel  context.CancelFunc
	waiters int // guarded by Puller.mu; none once it is given up

	done chan struct{} // closed when the result below is there
	ref  string        // what the runtime calls the image
	by   credentials   // with which it was pulled
	took time.Duration
	err  error // tries, or that of the context
}

// pull returns the pull of the image when it has ended, whether it was this
// call's or one under way. The error is that of ctx.
func (p *Puller) pull(ctx context.Context, r *request, logins []credentials) (*pull, error) {
	for {
		shared, joined := p.join(ctx, r, logins)
		select {
		case <-shared.done:
			if joined {
				return shared, nil
			}
		case <-ctx.Done():
			if joined {
				p.leave(shared)
			}
			return nil, ctx.Err()
		}
	}
}

// join waits with the others for the pull of the image with the same
// credentials, which it starts when there is none. It does not join a pull that
// was given up and has not ended: the caller waits for its end and tries again.
func (p *Puller) join(ctx context.Context, r *request, logins []credentials) (shared *pull, joined bool) {
	k := pullKey{r.spec.Image, fmt.Sprintf("%#v", logins)}
	p.mu.Lock()
	defer p.mu.Unlock()
	shared = p.pulls[k]
	if shared != nil && shared.waiters == 0 {
		return shared, false
	}
	if shared == nil {
		// The pull must not end with the first who asked for it.
		detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
		shared = &pull{key: k, cancel: cancel, done: make(chan struct{})}
		p.pulls[k] = shared
		go p.run(detached, shared, r.spec, logins, r.sandbox)
	}
	shared.waiters++
	return shared, true
}

// leave gives up waiting. The last to leave ends the pull, and sees it end.
func (p *Puller) leave(shared *pull) {
	p.mu.Lock()
	shared.waiters--
	last := shared.waiters == 0
	p.mu.Unlock()
	if last {
		shared.cancel()
		<-shared.done
	}
}

func (p *Puller) run(ctx context.Context, shared *pull, spec *runtimeapi.ImageSpec, logins []credentials, sandbox *runtimeapi.PodSandboxConfig) {
	defer shared.cancel()
	asked := time.Now()
	var endTurn func()
	if endTurn, shared.err = p.takeTurn(ctx, spec.Image); shared.err == nil {
		started := time.Now()
		shared.ref, shared.by, shared.err = p.try(ctx, spec, logins, sandbox)
		shared.took = time.Since(started)
		endTurn()
		if shared.err == nil {
			p.log.Info("pulled image", zap.String("image", spec.Image),
				zap.Duration("took", shared.took), zap.Duration("waited", started.Sub(asked)))
		}
	}
	p.mu.Lock()
	delete(p.pulls, shared.key)
	p.mu.Unlock()
	close(shared.done)
}

// takeTurn waits until one more image may be pulled. A turn that lasts too long
// ends by itself, so that others come on; end does no more then.
func (p *Puller) takeTurn(ctx context.Context, image string) (end func(), err error) {
	if err := p.slots.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	release := sync.OnceFunc(func() { p.slots.Release(1) })
	slow := time.AfterFunc(p.slowAfter, func() {
		p.log.Warn("pull is slow, others no longer wait for it", zap.String("image", image))
		release()
	})
	return func() { slow.Stop(); release() }, nil
}

// try pulls with one after the other of the credentials until one does;
// anonymously when there are none.
func (p *Puller) try(ctx context.Context, spec *runtimeapi.ImageSpec, logins []credentials, sandbox *runtimeapi.PodSandboxConfig) (ref string, by credentials, err error) {
	if len(logins) == 0 {
		logins = []credentials{{}}
	}
	var failed tries
	for _, c := range logins {
		ref, err := p.runtime.PullImage(ctx, spec, c.auth(), sandbox)
		if err == nil {
			return ref, c, nil
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return "", credentials{}, failed
}
