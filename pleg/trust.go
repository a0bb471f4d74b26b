package pleg

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// proofs is how many changes in a row a stream of events has to have told of before
// it is trusted again.
const proofs = 10

// settling is how long a stream of events may not have begun yet though it seems open:
// a client calls it open when the request for it is on its way.
const settling = 500 * time.Millisecond

// trust is what is thought of the runtime's stream of events. As long as it is
// trusted, all pods are listed rarely: what happens is learnt from events.
//
// A stream may be open and tell nothing, as that of a runtime whose events somebody
// else has taken, or lose some. That shows when a listing of all pods finds a change
// that no event was of. Then the stream is not trusted, and all pods are listed each
// period, until it has told of some changes in a row.
type trust struct {
	openSince time.Time // surely; zero: there is no stream
	doubted   bool
	proven    int // changes in a row that an event was of, since the last that none was of
}

// covers reports whether the stream was open at that time and has been since.
func (t *trust) covers(since time.Time) bool {
	return !t.openSince.IsZero() && !t.openSince.After(since)
}

// proved counts a change that an event was of.
func (t *trust) proved() {
	t.proven++
	if t.proven >= proofs {
		t.doubted = false
	}
}

// failed counts a change that no event was of.
func (t *trust) failed() { t.doubted, t.proven = true, 0 }

// suspect notes a change that a listing of all pods is the first to find, though
// events should have told of it. mu must be held.
func (c *cache) suspect(uid types.UID) {
	if c.listed.seq > 0 && c.trust.covers(c.listed.at) {
		c.suspects[uid] = c.listed
	}
}

// judgeSuspects takes the changes that the last listing of all pods was the first to
// find: the event of each has come since, or was lost. mu must be held.
func (c *cache) judgeSuspects() {
	for uid, since := range c.suspects {
		delete(c.suspects, uid)
		p := c.pods[uid]
		switch {
		case p == nil: // gone, and with it what events said
		case p.isAnnouncedSince(since):
			c.trust.proved()
		case c.trust.covers(since.at):
			c.trust.failed()
			c.metrics.EventsLost++
		}
	}
}

// announce notes that an event was of the pod, and has the pod listed. It reports
// whether that is new work.
func (c *cache) announce(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.metrics.Events++
	if uid == "" || c.pods[uid] == nil && len(c.queue) >= maxQueue {
		return false
	}
	p := c.pod(uid)
	p.announced = c.seq + 1
	if p.owned && p.toBeListed() {
		c.metrics.EventsCoalesced++
	}
	c.ask(p, c.seq)
	return true
}

// streamOpened and streamBroke note that there is a stream of events, or no more.
func (c *cache) streamOpened() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trust.openSince = time.Now().Add(settling)
	c.metrics.Streams++
}

func (c *cache) streamBroke() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trust.openSince = time.Time{}
}

// doubted reports whether events were lost, and have not proved themselves since.
func (c *cache) doubted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trust.doubted
}

// eventful reports whether changes since the last listing of all pods are learnt from
// events. It is not so while one is in doubt, nor while something failed that is tried
// again with each listing of all pods.
func (c *cache) eventful() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isEventful()
}

func (c *cache) isEventful() bool {
	if c.trust.doubted || !c.trust.covers(c.listed.at) || len(c.suspects) > 0 || c.listErr != nil {
		return false
	}
	for _, p := range c.pods {
		if p.err != nil || p.isForgotten() {
			return false
		}
	}
	return true
}
