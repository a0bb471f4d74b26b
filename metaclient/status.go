package metaclient

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// planStatus stores a status unless it says what is stored already.
func planStatus(r store.Reader, pod *corev1.Pod) []store.Change {
	value, err := encodeStatus(pod.Status)
	if err != nil || value == nil {
		return nil
	}
	if stored := storedStatus(r, pod.UID); stored != nil && sameStatus(*stored, pod.Status) {
		return nil
	}
	return []store.Change{{Bucket: bucketStatuses, Key: string(pod.UID), Value: value}}
}

// upstreamWins says whether the upstream's status replaces what is stored. The
// node knows its pods better, except that a controller may have ended a pod for
// good while the node was away.
func upstreamWins(stored *corev1.PodStatus, upstream corev1.PodStatus) bool {
	return stored == nil || ended(upstream) && !ended(*stored)
}

func ended(s corev1.PodStatus) bool {
	return s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed
}

// sameStatus compares what two statuses say, not how they are written down: by
// their encoding, in which times are whole seconds and empty is absent.
func sameStatus(a, b corev1.PodStatus) bool {
	encodedA, errA := encodeStatus(withoutNoise(a))
	encodedB, errB := encodeStatus(withoutNoise(b))
	return errA == nil && errB == nil && bytes.Equal(encodedA, encodedB)
}

// withoutNoise returns a copy with sorted lists and without the times of
// conditions. The order of IPs is no noise: the first is the pod's own.
func withoutNoise(s corev1.PodStatus) corev1.PodStatus {
	s.Conditions = slices.Clone(s.Conditions)
	for i := range s.Conditions {
		s.Conditions[i].LastProbeTime = metav1.Time{}
		s.Conditions[i].LastTransitionTime = metav1.Time{}
	}
	slices.SortFunc(s.Conditions, func(a, b corev1.PodCondition) int { return cmp.Compare(a.Type, b.Type) })
	s.InitContainerStatuses = sortedByName(s.InitContainerStatuses)
	s.ContainerStatuses = sortedByName(s.ContainerStatuses)
	s.EphemeralContainerStatuses = sortedByName(s.EphemeralContainerStatuses)
	return s
}

func sortedByName(statuses []corev1.ContainerStatus) []corev1.ContainerStatus {
	return slices.SortedFunc(slices.Values(statuses), func(a, b corev1.ContainerStatus) int {
		return cmp.Compare(a.Name, b.Name)
	})
}

// encodeStatus returns nil for a status that says nothing.
func encodeStatus(s corev1.PodStatus) ([]byte, error) {
	value, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode pod status: %w", err)
	}
	if string(value) == "{}" {
		return nil, nil
	}
	return value, nil
}

func decodeStatus(value []byte) (*corev1.PodStatus, error) {
	status := &corev1.PodStatus{}
	if err := json.Unmarshal(value, status); err != nil {
		return nil, fmt.Errorf("decode pod status: %w", err)
	}
	return status, nil
}

// storedStatus returns nil when there is none that can be read.
func storedStatus(r store.Reader, uid types.UID) *corev1.PodStatus {
	value := r.Get(bucketStatuses, string(uid))
	if value == nil {
		return nil
	}
	status, err := decodeStatus(value)
	if err != nil {
		return nil
	}
	return status
}
