package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
)

// pruneAll cleans up at once and then once each period, until ctx ends.
func (m *Manager) pruneAll(ctx context.Context) {
	for {
		if err := m.Prune(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("clean-up left something behind", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(m.cfg.Period):
		}
		m.poke() // the clock may have been set, and a token be due
	}
}

// Prune does one clean-up: the directories of pods that are gone are taken down
// as by Unmount. This finds pods that were deleted while no agent ran. It does
// nothing before Ready, is idempotent, and may be called beside all other
// methods. An error joins what could not be cleaned up; the rest was.
func (m *Manager) Prune(ctx context.Context) error {
	if !m.cfg.Ready() {
		return nil
	}
	entries, err := os.ReadDir(m.pods)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("clean up volumes: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		// Any other name is not a pod's.
		if entry.IsDir() && checkName(entry.Name()) == nil {
			errs = append(errs, m.prune(ctx, types.UID(entry.Name())))
		}
	}
	return errors.Join(errs...)
}

// prune claims a pod that seems gone, and asks again: a pod that comes back after
// the answer is refused its volumes until the old ones are gone. A pod whose worker
// is at it is left for the next time, and one that is there is not disturbed.
func (m *Manager) prune(ctx context.Context, uid types.UID) error {
	if !m.cfg.Removed(uid) || m.claim(uid) != nil {
		return nil
	}
	defer m.release(uid)
	if !m.cfg.Removed(uid) {
		return nil
	}
	if err := m.tearDown(ctx, uid); err != nil {
		return fmt.Errorf("clean up volumes of pod %q: %w", uid, err)
	}
	m.log.Info("volumes of a pod that is gone removed", zap.String("uid", string(uid)))
	return nil
}
