package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
)

// contentDirs are the directories of the kinds whose content the agent makes, in
// the kubelet's layout.
var contentDirs = map[string]string{
	"configMap":   "kubernetes.io~configmap",
	"secret":      "kubernetes.io~secret",
	"downwardAPI": "kubernetes.io~downward-api",
	"projected":   "kubernetes.io~projected",
}

// mountContent brings the content of a volume up to date, and its directory into
// being: on disk for a configMap, in memory for what may be secret.
func (m *Manager) mountContent(ctx context.Context, r *record, spec *corev1.Volume, kind string) (string, error) {
	dir := filepath.Join(m.podDir(r.pod.UID), volumesDir, contentDirs[kind], spec.Name)
	c := &collector{m: m, record: r, volume: spec.Name}
	m.reading(r, spec.Name)
	err := m.renew(ctx, c, spec, dir, kind != "configMap")
	switch {
	case err != nil && ctx.Err() != nil: // nobody has failed, and it is still to be done
		m.mark(r, spec.Name)
		return "", err
	case err != nil && !(&writer{dir: dir}).restore():
		return "", err
	case err != nil:
		c.due, c.old = time.Now().Add(refreshRetry), err
	}
	m.settle(ctx, c)
	return dir, nil
}

func (m *Manager) renew(ctx context.Context, c *collector, spec *corev1.Volume, dir string, inMemory bool) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	files, err := c.collect(ctx, spec)
	if err != nil {
		return err
	}
	group := groupOf(c.record.pod)
	if err := makeContentDir(dir, inMemory, group); err != nil {
		return err
	}
	for _, nested := range nestedIn(c.record.pod, spec.Name) {
		if err := makeNested(dir, nested); err != nil {
			return err
		}
	}
	w := writer{dir: dir, group: group}
	if err := w.write(files); err != nil {
		return fmt.Errorf("write its content: %w", err)
	}
	return nil
}

func makeContentDir(dir string, inMemory bool, group *int64) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	mode := fs.FileMode(0o755)
	if group != nil {
		mode |= dirMask
	}
	if inMemory {
		if err := mountMemory(dir, tmpfs(mode, 0)); err != nil {
			return err
		}
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if info.Mode() == fs.ModeDir|mode && (group == nil || groupOfFile(info) == *group) {
		return nil // what is right is not written again, which would wake the disk
	}
	if err := os.Lchown(dir, -1, idOr(group)); err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

// makeNested makes a directory inside a volume onto which another is mounted.
func makeNested(dir, nested string) error {
	if _, err := checkPath(nested); err != nil {
		return fmt.Errorf("make the mount point of another volume: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.MkdirAll(nested, 0o755)
}

// settle tells how the renewal of a volume went, a failure once for each cause, and
// notes when the next is due.
func (m *Manager) settle(ctx context.Context, c *collector) {
	m.tell(ctx, c.record, c.volume, c.old)
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.due.IsZero() {
		delete(c.record.due, c.volume)
		return
	}
	c.record.due[c.volume] = c.due
	m.poke()
}

// tell tells why a volume is not up to date, nil if it is, once for each cause. The end
// of the caller's context is none.
func (m *Manager) tell(ctx context.Context, r *record, volume string, err error) {
	switch {
	case err == nil:
		delete(r.failed, volume)
		return
	case ctx.Err() != nil || r.failed[volume] == err.Error():
		return
	}
	r.failed[volume] = err.Error()
	m.log.Warn("content of a volume is not up to date", zap.String("pod", r.pod.Namespace+"/"+r.pod.Name),
		zap.String("uid", string(r.pod.UID)), zap.String("volume", volume), zap.Error(err))
	m.cfg.Recorder.Event(reference(r.pod), corev1.EventTypeWarning, "FailedMount",
		fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", volume, err))
}

func reference(pod *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
	}
}
