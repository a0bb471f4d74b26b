package metaclient

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Resync asks the upstream for everything: it starts Watch anew, waits for its
// complete set of pods, and asks for each object that the pods refer to. What the
// upstream answers is believed even where its resourceVersion is lower than what is
// stored, as after a control plane was restored from a backup. It blocks until all is
// stored and told, or ctx ends, or the upstream is not there (ErrOffline). Run must be
// running.
//
// There is no need to call it after a reconnect: then the same is done by itself,
// except that what is older is not believed.
func (c *Client) Resync(ctx context.Context) error {
	err := c.watchAnew(ctx)
	if err == nil {
		err = errors.Join(slices.Collect(maps.Values(c.refresh(ctx, c.allRefs(), true)))...)
	}
	if err != nil {
		hint(c.wanted.doubt) // changes may have been missed
		return fmt.Errorf("resync: %w", err)
	}
	return nil
}

// watchAnew starts Watch anew and waits for its set.
func (c *Client) watchAnew(ctx context.Context) error {
	connected, changed := c.link.state()
	if !connected {
		return ErrOffline
	}
	next := c.link.nextSet()
	defer c.link.leave()
	hint(c.anew)
	select {
	case <-next:
		return nil
	case <-changed:
		return ErrOffline
	case <-ctx.Done():
		return ctx.Err()
	}
}
