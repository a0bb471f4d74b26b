package csi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/volume"
)

// source is what is to be mounted, the same for inline volumes and for those behind
// a claim.
type source struct {
	name, driver, handle string
	mode                 LifecycleMode
	readOnly             bool
	fsType               string
	options              []string
	access               []corev1.PersistentVolumeAccessMode
	attributes           map[string]string
	group                *int64 // the pod's fsGroup

	stageSecret, publishSecret *corev1.SecretReference
}

// sourceOf checks a volume and what its driver is declared to serve.
func (p *Plugin) sourceOf(v *volume.Volume) (*source, error) {
	s, err := inline(v)
	if v.Persistent != nil {
		if s, err = persistent(v); err != nil {
			err = fmt.Errorf("persistent volume %q: %w", v.Persistent.Name, err)
		}
	}
	if err != nil {
		return nil, err
	}
	if !p.cfg.Driver(s.driver).serves(s.mode) {
		return nil, fmt.Errorf("CSI driver %q is not declared to serve volumes of the lifecycle mode %s", s.driver, s.mode)
	}
	if security := v.Pod.Spec.SecurityContext; security != nil {
		s.group = security.FSGroup
	}
	return s, nil
}

// inline volumes have a handle that is theirs alone, made as the kubelet makes it.
func inline(v *volume.Volume) (*source, error) {
	if v.Spec == nil || v.Spec.CSI == nil {
		return nil, errors.New("csi is not set")
	}
	csi := v.Spec.CSI
	if err := checkDriver(csi.Driver); err != nil {
		return nil, fmt.Errorf("csi.driver: %w", err)
	}
	s := &source{
		name: v.Spec.Name, driver: csi.Driver, handle: "csi-" + hash(string(v.Pod.UID)+v.Spec.Name), mode: Ephemeral,
		readOnly: v.ReadOnly || csi.ReadOnly != nil && *csi.ReadOnly, attributes: csi.VolumeAttributes,
		access: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
	}
	if csi.FSType != nil {
		s.fsType = *csi.FSType
	}
	if ref := csi.NodePublishSecretRef; ref != nil {
		s.publishSecret = &corev1.SecretReference{Namespace: v.Pod.Namespace, Name: ref.Name}
	}
	return s, nil
}

func persistent(v *volume.Volume) (*source, error) {
	spec := &v.Persistent.Spec
	if spec.CSI == nil {
		return nil, errors.New("spec.csi is not set")
	}
	if err := checkDriver(spec.CSI.Driver); err != nil {
		return nil, fmt.Errorf("spec.csi.driver: %w", err)
	}
	if spec.CSI.VolumeHandle == "" {
		return nil, errors.New("spec.csi.volumeHandle is empty")
	}
	if spec.VolumeMode != nil && *spec.VolumeMode != corev1.PersistentVolumeFilesystem {
		return nil, fmt.Errorf("spec.volumeMode: volumes of the mode %s are not supported", *spec.VolumeMode)
	}
	if len(spec.AccessModes) > 0 {
		if _, known := accessModes[spec.AccessModes[0]]; !known {
			return nil, fmt.Errorf("spec.accessModes: %q is not known", spec.AccessModes[0])
		}
	}
	return &source{
		name: v.Persistent.Name, driver: spec.CSI.Driver, handle: spec.CSI.VolumeHandle, mode: Persistent,
		readOnly: v.ReadOnly || spec.CSI.ReadOnly, fsType: spec.CSI.FSType, options: spec.MountOptions,
		access: spec.AccessModes, attributes: spec.CSI.VolumeAttributes,
		stageSecret: spec.CSI.NodeStageSecretRef, publishSecret: spec.CSI.NodePublishSecretRef,
	}, nil
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// accessModes are what CSI calls those of Kubernetes: for any driver, and for one
// that tells single writers from the single node.
var accessModes = map[corev1.PersistentVolumeAccessMode][2]csipb.VolumeCapability_AccessMode_Mode{
	corev1.ReadWriteOnce:    {csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csipb.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER},
	corev1.ReadWriteOncePod: {csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csipb.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER},
	corev1.ReadOnlyMany:     {csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY, csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY},
	corev1.ReadWriteMany:    {csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER, csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
}

// capability is how the volume is to be used. The first access mode counts, as in
// the kubelet, and ReadWriteOnce where there is none.
func (s *source) capability(able abilities) *csipb.VolumeCapability {
	access := corev1.ReadWriteOnce
	if len(s.access) > 0 {
		access = s.access[0]
	}
	mode := accessModes[access][0]
	if able.knowsSingleWriters() {
		mode = accessModes[access][1]
	}
	mount := &csipb.VolumeCapability_MountVolume{FsType: s.fsType, MountFlags: s.options}
	if s.group != nil && able.takesGroup() {
		mount.VolumeMountGroup = strconv.FormatInt(*s.group, 10)
	}
	return &csipb.VolumeCapability{
		AccessMode: &csipb.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csipb.VolumeCapability_Mount{Mount: mount},
	}
}

// context is the volume's attributes, and whose volume it is for drivers that want
// to know.
func (s *source) context(pod *corev1.Pod, spec DriverSpec) map[string]string {
	if !spec.PodInfoOnMount {
		return s.attributes
	}
	with := map[string]string{}
	maps.Copy(with, s.attributes)
	maps.Copy(with, map[string]string{
		"csi.storage.k8s.io/pod.name":            pod.Name,
		"csi.storage.k8s.io/pod.namespace":       pod.Namespace,
		"csi.storage.k8s.io/pod.uid":             string(pod.UID),
		"csi.storage.k8s.io/serviceAccount.name": pod.Spec.ServiceAccountName,
		"csi.storage.k8s.io/ephemeral":           strconv.FormatBool(s.mode == Ephemeral),
	})
	return with
}

// wantsGroup reports whether the policy has the fsGroup applied to the volume, by
// the rules of the CSIDriver API.
func (s *source) wantsGroup(policy FSGroupPolicy) bool {
	switch policy {
	case FileFSGroupPolicy:
		return true
	case NoneFSGroupPolicy:
		return false
	default:
		return s.fsType != "" && (slices.Contains(s.access, corev1.ReadWriteOnce) || slices.Contains(s.access, corev1.ReadWriteOncePod))
	}
}

// toldWith returns what a driver is told with a volume: the content of the secret, and what
// the controller has answered.
func (p *Plugin) toldWith(ctx context.Context, v *volume.Volume, ref *corev1.SecretReference) (secrets, attached map[string]string, err error) {
	if secrets, err = p.secret(ctx, ref); err != nil {
		return nil, nil, err
	}
	attached, err = p.publishContext(ctx, v.Persistent)
	return secrets, attached, err
}

// secret returns the content of a secret, nothing without a reference.
func (p *Plugin) secret(ctx context.Context, ref *corev1.SecretReference) (map[string]string, error) {
	if ref == nil || ref.Name == "" {
		return nil, nil
	}
	if p.cfg.Secrets == nil {
		return nil, fmt.Errorf("secret %q is wanted, but there are no secrets on this node", ref.Namespace+"/"+ref.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	secret, err := p.cfg.Secrets.Secret(ctx, ref.Namespace, ref.Name)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", ref.Namespace+"/"+ref.Name, err)
	}
	values := make(map[string]string, len(secret.Data))
	for key, value := range secret.Data {
		values[key] = string(value)
	}
	return values, nil
}

// publishContext returns nothing for an inline volume, which has no controller.
func (p *Plugin) publishContext(ctx context.Context, pv *corev1.PersistentVolume) (map[string]string, error) {
	if pv == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	attached, err := p.cfg.PublishContext(ctx, pv)
	if err != nil {
		return nil, fmt.Errorf("persistent volume %q is not attached to the node: %w", pv.Name, err)
	}
	return attached, nil
}
