package metaclient

import (
	"context"
	"math/rand/v2"

	"go.uber.org/zap"
)

// takes reports whether the upstream wants to hear of such a report.
func (c *Client) takes(r report) bool {
	return r.pod != nil && c.statuses != nil || r.node != nil && c.nodes != nil || r.event != nil && c.events != nil
}

// send hands reports to the upstream until ctx ends: at once while it is there, and
// after a start or a loss within Config.ReplayWithin, so that a fleet does not talk in
// one instant. After a failure it pauses, and goes on with other reports.
func (c *Client) send(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		connected, changed := c.link.state()
		if !connected {
			failures = 0
			c.awaitUpstream(ctx, changed)
			continue
		}
		r, ok := c.outbox.next()
		if !ok {
			select {
			case <-ctx.Done():
			case <-changed:
			case <-c.outbox.toSend:
			}
			continue
		}
		err := c.sendOne(ctx, r)
		c.outbox.sent(r, err == nil)
		switch {
		case err == nil:
			if failures > 0 {
				c.log.Info("upstream takes reports again", zap.Int("failures", failures))
			}
			failures = 0
		case ctx.Err() == nil:
			failures++
			c.log.Log(retryLevel(failures), "upstream does not take a report, will retry", zap.Stringer("report", r), zap.Error(err))
			sleep(ctx, retryDelay(failures), changed)
		}
	}
}

// awaitUpstream waits until the upstream is there, and then for this node's turn.
func (c *Client) awaitUpstream(ctx context.Context, changed <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-changed:
		if c.cfg.ReplayWithin > 0 {
			sleep(ctx, rand.N(c.cfg.ReplayWithin), nil)
		}
	}
}

func (c *Client) sendOne(ctx context.Context, r report) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	switch {
	case r.pod != nil:
		return c.statuses.ReportPodStatus(ctx, r.pod)
	case r.node != nil:
		return c.nodes.ReportNode(ctx, r.node)
	default:
		return c.events.ReportEvent(ctx, r.event)
	}
}
