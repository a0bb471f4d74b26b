package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Config configures New. The zero value mounts and unmounts, and takes no pod
// for gone.
type Config struct {
	// Root is the agent's directory, an absolute path, /var/lib/edged by
	// default. Pods have theirs below it.
	Root string
	// Period is the time from the end of a clean-up to the next, 1 minute by
	// default.
	Period time.Duration

	// Ready reports whether every source of pods has delivered its pods; until
	// then nothing is cleaned up. Nil means that it is so from the start.
	Ready func() bool
	// Removed reports whether the pod is gone for good: no source has it, and
	// none of its containers runs or will be started. A UID that nobody knows is
	// gone. It must not block and is only asked when Ready. Nil means that no pod
	// is gone.
	Removed func(uid types.UID) bool

	// Logger gets what was cleaned up. Nil means no log.
	Logger *zap.Logger
}

// UnsupportedError is the error for a volume of a kind that this package does
// not serve.
type UnsupportedError struct {
	// Kind is the kind as a manifest spells it, such as "configMap".
	Kind string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("volumes of kind %s are not supported yet", e.Kind)
}

// Manager prepares volumes and cleans up after them. Its methods may be called
// concurrently for different pods. For one pod the caller has one call at a time;
// another gets an error, which is worth a retry.
type Manager struct {
	cfg  Config
	pods string
	log  *zap.Logger

	mu   sync.Mutex // guards busy
	busy map[types.UID]bool
}

// New returns a Manager of the volumes below cfg.Root.
func New(cfg Config) *Manager {
	if cfg.Root == "" {
		cfg.Root = "/var/lib/edged"
	}
	if cfg.Period <= 0 {
		cfg.Period = time.Minute
	}
	if cfg.Ready == nil {
		cfg.Ready = func() bool { return true }
	}
	if cfg.Removed == nil {
		cfg.Removed = func(types.UID) bool { return false }
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return &Manager{
		cfg:  cfg,
		pods: filepath.Join(cfg.Root, "pods"),
		log:  cfg.Logger.Named("volume"),
		busy: make(map[types.UID]bool),
	}
}

// Run cleans up after pods that are gone, at once and then once each period,
// until ctx ends, and returns nil. What could not be cleaned up is logged and
// tried again.
func (m *Manager) Run(ctx context.Context) error {
	for {
		if err := m.Prune(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("clean-up left something behind", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(m.cfg.Period):
		}
	}
}

// Mount prepares the volumes that containers of the pod mount, and returns
// their paths on the host by volume name. It is idempotent: what is there stays
// as it is. Others may put files of their own into the pod's directory after the
// first Mount of the pod, volumes or not. It blocks for as long as the file
// systems take, which for a hostPath on a dead network mount can be long.
//
// An error joins those of all volumes that cannot be prepared, each with its
// name; they have no path, and the pod must not start. An *UnsupportedError is
// among them for a volume of a kind that is not served.
func (m *Manager) Mount(ctx context.Context, pod *corev1.Pod) (map[string]string, error) {
	var paths map[string]string
	err := m.exclusively(pod.UID, func() (err error) {
		paths, err = m.mountAll(ctx, pod)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("mount volumes: %w", err)
	}
	return paths, nil
}

func (m *Manager) mountAll(ctx context.Context, pod *corev1.Pod) (map[string]string, error) {
	wanted := mounted(pod)
	paths := make(map[string]string, len(wanted))
	var errs []error
	for i := range pod.Spec.Volumes {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		volume := &pod.Spec.Volumes[i]
		if !wanted[volume.Name] {
			continue
		}
		delete(wanted, volume.Name)
		path, err := m.mount(pod.UID, volume)
		if err != nil {
			errs = append(errs, fmt.Errorf("volume %q: %w", volume.Name, err))
		}
		paths[volume.Name] = path
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		errs = append(errs, fmt.Errorf("volume %q: a container mounts it, but the pod does not have it", name))
	}
	return paths, errors.Join(errs...)
}

// mounted returns the names of the volumes that containers of any sort mount.
func mounted(pod *corev1.Pod) map[string]bool {
	names := make(map[string]bool)
	add := func(mounts []corev1.VolumeMount, devices []corev1.VolumeDevice) {
		for _, mount := range mounts {
			names[mount.Name] = true
		}
		for _, device := range devices {
			names[device.Name] = true
		}
	}
	for _, c := range pod.Spec.InitContainers {
		add(c.VolumeMounts, c.VolumeDevices)
	}
	for _, c := range pod.Spec.Containers {
		add(c.VolumeMounts, c.VolumeDevices)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		add(c.VolumeMounts, c.VolumeDevices)
	}
	return names
}

func (m *Manager) mount(uid types.UID, volume *corev1.Volume) (path string, err error) {
	kind, err := kindOf(volume)
	if err != nil {
		return "", err
	}
	switch kind {
	case "emptyDir":
		return m.mountEmptyDir(uid, volume)
	case "hostPath":
		return volume.HostPath.Path, prepareHostPath(volume.HostPath)
	default:
		return "", &UnsupportedError{Kind: kind}
	}
}

// Unmount takes down all of the pod's volumes and removes its directory, with
// all that others have put there. It is to be called when the pod's containers
// have ended. It is idempotent, and blocks for as long as the file systems take.
//
// An error means that something is left, such as a mount that is in use: the
// call is worth a retry.
func (m *Manager) Unmount(ctx context.Context, uid types.UID) error {
	if err := m.exclusively(uid, func() error { return m.tearDown(ctx, uid) }); err != nil {
		return fmt.Errorf("unmount volumes: %w", err)
	}
	return nil
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

// prune claims the pod before it asks whether the pod is gone: a pod that comes
// back after the answer is refused its volumes until the old ones are gone. A
// pod whose worker is at it is left for the next time.
func (m *Manager) prune(ctx context.Context, uid types.UID) error {
	if !m.claim(uid) {
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

// exclusively calls do with nobody else at work on the pod. It does not wait for
// others, as they are doing I/O.
func (m *Manager) exclusively(uid types.UID, do func() error) error {
	if err := checkName(string(uid)); err != nil {
		return fmt.Errorf("UID: %w", err)
	}
	if !m.claim(uid) {
		return errors.New("another call is at work on them")
	}
	defer m.release(uid)
	return do()
}

func (m *Manager) claim(uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[uid] {
		return false
	}
	m.busy[uid] = true
	return true
}

func (m *Manager) release(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.busy, uid)
}

func (m *Manager) podDir(uid types.UID) string { return filepath.Join(m.pods, string(uid)) }
