package volume

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Volume is one volume of one pod, with what mounting it depends on.
type Volume struct {
	// Pod that has the volume. It is shared and must not be changed.
	Pod *corev1.Pod
	// Spec is the volume as the pod's spec has it.
	Spec *corev1.Volume
	// Persistent is what the volume's claim is bound to, nil for a volume without
	// a claim.
	Persistent *corev1.PersistentVolume
	// ReadOnly: nobody is to write to it.
	ReadOnly bool
	// Dir is the plugin's own for this volume of this pod, in the kubelet's layout:
	// <Root>/pods/<uid>/volumes/<plugin, with ~ for />/<volume>, where <volume> is
	// the name of Persistent if there is one. Its parent exists.
	Dir string
}

// Plugin serves the volumes of a kind, in four steps: a volume is attached to the
// node once, whatever number of pods use it, and mounted for each pod; and back.
// The way back knows no more than the directory: what a plugin needs to know for it
// after a restart it keeps there. Each step is idempotent, may block until ctx
// ends, and is called for one volume of one pod at a time.
type Plugin interface {
	// Name of the plugin, such as "kubernetes.io/csi".
	Name() string
	// Serves reports whether the volume is the plugin's. It does no I/O.
	Serves(v *Volume) bool
	// Attach makes the volume available on the node, before each Mount.
	Attach(ctx context.Context, v *Volume) error
	// Mount gives the volume to the pod and returns its path on the node. Called
	// again for a mounted volume it brings the content up to date; when it cannot, it
	// returns the path together with the error, and the pod keeps what it has.
	Mount(ctx context.Context, v *Volume) (path string, err error)
	// Unmount takes the volume from the pod and leaves no mount in dir, which was
	// Volume.Dir.
	Unmount(ctx context.Context, uid types.UID, dir string) error
	// Detach is called after Unmount; it takes the volume off the node when no other
	// pod uses it, and removes dir.
	Detach(ctx context.Context, uid types.UID, dir string) error
}

// GroupedPlugin is a Plugin whose volumes may belong to the group of their pod, its
// fsGroup. Those of others are left as they are.
type GroupedPlugin interface {
	Plugin
	// AppliesFSGroup reports whether a mounted volume is to be given to the group. It
	// is asked after each Mount of a volume.
	AppliesFSGroup(v *Volume) (bool, error)
}
