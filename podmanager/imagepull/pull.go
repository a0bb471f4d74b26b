package imagepull

import (
	"context"
	"time"

	"go.uber.org/zap"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// pull is one pull under way, and those who wait for it. Who wants the same
// image shares it: nothing but the image tells pulls apart yet.
type pull struct {
	cancel  context.CancelFunc
	waiters int // guarded by Puller.mu; none once it is given up

	done chan struct{} // closed when the result below is there
	ref  string
	err  error
}

// pull returns the runtime's reference to the image, pulled by this call or by
// one that was under way.
func (p *Puller) pull(ctx context.Context, spec *runtimeapi.ImageSpec, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	for {
		shared, joined := p.join(ctx, spec, sandbox)
		select {
		case <-shared.done:
			if joined {
				return shared.ref, shared.err
			}
		case <-ctx.Done():
			if joined {
				p.leave(shared)
			}
			return "", ctx.Err()
		}
	}
}

// join waits with the others for the pull of the image, which it starts when
// there is none. It does not join a pull that was given up and has not ended:
// the caller waits for its end and tries again.
func (p *Puller) join(ctx context.Context, spec *runtimeapi.ImageSpec, sandbox *runtimeapi.PodSandboxConfig) (shared *pull, joined bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	shared = p.pulls[spec.Image]
	if shared != nil && shared.waiters == 0 {
		return shared, false
	}
	if shared == nil {
		// The pull must not end with the first who asked for it.
		detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
		shared = &pull{cancel: cancel, done: make(chan struct{})}
		p.pulls[spec.Image] = shared
		go p.run(detached, shared, spec, sandbox)
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

func (p *Puller) run(ctx context.Context, shared *pull, spec *runtimeapi.ImageSpec, sandbox *runtimeapi.PodSandboxConfig) {
	defer shared.cancel()
	shared.ref, shared.err = p.pullInTurn(ctx, spec, sandbox)
	p.mu.Lock()
	delete(p.pulls, spec.Image)
	p.mu.Unlock()
	close(shared.done)
}

// pullInTurn waits for a free slot and pulls.
func (p *Puller) pullInTurn(ctx context.Context, spec *runtimeapi.ImageSpec, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	asked := time.Now()
	if err := p.slots.Acquire(ctx, 1); err != nil {
		return "", err
	}
	defer p.slots.Release(1)
	started := time.Now()
	ref, err := p.runtime.PullImage(ctx, spec, nil, sandbox)
	if err != nil {
		return "", err
	}
	p.log.Info("pulled image", zap.String("image", spec.Image),
		zap.Duration("took", time.Since(started)), zap.Duration("waited", started.Sub(asked)))
	return ref, nil
}
