package metaclient

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// Health is how the connection and the store are.
type Health struct {
	// Connected: the upstream has delivered since it was last lost.
	Connected bool
	// Since is when Connected last changed; zero while it never has.
	Since time.Time
	// Upstream is why the upstream was last lost; nil while Connected.
	Upstream error
	// Store is why the store could not be written (the disk is full, as a rule); nil
	// since it could again.
	Store error
	// Missing counts the objects that pods refer to and of which nothing is known
	// yet, not even that they do not exist.
	Missing int
	// Unsent counts the reports that the upstream has not acknowledged.
	Unsent int
	// Dropped counts the reports that were given up since there were too many.
	Dropped int
}

// Health returns the present state. It does not block.
func (c *Client) Health() Health {
	h := c.link.health()
	h.Missing = c.wanted.missing()
	h.Unsent, h.Dropped = c.outbox.count()
	return h
}

// Connected reports whether the upstream has delivered since it was last lost. It
// does not block.
func (c *Client) Connected() bool { return c.link.health().Connected }

// link is the state of the connection and of the store.
type link struct {
	mu      sync.Mutex // guards the rest
	now     Health
	waiting chan struct{} // closed at the next change of Connected; made when wanted
	set     chan struct{} // closed at the first set of a new Watch; made when wanted
	waiters int           // how many wait for that
}

func (l *link) health() Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// arrived notes that the upstream has delivered.
func (c *Client) arrived() {
	if before := c.link.up(); before != nil {
		c.log.Info("upstream answers again", zap.NamedError("was", before))
	}
}

// up returns why the upstream was away until now, nil if it was not.
func (l *link) up() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.now.Upstream
	l.turn(true, nil)
	return before
}

func (l *link) down(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn(false, why)
	l.now.Upstream = why
}

func (l *link) turn(connected bool, why error) {
	if l.now.Connected == connected {
		return
	}
	l.now.Connected, l.now.Since, l.now.Upstream = connected, time.Now(), why
	if l.waiting != nil {
		close(l.waiting)
		l.waiting = nil
	}
}

// state returns whether the upstream is there, and a channel that is closed when
// that changes.
func (l *link) state() (connected bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waiting = make(chan struct{})
	}
	return l.now.Connected, l.waiting
}

// took notes that the set that nextSet waits for is in the store and handed on, and
// reports whether somebody still waits for it.
func (l *link) took() (waited bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.set != nil {
		close(l.set)
		l.set = nil
	}
	return l.waiters > 0
}

// nextSet is closed when the first set of a Watch that begins from now on is in the
// store and handed on. Who waits for that must leave in the end.
func (l *link) nextSet() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.set == nil {
		l.set = make(chan struct{})
	}
	l.waiters++
	return l.set
}

func (l *link) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiters--
}

// awaited reports whether somebody waits for the set of a Watch that begins now.
func (l *link) awaited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiters > 0
}

// wrote notes how a write went and returns what it was before.
func (l *link) wrote(err error) (before error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, l.now.Store = l.now.Store, err
	return before
}

// errNotStored marks what failed because of the disk, which says nothing about the
// upstream.
var errNotStored = errors.New("cannot be stored")

// update writes to the store and keeps the condition that Health shows. It logs
// the first failure and the recovery. That nothing had to be written is no recovery.
func (c *Client) update(plan func(r store.Reader) []store.Change) (changed bool, err error) {
	changed, err = c.store.Update(plan)
	if err == nil && !changed {
		return false, nil
	}
	switch before := c.link.wrote(err); {
	case err != nil && before == nil:
		c.log.Error("store cannot be written, will retry", zap.Error(err))
	case err == nil && before != nil:
		c.log.Info("store can be written again")
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", errNotStored, err)
	}
	return true, nil
}
