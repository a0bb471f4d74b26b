package pleg

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri"
)

// maxQueue bounds the memory that requests for unknown pods can take.
const maxQueue = 1024

// cache holds what is known of the pods. It does no I/O: its methods take over
// what others found out, and hand out what is to be found out next.
//
// As a pod takes over a listing only if it began after the last one, and has one
// inspection at a time, nothing that is known of it ever becomes older.
type cache struct {
	mu   sync.Mutex // guards all that follows
	seq  int64      // of the mark of the listing that began last
	pods map[types.UID]*pod
	// queue holds owned pods that nobody works on yet.
	queue []types.UID

	// listed is the last good listing of all pods; listErr is the failure of the
	// last one, nil if it was good.
	listed   mark
	listErr  error
	relisted chan struct{} // closed and replaced with each good listing

	trust trust
	// suspects are the pods of which a listing of all pods found a change before an
	// event told of it, which may still come. The mark is of the listing before, after
	// the beginning of which the change has happened.
	suspects map[types.UID]mark

	metrics        Metrics
	relistingSince time.Time
}

// begin returns the mark of a listing that starts when begin has returned.
func (c *cache) begin() mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	return mark{seq: c.seq, at: time.Now()}
}

// threshold returns what a reader wants who comes now.
func (c *cache) threshold(notBefore time.Time) threshold {
	c.mu.Lock()
	defer c.mu.Unlock()
	return threshold{notBefore: notBefore, future: notBefore.After(time.Now()), seq: c.seq}
}

// relist takes over a listing of all pods, and returns those of which it is to
// be told that they have vanished.
func (c *cache) relist(all listing, m mark) (tell []types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.judgeSuspects()
	for uid, found := range all.byPod() {
		if learnt, _ := c.pod(uid).observe(found, m); learnt {
			c.suspect(uid)
		}
	}
	for uid, p := range c.pods {
		learnt, vanished := p.observe(nil, m)
		if learnt {
			c.suspect(uid)
		}
		if vanished {
			tell = append(tell, uid)
		}
		switch {
		case p.due():
			c.enqueue(p)
		case len(p.records) == 0 && !p.owned && !p.toBeListed() && !p.listed.after(m):
			delete(c.pods, uid)
		}
	}
	c.listed, c.listErr = m, nil
	c.metrics.Relists++
	c.metrics.LastRelist = time.Since(m.at)
	close(c.relisted)
	c.relisted = make(chan struct{})
	return tell
}

// relistFailed remembers why all pods could not be listed.
func (c *cache) relistFailed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listErr = err
}

// observe takes over a listing of one pod, and reports whether it is to be told
// that the pod has vanished.
func (c *cache) observe(uid types.UID, found listing, m mark) (tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pod(uid)
	before := p.listed
	learnt, vanished := p.observe(found, m)
	if learnt && p.isAnnouncedSince(before) {
		c.trust.proved()
	}
	return vanished
}

// pod returns the pod, a new one if need be. mu must be held.
func (c *cache) pod(uid types.UID) *pod {
	p := c.pods[uid]
	if p == nil {
		p = newPod(uid, c.listed)
		c.pods[uid] = p
	}
	return p
}

// enqueue has somebody work on the pod. mu must be held.
func (c *cache) enqueue(p *pod) {
	if !p.owned {
		p.owned = true
		c.queue = append(c.queue, p.uid)
	}
}

// ask has the pod listed by a listing that begins after the one of that seq. mu
// must be held.
func (c *cache) ask(p *pod, seq int64) {
	p.asked = max(p.asked, seq+1)
	c.enqueue(p)
}

// refresh has the pod listed and inspected.
func (c *cache) refresh(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pods[uid] == nil && len(c.queue) >= maxQueue {
		return
	}
	p := c.pod(uid)
	p.stale = true
	c.ask(p, c.seq)
}

// pop takes the next pod from the queue. The caller has to work on it until next
// finds nothing more to do, or to disown it.
func (c *cache) pop() (uid types.UID, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return "", false
	}
	uid = c.queue[0]
	c.queue = slices.Delete(c.queue, 0, 1)
	return uid, true
}

// work is what an owned pod needs next.
type work int

const (
	nothing work = iota // the pod is disowned
	toList
	toInspect
)

// next says what the owned pod needs next.
func (c *cache) next(uid types.UID) (work, inspection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pods[uid]
	switch {
	case p.toBeListed():
		return toList, inspection{}
	case p.due():
		return toInspect, p.beginInspection()
	default:
		p.owned = false
		return nothing, inspection{}
	}
}

// disown leaves what the pod still needs to the next listing of all pods.
func (c *cache) disown(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pods[uid].owned = false
}

// endInspection takes over the result of an inspection, and reports whether a
// change of the pod is to be told.
func (c *cache) endInspection(task inspection, state *cri.PodState, err error) (tell bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pods[task.uid].endInspection(task, state, err)
}

// answer is either a state, an error, or a channel that is closed when it is
// worth asking again.
type answer struct {
	state *cri.PodState
	err   error
	wait  <-chan struct{}
}

// state answers with an observation of the pod that has passed the threshold. If
// there is none it asks for one, unless one is on its way.
func (c *cache) state(uid types.UID, wanted threshold) answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pods[uid]
	if p == nil {
		p = newPod(uid, c.listed)
	}
	switch {
	case p.err != nil && wanted.passed(p.failed):
		return answer{err: p.err}
	case wanted.passed(p.seen):
		return answer{state: p.snapshot()}
	}
	c.pods[uid] = p
	if !wanted.passed(p.listed) {
		c.ask(p, wanted.seq)
	}
	return answer{wait: p.wait()}
}

// list returns all pods by a listing that has passed the threshold, or a
// channel that is closed when it is worth asking again.
func (c *cache) list(wanted threshold) ([]*cri.PodState, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !wanted.passed(c.listed) {
		return nil, c.relisted
	}
	pods := make([]*cri.PodState, 0, len(c.pods))
	for _, p := range c.pods {
		if len(p.records) > 0 {
			pods = append(pods, p.snapshot())
		}
	}
	slices.SortFunc(pods, func(a, b *cri.PodState) int { return cmp.Compare(a.UID, b.UID) })
	return pods, nil
}

// relisting notes when the listing of all pods began that is under way, zero if none
// is.
func (c *cache) relisting(since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.relistingSince = since
}

func (c *cache) counts() Metrics {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.metrics
	counts.Eventful = c.isEventful()
	if !c.relistingSince.IsZero() {
		counts.Relisting = time.Since(c.relistingSince)
	}
	return counts
}

// health returns the start of the last good listing of all pods, and why the
// last one failed if it did.
func (c *cache) health() (listedAt time.Time, listErr error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listed.at, c.listErr
}
