package store

import "sync"

type planner = func(r Reader) []Change

// writer commits the changes of all plans, or none, and says which plans changed
// something.
type writer = func(plans []planner) (changed []bool, err error)

// commits lets updates that come at the same time share a commit: the first one
// to come writes, also for those who come while it does.
type commits struct {
	mu      sync.Mutex // guards busy and waiting
	busy    bool
	waiting []*update
}

type update struct {
	plan    planner
	done    chan struct{} // closed when the rest is set
	changed bool
	err     error
}

// do returns when plan is part of a commit that write has made.
func (c *commits) do(plan planner, write writer) (changed bool, err error) {
	u := &update{plan: plan, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, u)
	lead := !c.busy
	c.busy = true
	c.mu.Unlock()
	if lead {
		for batch := c.next(); len(batch) > 0; batch = c.next() {
			settle(batch, write)
		}
	}
	<-u.done
	return u.changed, u.err
}

// next takes all who wait, and lets the next comer write if there is nobody.
func (c *commits) next() []*update {
	c.mu.Lock()
	defer c.mu.Unlock()
	batch := c.waiting
	c.waiting = nil
	c.busy = len(batch) > 0
	return batch
}

func settle(batch []*update, write writer) {
	plans := make([]planner, len(batch))
	for i, u := range batch {
		plans[i] = u.plan
	}
	changed, err := write(plans)
	for i, u := range batch {
		u.changed, u.err = changed[i], err
		close(u.done)
	}
}
