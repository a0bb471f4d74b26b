package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// gidAnnotation of a persistent volume names a group that its users need.
const gidAnnotation = "pv.beta.kubernetes.io/gid"

// mountClaimed mounts what a claim is bound to.
func (m *Manager) mountClaimed(ctx context.Context, r *record, spec *corev1.Volume, kind string) (string, error) {
	if m.claims == nil {
		return "", &UnsupportedError{Kind: kind}
	}
	pv, unbound := m.bound(ctx, r.pod, spec)
	if unbound != nil { // what the pod has it keeps, as when the claim is deleted under it
		if pv = r.bound[spec.Name]; pv == nil {
			return "", unbound
		}
	}
	if err := checkVolumeMode(r.pod, spec.Name, pv); err != nil {
		return "", err
	}
	gid, err := gidOf(pv)
	if err != nil {
		return "", err
	}
	path, old, err := m.mountPersistent(ctx, r, &Volume{Pod: r.pod, Spec: spec, Persistent: pv, ReadOnly: readOnly(spec)})
	if err != nil {
		return "", err
	}
	m.tell(ctx, r, spec.Name, errors.Join(unbound, old))
	r.bound[spec.Name] = pv
	m.setGroup(r, spec.Name, gid)
	return path, nil
}

func (m *Manager) mountPersistent(ctx context.Context, r *record, v *Volume) (path string, old, err error) {
	source, block := v.Persistent.Spec.PersistentVolumeSource, isBlock(v.Persistent)
	switch {
	case source.HostPath != nil && block:
		return "", nil, &UnsupportedError{Kind: "hostPath with volumeMode Block"}
	case source.Local != nil && block:
		return "", nil, &UnsupportedError{Kind: "local with volumeMode Block"}
	case source.HostPath != nil:
		path, err = m.mountHostPath(ctx, r, v.Spec.Name, source.HostPath)
	case source.Local != nil:
		path, err = m.mountLocal(ctx, r, v)
	default:
		return m.mountByPlugin(ctx, r, v, "persistentVolumeClaim, of which nobody serves the persistent volume "+v.Persistent.Name)
	}
	return path, nil, err
}

// bound returns the persistent volume of a claim, when both agree that they belong
// together.
func (m *Manager) bound(ctx context.Context, pod *corev1.Pod, spec *corev1.Volume) (*corev1.PersistentVolume, error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	name := pod.Name + "-" + spec.Name // of a claim that is made for the pod
	if spec.PersistentVolumeClaim != nil {
		name = spec.PersistentVolumeClaim.ClaimName
	}
	full := pod.Namespace + "/" + name
	claim, err := m.claims.PersistentVolumeClaim(ctx, pod.Namespace, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("PVC %s: %w", full, err)
	case spec.Ephemeral != nil && !metav1.IsControlledBy(claim, pod):
		return nil, fmt.Errorf("PVC %s is not the pod's own", full)
	case claim.DeletionTimestamp != nil:
		return nil, fmt.Errorf("PVC %s is being deleted", full)
	case claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "":
		return nil, fmt.Errorf("PVC %s is not bound, its phase is %q", full, claim.Status.Phase)
	}
	pv, err := m.claims.PersistentVolume(ctx, claim.Spec.VolumeName)
	switch {
	case err != nil:
		return nil, fmt.Errorf("PV %s of PVC %s: %w", claim.Spec.VolumeName, full, err)
	case pv.Spec.ClaimRef == nil:
		return nil, fmt.Errorf("PV %s is not bound to PVC %s: it has no claimRef", pv.Name, full)
	case pv.Spec.ClaimRef.UID != claim.UID:
		return nil, fmt.Errorf("PV %s is bound to another claim: the UID of its claimRef is %q, that of PVC %s is %q",
			pv.Name, pv.Spec.ClaimRef.UID, full, claim.UID)
	}
	return pv, nil
}

// checkVolumeMode refuses a file system that a container wants as a device, and
// the other way round.
func checkVolumeMode(pod *corev1.Pod, volume string, pv *corev1.PersistentVolume) error {
	block := isBlock(pv)
	for _, c := range containers(pod) {
		if block && slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == volume }) {
			return fmt.Errorf("PV %s has volumeMode Block, but is specified in volumeMounts of container %q", pv.Name, c.Name)
		}
		if !block && slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == volume }) {
			return fmt.Errorf("PV %s has volumeMode Filesystem, but is specified in volumeDevices of container %q", pv.Name, c.Name)
		}
	}
	return nil
}

func isBlock(pv *corev1.PersistentVolume) bool {
	return pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock
}

// mountLocal serves a directory of the node.
func (m *Manager) mountLocal(ctx context.Context, r *record, v *Volume) (string, error) {
	dir := v.Persistent.Spec.Local.Path
	if err := m.onHost(ctx, r, v.Spec.Name, dir, func() error { return checkLocal(dir) }); err != nil {
		return "", err
	}
	if v.ReadOnly { // nobody is to write to it
		return dir, nil
	}
	return dir, m.giveToGroup(ctx, r, v, dir)
}

func checkLocal(dir string) error {
	if err := prepareHostPath(&corev1.HostPathVolumeSource{Path: dir}); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("local volume: %w", err)
	case !info.IsDir():
		return fmt.Errorf("local volume: %s is not a directory; other local volumes are not supported", dir)
	}
	return nil
}

// gidOf returns the group that the users of a persistent volume need, nil if none.
func gidOf(pv *corev1.PersistentVolume) (*int64, error) {
	text := pv.Annotations[gidAnnotation]
	if text == "" {
		return nil, nil
	}
	gid, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("PV %s: annotation %s: %w", pv.Name, gidAnnotation, errors.Unwrap(err))
	}
	id := int64(gid)
	return &id, nil
}

func (m *Manager) setGroup(r *record, volume string, gid *int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(r.groups, volume)
	if gid != nil {
		r.groups[volume] = *gid
	}
}

// Groups returns the groups that the pod's containers need for their mounted
// persistent volumes, sorted. It does not block; a pod that is not mounted has none.
func (m *Manager) Groups(uid types.UID) []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var groups []int64
	if r := m.records[uid]; r != nil {
		for _, gid := range r.groups {
			groups = append(groups, gid)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}
