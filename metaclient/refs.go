package metaclient

import (
	"cmp"
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// refsOf returns what a pod refers to: the environment of all its containers, its
// volumes and its pull secrets. Whether a reference is optional makes no
// difference here.
func refsOf(pod *corev1.Pod) []Ref {
	refs := refSet{namespace: pod.Namespace}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			refs.environment(containers[i].EnvFrom, containers[i].Env)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		refs.environment(pod.Spec.EphemeralContainers[i].EnvFrom, pod.Spec.EphemeralContainers[i].Env)
	}
	for i := range pod.Spec.Volumes {
		refs.volume(pod.Name, &pod.Spec.Volumes[i])
	}
	for _, secret := range pod.Spec.ImagePullSecrets {
		refs.add(KindSecret, secret.Name)
	}
	return refs.refs
}

// refSet collects references to objects of one namespace.
type refSet struct {
	namespace string
	refs      []Ref
}

// add leaves out names that no object can have.
func (s *refSet) add(kind Kind, name string) {
	ref := Ref{Kind: kind, Namespace: s.namespace, Name: name}
	if badRef(ref) == "" && !slices.Contains(s.refs, ref) {
		s.refs = append(s.refs, ref)
	}
}

func (s *refSet) environment(from []corev1.EnvFromSource, env []corev1.EnvVar) {
	for _, source := range from {
		if source.ConfigMapRef != nil {
			s.add(KindConfigMap, source.ConfigMapRef.Name)
		}
		if source.SecretRef != nil {
			s.add(KindSecret, source.SecretRef.Name)
		}
	}
	for _, v := range env {
		if v.ValueFrom == nil {
			continue
		}
		if v.ValueFrom.ConfigMapKeyRef != nil {
			s.add(KindConfigMap, v.ValueFrom.ConfigMapKeyRef.Name)
		}
		if v.ValueFrom.SecretKeyRef != nil {
			s.add(KindSecret, v.ValueFrom.SecretKeyRef.Name)
		}
	}
}

func (s *refSet) volume(pod string, volume *corev1.Volume) {
	switch {
	case volume.ConfigMap != nil:
		s.add(KindConfigMap, volume.ConfigMap.Name)
	case volume.Secret != nil:
		s.add(KindSecret, volume.Secret.SecretName)
	case volume.Projected != nil:
		for _, source := range volume.Projected.Sources {
			if source.ConfigMap != nil {
				s.add(KindConfigMap, source.ConfigMap.Name)
			}
			if source.Secret != nil {
				s.add(KindSecret, source.Secret.Name)
			}
		}
	case volume.PersistentVolumeClaim != nil:
		s.add(KindPersistentVolumeClaim, volume.PersistentVolumeClaim.ClaimName)
	case volume.Ephemeral != nil:
		s.add(KindPersistentVolumeClaim, pod+"-"+volume.Name)
	case volume.CSI != nil && volume.CSI.NodePublishSecretRef != nil:
		s.add(KindSecret, volume.CSI.NodePublishSecretRef.Name)
	case volume.FlexVolume != nil && volume.FlexVolume.SecretRef != nil:
		s.add(KindSecret, volume.FlexVolume.SecretRef.Name)
	}
}

// volumeOf returns the volume that a claim is bound to, false if it is bound to none.
func volumeOf(claim *corev1.PersistentVolumeClaim) (Ref, bool) {
	ref := Ref{Kind: KindPersistentVolume, Name: claim.Spec.VolumeName}
	return ref, badRef(ref) == ""
}

// secretsOf returns the secrets that the CSI driver of a volume wants on the node.
func secretsOf(volume *corev1.PersistentVolume) (refs []Ref) {
	if volume.Spec.CSI == nil {
		return nil
	}
	for _, secret := range []*corev1.SecretReference{
		volume.Spec.CSI.NodePublishSecretRef, volume.Spec.CSI.NodeStageSecretRef, volume.Spec.CSI.NodeExpandSecretRef,
	} {
		if secret == nil {
			continue
		}
		if ref := (Ref{Kind: KindSecret, Namespace: secret.Namespace, Name: secret.Name}); badRef(ref) == "" {
			refs = append(refs, ref)
		}
	}
	return refs
}

// known finds what is known of an object: what was just fetched, or what is stored.
type known func(ref Ref) (record, bool)

func knownTo(r store.Reader, fetched map[Ref]answer) known {
	return func(ref Ref) (record, bool) {
		if a, ok := fetched[ref]; ok {
			return a.record, true
		}
		rec, _, ok := storedRecord(r, ref)
		return rec, ok
	}
}

// next returns what a known object refers to in turn: claims their volumes, and
// volumes their secrets.
func (k known) next(ref Ref) []Ref {
	if ref.Kind != KindPersistentVolumeClaim && ref.Kind != KindPersistentVolume {
		return nil
	}
	rec, ok := k(ref)
	if !ok || rec.Absent {
		return nil
	}
	if ref.Kind == KindPersistentVolume {
		var volume corev1.PersistentVolume
		if json.Unmarshal(rec.Object, &volume) != nil {
			return nil
		}
		return secretsOf(&volume)
	}
	var claim corev1.PersistentVolumeClaim
	if json.Unmarshal(rec.Object, &claim) != nil {
		return nil
	}
	if volume, ok := volumeOf(&claim); ok {
		return []Ref{volume}
	}
	return nil
}

// closure returns refs and all that is behind them as far as it is known.
func (k known) closure(refs []Ref) map[Ref]bool {
	all := make(map[Ref]bool, len(refs))
	for todo := slices.Clone(refs); len(todo) > 0; {
		ref := todo[0]
		todo = todo[1:]
		if !all[ref] {
			all[ref] = true
			todo = append(todo, k.next(ref)...)
		}
	}
	return all
}

// sortedRefs returns the refs in the order of kind, namespace and name.
func sortedRefs(refs map[Ref]bool) []Ref {
	sorted := make([]Ref, 0, len(refs))
	for ref := range refs {
		sorted = append(sorted, ref)
	}
	slices.SortFunc(sorted, func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return sorted
}
