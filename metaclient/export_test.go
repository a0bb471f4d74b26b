package metaclient

import (
	"bytes"
	"slices"
	"sync/atomic"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// breakable is a store that cannot be written at times.
type breakable struct {
	store.Store
	err atomic.Pointer[error]
}

func (b *breakable) Update(plan func(r store.Reader) []store.Change) (changed bool, err error) {
	broken := b.err.Load()
	if broken == nil {
		return b.Store.Update(plan)
	}
	wanted := false
	err = b.View(func(r store.Reader) error {
		wanted = slices.ContainsFunc(plan(r), func(c store.Change) bool {
			return !bytes.Equal(r.Get(c.Bucket, c.Key), c.Value)
		})
		return nil
	})
	if wanted {
		err = *broken
	}
	return false, err // what writes nothing does not fail
}

// Breakable returns what makes the writes of c's store fail, or succeed again when
// it is given nil. Call it before Run.
func Breakable(c *Client) (failWith func(err error)) {
	b := &breakable{Store: c.store}
	c.store = b
	return func(err error) {
		if err == nil {
			b.err.Store(nil)
			return
		}
		b.err.Store(&err)
	}
}

// slow is a store whose writes begin late.
type slow struct {
	store.Store
	before func()
}

func (s slow) Update(plan func(r store.Reader) []store.Change) (changed bool, err error) {
	s.before()
	return s.Store.Update(plan)
}

// BeforeWrites calls f before each write of c's store. Call it before Run.
func BeforeWrites(c *Client, f func()) { c.store = slow{c.store, f} }

// watched is a store of which it is told when it was read.
type watched struct {
	store.Store
	after func()
}

func (w watched) View(read func(r store.Reader) error) error {
	defer w.after()
	return w.Store.View(read)
}

// AfterReads calls f after each read of c's store. Call it before Run.
func AfterReads(c *Client, f func()) { c.store = watched{c.store, f} }
