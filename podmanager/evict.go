package podmanager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// ErrExceededGracePeriod says that a pod still runs although its grace period is
// over. Its worker goes on ending it.
var ErrExceededGracePeriod = errors.New("pod still runs after its grace period")

// minPatience is how long Evict waits at least.
const minPatience = 10 * time.Second

// Evict ends the pod by a decision of the node, within grace or what is left of a
// shorter one, but no less than a second. The pod stays known, as one that has run to
// its end, until it is deleted; to have its status say why it has ended is the
// Syncer's business. Evict is idempotent.
//
// It blocks until nothing of the pod runs, for one and a half times the grace and at
// least ten seconds; then it returns ErrExceededGracePeriod, or the error of ctx if
// that ended first. An unknown pod has ended.
func (m *Manager) Evict(ctx context.Context, uid types.UID, grace time.Duration) error {
	grace = max(grace, minGrace*time.Second)
	ended := m.evict(uid, grace)
	if ended == nil {
		return nil
	}
	patience := time.NewTimer(max(minPatience, grace*3/2))
	defer patience.Stop()
	select {
	case <-ended:
		return nil
	case <-patience.C:
		return fmt.Errorf("evict pod %q: %w", uid, ErrExceededGracePeriod)
	case <-ctx.Done():
		return fmt.Errorf("evict pod %q: %w", uid, ctx.Err())
	}
}

// evict begins the end of the pod and returns what tells of it, nil if there is no
// such pod.
func (m *Manager) evict(uid types.UID, grace time.Duration) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.workers[uid]
	if w == nil {
		return nil
	}
	m.endWithin(w, grace)
	return w.ended
}
