package podcgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
)

// What has just ended leaves its cgroup a moment later.
const (
	lingering     = time.Second
	lingeringPoll = 20 * time.Millisecond
)

// Remove removes the pod's cgroup and those in it. Nothing is killed: a process in
// one of them is an error, once a second has passed or ctx has ended. That there is
// no cgroup is none. It is idempotent. Errors name the pod.
func (m *Manager) Remove(ctx context.Context, uid types.UID) error {
	err := m.remove(ctx, uid)
	if err != nil && !unwritable(err) {
		return fmt.Errorf("remove cgroup of pod with uid %q: %w", uid, err)
	}
	return nil
}

func (m *Manager) remove(ctx context.Context, uid types.UID) error {
	if err := checkUID(uid); err != nil {
		return err
	}
	if systemd, err := m.systemd(ctx); systemd || err != nil {
		return err
	}
	found, err := m.find()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lingering)
	defer cancel()
	var errs []error
	for _, class := range classes(m.cfg.Root) {
		for _, dir := range found.all {
			errs = append(errs, m.removeUnused(ctx, filepath.Join(dir, class.child(podPrefix+string(uid)).cgroupfs())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return m.unweigh(found, uid)
}

// unweigh takes a pod's share from the weight of the burstable ones.
func (m *Manager) unweigh(found *layout, uid types.UID) error {
	m.mu.Lock()
	_, weighed := m.shares[uid]
	delete(m.shares, uid)
	m.mu.Unlock()
	if !weighed {
		return nil
	}
	return m.weighBurstable(found)
}

// removeUnused removes a cgroup as soon as nothing is in it.
func (m *Manager) removeUnused(ctx context.Context, dir string) error {
	for {
		err := m.removeTree(dir)
		if !errors.Is(err, syscall.EBUSY) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lingeringPoll):
		}
	}
}

// removeTree removes a cgroup and those in it, as far as no process is in them.
func (m *Manager) removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if entry.IsDir() {
			errs = append(errs, m.removeTree(filepath.Join(dir, entry.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := m.kernel.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Run prunes until ctx ends, and returns nil then. It is called once. Without it
// only Remove removes cgroups.
func (m *Manager) Run(ctx context.Context) error {
	for {
		if err := m.Prune(ctx); err != nil && ctx.Err() == nil {
			m.logger.Warn("cgroups of pods that are gone stay for now", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(m.cfg.Period):
		}
	}
}

// Prune removes the cgroups of the pods that are gone, such as an agent leaves that
// was killed before it could remove them. It does nothing until Config.Ready. A
// cgroup with a process in it stays. It does not block for long and is idempotent;
// an error holds up only what it is about.
func (m *Manager) Prune(ctx context.Context) error {
	if !m.cfg.Ready() {
		return nil
	}
	if systemd, err := m.systemd(ctx); systemd || err != nil {
		return err
	}
	found, err := m.find()
	if unwritable(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, class := range classes(m.cfg.Root) {
		for _, hierarchy := range found.all {
			errs = append(errs, m.pruneIn(filepath.Join(hierarchy, class.cgroupfs())))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) pruneIn(class string) error {
	entries, err := os.ReadDir(class)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, entry := range entries {
		uid, isPod := strings.CutPrefix(entry.Name(), podPrefix)
		if !entry.IsDir() || !isPod || uid == "" || !m.cfg.Removed(types.UID(uid)) {
			continue
		}
		err := m.removeTree(filepath.Join(class, entry.Name()))
		if errors.Is(err, syscall.EBUSY) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove cgroup of pod with uid %q, which is gone: %w", uid, err))
			continue
		}
		m.logger.Info("cgroup of a pod that is gone removed", zap.String("uid", uid), zap.String("in", class))
	}
	return errors.Join(errs...)
}
