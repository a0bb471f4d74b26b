package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
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
	// Timeout is how long the source of objects, the steps of plugins and a look at a
	// path of the host may take for one volume, 2 minutes and 3 seconds by default, as
	// for the kubelet.
	Timeout time.Duration

	// Plugins serve the volumes that they say are theirs. The first that does is
	// asked. None by default.
	Plugins []Plugin
	// Downward returns the value of a field or resource of the pod for a file of a
	// downwardAPI volume. It must not block. Nil serves no such files.
	Downward func(pod *corev1.Pod, item *corev1.DownwardAPIVolumeFile) (string, error)
	// Allocatable is what the node has for pods: no volume in memory is larger than
	// its memory. Empty leaves the limit to the kernel, half of the node's memory.
	Allocatable corev1.ResourceList

	// Ready reports whether every source of pods has delivered its pods; until
	// then nothing is cleaned up. Nil means that it is so from the start.
	Ready func() bool
	// Removed reports whether the pod is gone for good: no source has it, and
	// none of its containers runs or will be started. A UID that nobody knows is
	// gone. It must not block and is only asked when Ready. Nil means that no pod
	// is gone.
	Removed func(uid types.UID) bool

	// Recorder is told when the content of a mounted volume cannot be brought up
	// to date, once for each cause. Nil tells nobody.
	Recorder Recorder
	// Logger gets the same, and what was cleaned up. Nil means no log.
	Logger *zap.Logger
}

// Recorder takes what happens to a pod, for people to read. It must not block.
type Recorder interface {
	Event(about *corev1.ObjectReference, eventType, reason, message string)
}

// UnsupportedError is the error for a volume of a kind that nobody serves here.
type UnsupportedError struct {
	// Kind is the kind as a manifest spells it, such as "nfs", with what of it is not
	// served where the rest is.
	Kind string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("volumes of kind %s are not supported", e.Kind)
}

// Manager prepares volumes, keeps their content up to date and cleans up after
// them. Its methods may be called concurrently for different pods. For one pod the
// caller has one call at a time; another gets an error, which is worth a retry.
type Manager struct {
	cfg    Config
	src    Objects
	tokens Tokens // nil if the source has none
	claims Claims // nil if the source has none
	pods   string
	log    *zap.Logger
	wake   chan struct{} // a volume is stale

	mu      sync.Mutex // guards busy, records, and of these what they say
	busy    map[types.UID]*claim
	records map[types.UID]*record
}

// New returns a Manager of the volumes below cfg.Root, which get their content
// from src. Without a source, nil, volumes that need one are not mounted.
func New(src Objects, cfg Config) *Manager {
	cfg = cfg.withDefaults()
	if src == nil {
		src = noObjects{}
	}
	m := &Manager{
		cfg:     cfg,
		src:     src,
		pods:    filepath.Join(cfg.Root, "pods"),
		log:     cfg.Logger.Named("volume"),
		wake:    make(chan struct{}, 1),
		busy:    make(map[types.UID]*claim),
		records: make(map[types.UID]*record),
	}
	m.tokens, _ = src.(Tokens)
	m.claims, _ = src.(Claims)
	return m
}

func (cfg Config) withDefaults() Config {
	if cfg.Root == "" {
		cfg.Root = "/var/lib/edged"
	}
	if cfg.Period <= 0 {
		cfg.Period = time.Minute
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2*time.Minute + 3*time.Second
	}
	if cfg.Ready == nil {
		cfg.Ready = func() bool { return true }
	}
	if cfg.Removed == nil {
		cfg.Removed = func(types.UID) bool { return false }
	}
	if cfg.Recorder == nil {
		cfg.Recorder = noRecorder{}
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return cfg
}

type noRecorder struct{}

func (noRecorder) Event(*corev1.ObjectReference, string, string, string) {}

// Run keeps the content of mounted volumes up to date, with what Changed tells
// and with fresh tokens, and cleans up after pods that are gone, at once and then
// once each period, until ctx ends; then it returns nil. What could not be done is
// logged and tried again. It is called once.
func (m *Manager) Run(ctx context.Context) error {
	var pruning sync.WaitGroup
	pruning.Go(func() { m.pruneAll(ctx) })
	m.refreshAll(ctx)
	pruning.Wait()
	return nil
}

// Mount prepares the volumes that containers of the pod mount, and returns their paths
// on the host by volume name; those of kind image, which the runtime mounts, have none.
// It is idempotent and is to be called at each look at the pod: what is made from
// objects, from the pod's labels or from tokens is brought up to date, the rest stays
// as it is; what a hostPath leads to is looked at once. The pod must not be changed
// afterwards. Others may put files of their own into the pod's directory after the
// first Mount of the pod, volumes or not. It blocks for as long as the source of
// objects, plugins and file systems take, for each volume not much longer than
// Config.Timeout.
//
// A volume that has content keeps it and its path when it cannot be brought up to
// date; Config.Recorder is told why. Any other error is joined with those of all
// volumes that cannot be prepared, each with its name; they have no path, and the
// pod must not start. An *UnsupportedError is among them for a volume of a kind
// that is not served.
func (m *Manager) Mount(ctx context.Context, pod *corev1.Pod) (map[string]string, error) {
	var paths map[string]string
	err := m.exclusively(ctx, pod.UID, func() (err error) {
		paths, err = m.mountAll(ctx, m.remember(pod))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("mount volumes: %w", err)
	}
	return paths, nil
}

func (m *Manager) mountAll(ctx context.Context, r *record) (map[string]string, error) {
	wanted := mounted(r.pod)
	paths := make(map[string]string, len(wanted))
	var errs []error
	for i := range r.pod.Spec.Volumes {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		volume := &r.pod.Spec.Volumes[i]
		if !wanted[volume.Name] {
			continue
		}
		delete(wanted, volume.Name)
		path, err := m.mount(ctx, r, volume)
		if err != nil {
			errs = append(errs, fmt.Errorf("volume %q: %w", volume.Name, err))
		} else if path != "" {
			paths[volume.Name] = path
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		errs = append(errs, fmt.Errorf("volume %q: a container mounts it, but the pod does not have it", name))
	}
	return paths, errors.Join(errs...)
}

// mounted returns the names of the volumes that containers of any sort mount.
func mounted(pod *corev1.Pod) map[string]bool {
	names := make(map[string]bool)
	for _, c := range containers(pod) {
		for _, mount := range c.VolumeMounts {
			names[mount.Name] = true
		}
		for _, device := range c.VolumeDevices {
			names[device.Name] = true
		}
	}
	return names
}

func (m *Manager) mount(ctx context.Context, r *record, spec *corev1.Volume) (path string, err error) {
	if err := checkName(spec.Name); err != nil {
		return "", err
	}
	kind, err := kindOf(spec)
	if err != nil {
		return "", err
	}
	switch kind {
	case "emptyDir":
		return m.mountEmptyDir(r.pod, spec)
	case "hostPath":
		return m.mountHostPath(ctx, r, spec.Name, spec.HostPath)
	case "configMap", "secret", "downwardAPI", "projected":
		return m.mountContent(ctx, r, spec, kind)
	case "image":
		return "", nil
	case "persistentVolumeClaim", "ephemeral":
		return m.mountClaimed(ctx, r, spec, kind)
	default:
		path, old, err := m.mountByPlugin(ctx, r, &Volume{Pod: r.pod, Spec: spec, ReadOnly: readOnly(spec)}, kind)
		if err == nil {
			m.tell(ctx, r, spec.Name, old)
		}
		return path, err
	}
}

// Unmount takes down all of the pod's volumes and removes its directory, with
// all that others have put there. It is to be called when the pod's containers
// have ended. It is idempotent, and blocks for as long as plugins and file systems
// take, and the source of objects while Run brings a content of the pod up to date.
//
// An error means that something is left, such as a mount that is in use: the
// call is worth a retry.
func (m *Manager) Unmount(ctx context.Context, uid types.UID) error {
	if err := m.exclusively(ctx, uid, func() error { return m.tearDown(ctx, uid) }); err != nil {
		return fmt.Errorf("unmount volumes: %w", err)
	}
	return nil
}

func (m *Manager) podDir(uid types.UID) string { return filepath.Join(m.pods, string(uid)) }
