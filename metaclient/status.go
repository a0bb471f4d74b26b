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

// ownConditions are those that the node decides (package statusmgr makes them, which
// is above this one). DisruptionTarget may be set upstream as well.
var ownConditions = []corev1.PodConditionType{
	corev1.PodReadyToStartContainers,
	corev1.PodInitialized,
	corev1.PodReady,
	corev1.ContainersReady,
	corev1.PodScheduled,
	corev1.AllContainersRestarting,
	corev1.DisruptionTarget,
	corev1.PodResizePending,
	corev1.PodResizeInProgress,
}

// agree returns what a pod's status is, given what the node knows and what the
// upstream says. Conditions that are not the node's, such as readiness gates, are as
// the upstream has them.
func agree(known *corev1.PodStatus, upstream corev1.PodStatus) corev1.PodStatus {
	if upstreamWins(known, upstream) {
		return upstream
	}
	agreed := *known
	agreed.Conditions = slices.DeleteFunc(slices.Clone(known.Conditions), func(c corev1.PodCondition) bool {
		return !slices.Contains(ownConditions, c.Type)
	})
	disrupted := hasCondition(agreed, corev1.DisruptionTarget)
	for _, c := range upstream.Conditions {
		if !slices.Contains(ownConditions, c.Type) || c.Type == corev1.DisruptionTarget && !disrupted {
			agreed.Conditions = append(agreed.Conditions, c)
		}
	}
	return agreed
}

func hasCondition(s corev1.PodStatus, kind corev1.PodConditionType) bool {
	return slices.ContainsFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
}

// upstreamWins says whether the upstream's status replaces what is known. The
// node knows its pods better, except that a controller may have ended a pod for
// good while the node was away.
func upstreamWins(known *corev1.PodStatus, upstream corev1.PodStatus) bool {
	return known == nil || ended(upstream) && !ended(*known)
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
