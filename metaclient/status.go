package metaclient

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ReportPodStatus stores pod.Status durably, so that a restart finds it, and then
// sends it upstream if the upstream takes reports (see PodStatusReporter). It
// blocks for the disk and up to ten seconds for the upstream, is idempotent, and
// neither keeps nor changes pod.
//
// What differs only in noise is not written again: the order of conditions and
// container statuses, and the times of conditions. The status of a pod that is
// not in the stored set is not stored; upstream hears of it all the same.
//
// An error says that the disk or the upstream failed, and that the caller should
// report again later; upstream is tried even when the disk fails.
func (c *Client) ReportPodStatus(ctx context.Context, pod *corev1.Pod) error {
	err := c.storeStatus(pod)
	if err != nil {
		err = fmt.Errorf("store status of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	if c.reporter == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	if rerr := c.reporter.ReportPodStatus(ctx, pod); rerr != nil {
		err = errors.Join(err, fmt.Errorf("report status of pod %s/%s: %w", pod.Namespace, pod.Name, rerr))
	}
	return err
}

func (c *Client) storeStatus(pod *corev1.Pod) error {
	value, err := encodeStatus(pod.Status)
	if err != nil || value == nil {
		return err
	}
	return c.store.update(func(r reader) []change {
		if r.get(bucketPods, string(pod.UID)) == nil {
			return nil
		}
		if stored := storedStatus(r, pod.UID); stored != nil && sameStatus(*stored, pod.Status) {
			return nil
		}
		return []change{{bucket: bucketStatuses, key: string(pod.UID), value: value}}
	})
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
func storedStatus(r reader, uid types.UID) *corev1.PodStatus {
	value := r.get(bucketStatuses, string(uid))
	if value == nil {
		return nil
	}
	status, err := decodeStatus(value)
	if err != nil {
		return nil
	}
	return status
}
