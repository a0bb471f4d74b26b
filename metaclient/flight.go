package metaclient

import (
	"context"
	"sync"
)

// flights lets all who ask the same thing at the same time share one question.
type flights[K comparable, V any] struct {
	mu     sync.Mutex // guards flying
	flying map[K]*flight[V]
}

type flight[V any] struct {
	landed  chan struct{} // closed when the rest is set
	value   V
	err     error
	givenUp bool // whoever asked went away before the answer
}

// do returns what ask returns, to all who wait for key. The first to come asks, with
// its own ctx; when that ends, the next one asks anew.
func (f *flights[K, V]) do(ctx context.Context, key K, ask func(ctx context.Context) (V, error)) (V, error) {
	for {
		fl, first := f.board(key)
		if first {
			fl.value, fl.err = ask(ctx)
			fl.givenUp = fl.err != nil && ctx.Err() != nil
			f.land(key, fl)
			return fl.value, fl.err
		}
		select {
		case <-fl.landed:
			if !fl.givenUp {
				return fl.value, fl.err
			}
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
	}
}

func (f *flights[K, V]) board(key K) (fl *flight[V], first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.flying[key]; ok {
		return fl, false
	}
	if f.flying == nil {
		f.flying = map[K]*flight[V]{}
	}
	fl = &flight[V]{landed: make(chan struct{})}
	f.flying[key] = fl
	return fl, true
}

func (f *flights[K, V]) land(key K, fl *flight[V]) {
	f.mu.Lock()
	delete(f.flying, key)
	f.mu.Unlock()
	close(fl.landed)
}
