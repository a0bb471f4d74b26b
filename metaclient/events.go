package metaclient

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// ReportEvent sends the event upstream if the upstream takes events (see
// EventReporter). Nothing is stored: what fails is for the caller to report
// again. It blocks up to ten seconds, is idempotent, and neither keeps nor
// changes event.
func (c *Client) ReportEvent(ctx context.Context, event *corev1.Event) error {
	if c.events == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	if err := c.events.ReportEvent(ctx, event); err != nil {
		return fmt.Errorf("report event %s/%s: %w", event.Namespace, event.Name, err)
	}
	return nil
}
