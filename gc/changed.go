package gc

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// shortly is how long the changes of pods are gathered before their dead containers
// are collected.
const shortly = time.Second

// Changed tells that a container of the pod has ended, or that the pod has gone. Its
// dead containers are collected about a second later by Run, like in a round but for
// MaxContainers, so that those of a crash loop do not pile up from round to round
// (the kubelet prunes them as each ends). What else the pod has left waits for the
// round. Changed does not block; unknown pods do no harm.
func (c *Containers) Changed(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed[uid] = true
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// wait waits for the next round, and meanwhile collects the dead containers of pods
// that have changed. It reports whether there is a next round. One comes soon after
// Ready, unless that was so before the last: what pods that are gone left to an earlier
// agent does not wait for a period.
func (c *Containers) wait(ctx context.Context, wasReady bool) bool {
	next := time.NewTimer(c.cfg.Period)
	defer next.Stop()
	for {
		var look <-chan time.Time
		if !wasReady {
			look = time.After(shortly)
		}
		select {
		case <-ctx.Done():
			return false
		case <-next.C:
			return true
		case <-look:
		case <-c.wake:
			select {
			case <-ctx.Done():
				return false
			case <-time.After(shortly):
			}
			if err := c.collectChanged(ctx); err != nil && ctx.Err() == nil {
				c.log.Warn("dead containers stay for now", zap.Error(err))
			}
		}
		if !wasReady && c.cfg.Ready() {
			return true
		}
	}
}

// takeChanged returns the pods that have changed since the last time.
func (c *Containers) takeChanged() map[types.UID]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := c.changed
	c.changed = map[types.UID]bool{}
	return changed
}

func (c *Containers) collectChanged(ctx context.Context) error {
	changed := c.takeChanged()
	if len(changed) == 0 {
		return nil
	}
	all, err := c.rt.ListContainers(ctx, nil)
	if err != nil {
		return fmt.Errorf("collect containers: %w", err)
	}
	theirs := slices.DeleteFunc(slices.Clone(all), func(container *runtimeapi.Container) bool {
		return !changed[podUID(container.GetLabels())]
	})
	policy := c.cfg.Policy
	policy.MaxContainers = 0
	return carryOut(ctx, c.cfg.Removed, func(gone func(types.UID) bool) []*runtimeapi.Container {
		return planContainers(theirs, gone, policy, time.Now())
	}, c.removeContainer)
}
