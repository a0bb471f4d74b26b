package manifests

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// White-box: a watched folder cannot be in a bubble, the waiting can.
func TestPause(t *testing.T) {
	const period = 20 * time.Second
	for name, tc := range map[string]struct {
		hints []time.Duration // when they come
		every time.Duration   // and then on and on
		want  time.Duration
	}{
		"no hint":            {nil, 0, period},
		"one hint":           {[]time.Duration{time.Second}, 0, 1100 * time.Millisecond},
		"hint before":        {[]time.Duration{0}, 0, 100 * time.Millisecond},
		"hints that go on":   {[]time.Duration{0, 90 * time.Millisecond, 180 * time.Millisecond}, 0, 280 * time.Millisecond},
		"hints that end not": {[]time.Duration{time.Second}, 10 * time.Millisecond, 2 * time.Second},
		"hint at the end":    {[]time.Duration{period - time.Millisecond}, 0, period + 99*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				hints := make(chan struct{}, 1)
				var hinting sync.WaitGroup
				defer hinting.Wait()
				defer cancel()
				hinting.Go(func() {
					began := time.Now()
					for _, at := range tc.hints {
						time.Sleep(time.Until(began.Add(at)))
						hints <- struct{}{}
					}
					for tc.every > 0 && ctx.Err() == nil {
						time.Sleep(tc.every)
						select {
						case hints <- struct{}{}:
						default:
						}
					}
				})
				began := time.Now()
				assert.True(t, pause(ctx, hints, period))
				assert.Equal(t, tc.want, time.Since(began))
			})
		})
	}
}

func TestPauseEndsWithItsContext(t *testing.T) {
	for name, hinted := range map[string]bool{"before a hint": false, "after one": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				hints := make(chan struct{}, 1)
				if hinted {
					hints <- struct{}{}
				}
				assert.False(t, pause(ctx, hints, time.Hour))
			})
		})
	}
}
