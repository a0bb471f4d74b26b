package metaclient

import (
	"context"
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// bucketOutbox holds what the upstream had not acknowledged when it was stored, by
// topic.
const bucketOutbox = "outbox"

// Flush makes durable what has been reported so far. It blocks for the disk, and
// is idempotent.
func (c *Client) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.flush()
}

// flush writes all reports that are not stored in one commit, and drops from the file
// what there is no report of any more. It takes what is newest when it is its turn
// to write: two may flush at the same time.
func (c *Client) flush() error {
	if len(c.outbox.unstored()) == 0 {
		return nil
	}
	var reports []report
	_, err := c.update(func(r store.Reader) []store.Change {
		var changes []store.Change
		r.Each(bucketOutbox, func(key string, _ []byte) {
			if !c.outbox.has(topicOf(key)) {
				changes = append(changes, store.Change{Bucket: bucketOutbox, Key: key})
			}
		})
		reports = c.outbox.unstored()
		for _, report := range reports {
			changes = append(changes, planReport(r, report)...)
		}
		return changes
	})
	if err != nil {
		return fmt.Errorf("store %d reports: %w", len(reports), err)
	}
	c.outbox.stored(reports)
	return nil
}

// planReport stores a status, as the node itself will want to read it, and of all
// reports those that are unsent. So a report that is acknowledged before its turn
// to be written comes never touches the disk.
func planReport(r store.Reader, report report) []store.Change {
	mark := store.Change{Bucket: bucketOutbox, Key: report.String()}
	if report.pod == nil {
		if report.unsent {
			mark.Value = report.encode()
		}
		return []store.Change{mark}
	}
	if r.Get(bucketPods, string(report.pod.UID)) == nil {
		return []store.Change{mark} // it has left: nothing of it stays
	}
	changes := planStatus(r, report.pod)
	if report.unsent {
		mark.Value = report.encode()
	}
	return append(changes, mark)
}

// journal stores reports until ctx ends: what comes within Config.FlushAfter in one
// commit, or at once if a report must not wait. It wakes only when there is something
// to write.
func (c *Client) journal(ctx context.Context) {
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.outbox.toStore:
		}
		if len(c.outbox.unstored()) == 0 {
			continue
		}
		wait := c.cfg.FlushAfter
		if failures > 0 {
			wait = max(wait, retryDelay(failures))
		}
		if !sleep(ctx, wait, c.urgent) {
			return
		}
		if err := c.flush(); err != nil {
			failures++
			hint(c.outbox.toStore)
			continue
		}
		failures = 0
	}
}

// reload loads the reports that the upstream had not acknowledged when the store
// was closed.
func (c *Client) reload() error {
	pods, err := c.pods()
	if err != nil {
		return err
	}
	reported := make(map[types.UID]*corev1.Pod, len(pods))
	for _, pod := range pods {
		if said, _ := encodeStatus(pod.Status); said != nil {
			reported[pod.UID] = pod
		}
	}
	var found []report
	err = c.store.View(func(r store.Reader) error {
		r.Each(bucketOutbox, func(key string, value []byte) {
			topic := topicOf(key)
			report, err := decodeReport(topic, value)
			if err != nil {
				c.log.Error("stored report is unreadable", zap.String("report", key), zap.Error(err))
				return
			}
			if topic.kind == reportStatus {
				report.pod = reported[types.UID(topic.key)]
			}
			found = append(found, report)
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("read stored reports: %w", err)
	}
	for _, report := range found {
		report.unsent = c.takes(report)
		report.dirty = !report.unsent // nobody wants it any more
		c.outbox.put(report)
	}
	return nil
}
