package volume

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// A check that hangs, as on a dead network mount, holds nobody up for longer than the
// timeout or the caller's context, and is not begun anew each time.
func TestACheckOfTheHostThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(nil, Config{})
		r := m.remember(&corev1.Pod{})
		answer, checks := make(chan error), atomic.Int32{}
		check := func() error { checks.Add(1); return <-answer }
		start := time.Now()
		require.ErrorIs(t, m.onHost(t.Context(), r, "v", "/dead", check), context.DeadlineExceeded)
		assert.Equal(t, m.cfg.Timeout, time.Since(start))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.EqualError(t, m.onHost(ctx, r, "v", "/dead", check), "the file system of /dead does not answer: context deadline exceeded")
		require.NoError(t, m.onHost(t.Context(), r, "w", "/alive", func() error { return nil }))
		assert.EqualValues(t, 1, checks.Load())

		missing := errors.New("nothing there")
		answer <- missing
		require.ErrorIs(t, m.onHost(t.Context(), r, "v", "/dead", check), missing)
		go func() { answer <- nil }()
		for range 2 {
			require.NoError(t, m.onHost(t.Context(), r, "v", "/dead", check))
		}
		assert.EqualValues(t, 2, checks.Load())
	})
}
