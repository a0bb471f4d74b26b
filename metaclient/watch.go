package metaclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
)

const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

var errWatchEnded = errors.New("watch ended by itself")

// watch keeps the upstream's Watch going until ctx ends. It logs the first
// failure of a row and the recovery: a node may be offline for weeks, and its log
// lies on flash.
func (c *Client) watch(ctx context.Context, deliveries chan<- delivery) {
	failures := 0
	for {
		err := c.upstream.Watch(ctx, func(pods []*corev1.Pod) error {
			if err := deliver(ctx, deliveries, pods); err != nil {
				return err
			}
			if failures > 0 {
				c.log.Info("upstream answers again", zap.Int("failures", failures))
			}
			failures = 0
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errWatchEnded
		}
		failures++
		wait := retryDelay(failures)
		level := zap.DebugLevel
		if failures == 1 {
			level = zap.WarnLevel
		}
		c.log.Log(level, "upstream watch failed, will retry", zap.Error(err), zap.Duration("wait", wait))
		if !sleep(ctx, wait) {
			return
		}
	}
}

// deliver passes a set to Run and waits until it is stored.
func deliver(ctx context.Context, deliveries chan<- delivery, pods []*corev1.Pod) error {
	taken := make(chan error, 1)
	select {
	case deliveries <- delivery{pods: pods, taken: taken}:
	case <-ctx.Done():
		return ctx.Err()
	}
	// Run always answers a set that it has received.
	return <-taken
}

// retryDelay doubles from firstRetry to lastRetry and takes a random half off,
// so that a fleet does not come back to its cloud in one instant.
func retryDelay(failures int) time.Duration {
	full := lastRetry
	if shift := failures - 1; shift < 10 {
		full = min(firstRetry<<shift, lastRetry)
	}
	return full/2 + rand.N(full/2)
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
