package metaclient

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// askAtOnce bounds the questions that are under way at the same time.
const askAtOnce = 8

// wanted is what the node's pods refer to.
type wanted struct {
	mu     sync.Mutex    // guards refs, unmet and coming
	refs   map[Ref]bool  // never changed, only replaced
	unmet  map[Ref]bool  // of refs, those of which nothing is known; nobody else's
	coming map[Ref]bool  // what the next set refers to; never changed, only replaced
	more   chan struct{} // of size 1: there is something unmet
	stale  chan struct{} // of size 1: refs are to be computed again
	doubt  chan struct{} // of size 1: changes may have been missed
}

func newWanted() *wanted {
	return &wanted{more: make(chan struct{}, 1), stale: make(chan struct{}, 1), doubt: make(chan struct{}, 1)}
}

// hint leaves a signal, unless there is one already.
func hint(signal chan struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

func (w *wanted) set(refs, unmet map[Ref]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refs, w.unmet, w.coming = refs, unmet, nil
}

// expect wants more, which a set that is on its way has asked for.
func (w *wanted) expect(refs map[Ref]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.coming = refs
}

func (w *wanted) has(ref Ref) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refs[ref] || w.coming[ref]
}

// lacks reports whether a pod refers to what nothing is known of.
func (w *wanted) lacks(ref Ref) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unmet[ref]
}

// met notes that something is known of ref now.
func (w *wanted) met(ref Ref) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.unmet, ref)
}

func (w *wanted) missing() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.unmet)
}

func (w *wanted) all() []Ref {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sortedRefs(w.refs)
}

// allRefs names what pods refer to and what else is stored: somebody has read it, and
// a pod may refer to it soon.
func (c *Client) allRefs() []Ref {
	refs := map[Ref]bool{}
	for _, ref := range c.wanted.all() {
		refs[ref] = true
	}
	err := c.store.View(func(r store.Reader) error {
		for _, kind := range allKinds() {
			r.Each(kind.resource(), func(key string, _ []byte) { refs[refOfKey(kind, key)] = true })
		}
		return nil
	})
	if err != nil {
		c.log.Error("stored objects cannot be read", zap.Error(err))
	}
	return sortedRefs(refs)
}

func (w *wanted) unknown() []Ref {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sortedRefs(w.unmet)
}

// tidy drops what no stored pod leads to any more, and looks anew at what they lead
// to.
func (c *Client) tidy() error {
	_, err := c.update(func(r store.Reader) []store.Change { return planSweep(r, storedPods(r), behind{}) })
	return errors.Join(err, c.want())
}

// want takes over what the stored pods refer to now. Open calls it, and then Run's
// goroutine alone.
func (c *Client) want() error {
	refs, unmet := map[Ref]bool{}, map[Ref]bool{}
	err := c.store.View(func(r store.Reader) error {
		know := knownTo(r, nil)
		refs = know.closure(storedPods(r).refs())
		for ref := range refs {
			if _, ok := know(ref); !ok {
				unmet[ref] = true
			}
		}
		r.Each(KindNode.resource(), func(key string, _ []byte) { refs[refOfKey(KindNode, key)] = true })
		return nil
	})
	if err != nil {
		return fmt.Errorf("read what stored pods refer to: %w", err)
	}
	c.wanted.set(refs, unmet)
	if c.wanted.missing() > 0 {
		hint(c.wanted.more)
	}
	if c.follower != nil {
		c.follower.Follow(sortedRefs(refs))
	}
	return nil
}

// gather asks for what the refs lead to and nothing is known of, except what was
// tried before, and returns what was learned until ctx ended. It forgets that it has
// tried what nothing leads to any more: that is dropped from the store.
func (c *Client) gather(ctx context.Context, refs []Ref, tried map[Ref]bool) map[Ref]answer {
	fetched := map[Ref]answer{}
	for ctx.Err() == nil {
		all, missing := c.closure(refs, fetched, tried)
		maps.DeleteFunc(tried, func(ref Ref, _ bool) bool { return !all[ref] })
		c.wanted.expect(all) // what is pushed meanwhile is newer than what is answered
		if len(missing) == 0 {
			break
		}
		var mu sync.Mutex // guards fetched
		var group errgroup.Group
		group.SetLimit(askAtOnce)
		for _, ref := range missing {
			tried[ref] = true
			group.Go(func() error {
				a, err := c.ask(ctx, ref)
				if err != nil {
					c.log.Debug("object cannot be had yet", zap.Stringer("object", ref), zap.Error(err))
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				fetched[ref] = a
				return nil
			})
		}
		_ = group.Wait()
	}
	return fetched
}

// closure returns what the refs lead to, and of these what is to be asked for.
func (c *Client) closure(refs []Ref, fetched map[Ref]answer, tried map[Ref]bool) (all map[Ref]bool, missing []Ref) {
	unknown := map[Ref]bool{}
	err := c.store.View(func(r store.Reader) error {
		know := knownTo(r, fetched)
		all = know.closure(refs)
		for ref := range all {
			if _, ok := know(ref); !ok && !tried[ref] {
				unknown[ref] = true
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil
	}
	return all, sortedRefs(unknown)
}

// refill asks again, until ctx ends: for all objects when the upstream is there
// again, or the disk was full, since changes may have been missed; and with growing
// pauses for what could not be had.
func (c *Client) refill(ctx context.Context) {
	for ctx.Err() == nil {
		connected, changed := c.link.state()
		if connected {
			c.catchUp(ctx, changed)
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// catchUp returns when the connection has changed.
func (c *Client) catchUp(ctx context.Context, changed <-chan struct{}) {
	todo := c.allRefs()
	for failures := 0; ; failures++ {
		failed := c.refresh(ctx, todo, false)
		var again <-chan time.Time
		if len(failed) > 0 || c.wanted.missing() > 0 {
			again = time.After(retryDelay(failures + 1))
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
			return // even if it is there again by now: changes may have been missed
		case <-c.wanted.doubt:
			failures, todo = 0, c.allRefs()
		case <-c.wanted.more:
			// What is new was asked for with its set, or is asked for after the pause.
			failures, todo = -1, failed.and(nil)
		case <-again:
			todo = failed.and(c.wanted.unknown())
		}
	}
}

// misses is why objects could not be refreshed.
type misses map[Ref]error

func (m misses) and(others []Ref) []Ref {
	refs := map[Ref]bool{}
	for ref := range m {
		refs[ref] = true
	}
	for _, ref := range others {
		refs[ref] = true
	}
	return sortedRefs(refs)
}

// refresh asks for the objects, stores what is new, and tells of it. It returns
// what failed.
func (c *Client) refresh(ctx context.Context, refs []Ref, force bool) misses {
	if c.getter == nil {
		return nil
	}
	failed := misses{}
	var mu sync.Mutex // guards failed
	var group errgroup.Group
	group.SetLimit(askAtOnce)
	for _, ref := range refs {
		group.Go(func() error {
			a, err := c.ask(ctx, ref)
			if err == nil {
				a.force = force
				err = c.apply(ref, func(r store.Reader) []store.Change { return planAnswer(r, ref, a) })
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[ref] = err
			}
			return nil
		})
	}
	_ = group.Wait()
	return failed
}

// apply stores what plan says of an object, and tells of it if that is something
// new.
func (c *Client) apply(ref Ref, plan func(r store.Reader) []store.Change) error {
	changed, err := c.update(plan)
	if err != nil {
		return fmt.Errorf("store %s: %w", ref, err)
	}
	c.wanted.met(ref)
	if !changed {
		return nil
	}
	if ref.Kind == KindPersistentVolumeClaim || ref.Kind == KindPersistentVolume {
		hint(c.wanted.stale) // it may lead to others
	}
	if c.cfg.OnObject != nil {
		c.cfg.OnObject(string(ref.Kind), ref.Namespace, ref.Name)
	}
	return nil
}
