package csi

import (
	"context"
	"sync"
)

// turns lets those who want the same volume have it one after the other.
type turns struct {
	mu    sync.Mutex               // guards taken
	taken map[string]chan struct{} // closed when the turn is over
}

// take blocks until it is the caller's turn, which ends with done.
func (t *turns) take(ctx context.Context, key string) (done func(), err error) {
	for {
		over := t.claim(key)
		if over == nil {
			return func() { t.release(key) }, nil
		}
		select {
		case <-over:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// claim returns nil if the turn is the caller's, or what tells when it is over.
func (t *turns) claim(key string) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if over, busy := t.taken[key]; busy {
		return over
	}
	t.taken[key] = make(chan struct{})
	return nil
}

func (t *turns) release(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.taken[key])
	delete(t.taken, key)
}
