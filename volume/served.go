package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// groupNotes is the directory, below a pod's, where it is noted which volumes were given
// to the pod's group.
const groupNotes = "plugins/edged~fsgroup"

// mountByPlugin has the plugin that serves the volume attach and mount it, and
// gives it to the pod's group if the plugin wants that. What is mounted may be old: it
// returns why.
func (m *Manager) mountByPlugin(ctx context.Context, r *record, v *Volume, kind string) (path string, old, err error) {
	plugin := m.pluginFor(v)
	if plugin == nil {
		return "", nil, &UnsupportedError{Kind: kind}
	}
	name := v.Spec.Name
	if v.Persistent != nil {
		name = v.Persistent.Name
	}
	if err := checkName(name); err != nil {
		return "", nil, err
	}
	v.Dir = filepath.Join(m.podDir(v.Pod.UID), volumesDir, escapeName(plugin.Name()), name)
	if err := os.MkdirAll(filepath.Dir(v.Dir), 0o750); err != nil {
		return "", nil, err
	}
	path, old = m.attachAndMount(ctx, plugin, v)
	if path == "" {
		return "", nil, old
	}
	return path, old, m.groupServed(ctx, r, plugin, v, path)
}

// attachAndMount returns a path together with an error when what is mounted is not up
// to date.
func (m *Manager) attachAndMount(ctx context.Context, plugin Plugin, v *Volume) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	if err := plugin.Attach(ctx, v); err != nil {
		return "", fmt.Errorf("attach: %w", err)
	}
	path, err := plugin.Mount(ctx, v)
	if err != nil {
		return path, fmt.Errorf("mount: %w", err)
	}
	return path, nil
}

func (m *Manager) groupServed(ctx context.Context, r *record, plugin Plugin, v *Volume, path string) error {
	owner, ok := plugin.(GroupedPlugin)
	if !ok {
		return nil
	}
	applies, err := owner.AppliesFSGroup(v)
	if err != nil {
		return fmt.Errorf("find out whether it belongs to the pod's group: %w", err)
	}
	if !applies {
		return nil
	}
	return m.giveToGroup(ctx, r, v, path)
}

// giveToGroup gives a volume to the pod's group, when it is first mounted for the pod:
// later its containers may have changed that. That it was done is noted in the pod's
// directory; the next agent does it again only if the volume itself is not the group's,
// as when it was made anew by a reboot.
func (m *Manager) giveToGroup(ctx context.Context, r *record, v *Volume, dir string) error {
	group := groupOf(r.pod)
	if group == nil || r.grouped[v.Spec.Name] {
		return nil
	}
	note := filepath.Join(m.podDir(r.pod.UID), groupNotes, v.Spec.Name)
	_, unknown := os.Lstat(note)
	policy := r.pod.Spec.SecurityContext.FSGroupChangePolicy
	onlyMismatch := unknown == nil || policy != nil && *policy == corev1.FSGroupChangeOnRootMismatch
	if err := ChangeGroup(ctx, dir, *group, v.ReadOnly, onlyMismatch); err != nil {
		err = fmt.Errorf("give it to the pod's group: %w", err)
		if !errors.Is(err, ErrGroupRefused) {
			return err
		}
		m.tell(ctx, r, v.Spec.Name, err)
	}
	r.grouped[v.Spec.Name] = true
	if unknown != nil {
		_ = writeNote(note) // without it the next agent does more than it must
	}
	return nil
}

func writeNote(note string) error {
	if err := os.MkdirAll(filepath.Dir(note), 0o750); err != nil {
		return err
	}
	return os.WriteFile(note, nil, 0o600)
}

func (m *Manager) pluginFor(v *Volume) Plugin {
	for _, plugin := range m.cfg.Plugins {
		if plugin.Serves(v) {
			return plugin
		}
	}
	return nil
}

// readOnly reports whether the volume's source forbids to write to it.
func readOnly(spec *corev1.Volume) bool {
	switch {
	case spec.PersistentVolumeClaim != nil:
		return spec.PersistentVolumeClaim.ReadOnly
	case spec.CSI != nil:
		return spec.CSI.ReadOnly != nil && *spec.CSI.ReadOnly
	}
	return false
}

// servedDir is the directory of a volume that a plugin has made.
type servedDir struct {
	plugin Plugin
	dir    string
}

// served lists the volumes of plugins that a pod has on the disk.
func (m *Manager) served(uid types.UID) ([]servedDir, error) {
	var list []servedDir
	for _, plugin := range m.cfg.Plugins {
		parent := filepath.Join(m.podDir(uid), volumesDir, escapeName(plugin.Name()))
		entries, err := os.ReadDir(parent)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, entry := range entries {
			if entry.IsDir() {
				list = append(list, servedDir{plugin, filepath.Join(parent, entry.Name())})
			}
		}
	}
	return list, nil
}

// unmountServed returns those that are unmounted.
func (m *Manager) unmountServed(ctx context.Context, uid types.UID, served []servedDir) ([]servedDir, error) {
	return m.each(ctx, served, "unmount", func(ctx context.Context, s servedDir) error { return s.plugin.Unmount(ctx, uid, s.dir) })
}

func (m *Manager) detachServed(ctx context.Context, uid types.UID, served []servedDir) error {
	_, err := m.each(ctx, served, "detach", func(ctx context.Context, s servedDir) error { return s.plugin.Detach(ctx, uid, s.dir) })
	return err
}

// each takes a step for every volume, and returns those for which it went well: one
// that fails does not hold up the others.
func (m *Manager) each(
	ctx context.Context, served []servedDir, what string, do func(context.Context, servedDir) error,
) (done []servedDir, err error) {
	var errs []error
	for _, s := range served {
		stepCtx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
		if err := do(stepCtx, s); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", what, s.dir, err))
		} else {
			done = append(done, s)
		}
		cancel()
	}
	return done, errors.Join(errs...)
}
