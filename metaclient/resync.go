package metaclient

import (
	"context"
	"errors"
	"fmt"
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
	if !c.Connected() {
		return fmt.Errorf("resync: %w", ErrOffline)
	}
	next := c.link.nextSet()
	_, changed := c.link.state()
	hint(c.anew)
	select {
	case <-next:
	case <-changed:
		return fmt.Errorf("resync: %w", ErrOffline)
	case <-ctx.Done():
		return fmt.Errorf("resync: %w", ctx.Err())
	}
	var failed []error
	for _, err := range c.refresh(ctx, c.allRefs(), true) {
		failed = append(failed, fmt.Errorf("resync: %w", err))
	}
	return errors.Join(failed...)
}
