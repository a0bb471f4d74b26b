package metaclient

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/types"
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
	failures, again := 0, false
	for {
		err := c.watchOnce(ctx, deliveries, again)
		if ctx.Err() != nil {
			return
		}
		again = errors.Is(err, errAnew) || errors.Is(err, errNotStored)
		if errors.Is(err, errAnew) {
			continue
		}
		if !again {
			if c.Connected() {
				failures = 0
			}
			c.link.down(err)
		}
		failures++
		wait := retryDelay(failures)
		c.log.Log(retryLevel(failures), "upstream watch failed, will retry", zap.Error(err), zap.Duration("wait", wait))
		if !sleep(ctx, wait, nil) {
			return
		}
	}
}

// errAnew ends a Watch for the sake of the next.
var errAnew = errors.New("watch is to start anew")

func (c *Client) watchOnce(ctx context.Context, deliveries chan<- delivery, again bool) error {
	watchCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	sink := &sink{client: c, deliveries: deliveries, delivered: map[types.UID]bool{}, force: c.link.awaited(), again: again}
	go func() { ended <- c.upstream.Watch(watchCtx, sink) }()
	for {
		select {
		case err := <-ended:
			switch {
			case errors.Is(context.Cause(watchCtx), errAnew):
				return errAnew
			case err == nil:
				return errWatchEnded
			}
			return err
		case <-c.anew:
			cancel(errAnew)
		}
	}
}

// retryLevel is that at which a failure is logged: the first of a row is news.
func retryLevel(failures int) zapcore.Level {
	if failures == 1 {
		return zap.WarnLevel
	}
	return zap.DebugLevel
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

// sleep lasts for d, or until there is something in wake, which may be nil. It
// reports whether ctx lasted.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-wake:
	}
	return true
}
