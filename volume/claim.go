package volume

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
)

// errBusy is the answer to a call for a pod that another call is at work on.
var errBusy = errors.New("another call is at work on them")

// claim is held by who is at work on a pod's volumes.
type claim struct {
	done chan struct{} // closed at the end
	// renewal: Run brings contents up to date, which others wait for.
	renewal bool
}

// exclusively calls do with nobody else at work on the pod. It waits while Run
// brings contents up to date, which takes as long as the source of objects, but not
// for other calls.
func (m *Manager) exclusively(ctx context.Context, uid types.UID, do func() error) error {
	if err := checkName(string(uid)); err != nil {
		return fmt.Errorf("UID: %w", err)
	}
	for {
		held := m.claim(uid)
		if held == nil {
			break
		}
		if !held.renewal {
			return errBusy
		}
		select {
		case <-held.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer m.release(uid)
	return do()
}

// claim takes the pod, or returns the claim of who has it.
func (m *Manager) claim(uid types.UID) (held *claim) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if held := m.busy[uid]; held != nil {
		return held
	}
	m.busy[uid] = &claim{done: make(chan struct{})}
	return nil
}

func (m *Manager) release(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.busy[uid].done)
	delete(m.busy, uid)
	if record := m.records[uid]; record != nil && len(record.stale) > 0 {
		m.poke()
	}
}
