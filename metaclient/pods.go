package metaclient

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// Pods returns the pods of the last set that was delivered, now or before a
// restart, sorted by namespace and name, with the last reported status of each.
// It answers from the store and needs no network; the pods belong to the caller.
func (c *Client) Pods(ctx context.Context) ([]*corev1.Pod, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.pods()
}

func (c *Client) pods() ([]*corev1.Pod, error) {
	var pods []*corev1.Pod
	unstored := c.outbox.statuses()
	err := c.store.View(func(r store.Reader) error {
		r.Each(bucketPods, func(key string, value []byte) {
			pod, err := decodePod(key, value)
			if err != nil {
				c.log.Error("stored pod is unreadable", zap.String("uid", key), zap.Error(err))
				return
			}
			if status := storedStatus(r, pod.UID); status != nil {
				pod.Status = *status
			}
			if status, ok := unstored[pod.UID]; ok {
				pod.Status = *status.DeepCopy()
			}
			pods = append(pods, pod)
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read stored pods: %w", err)
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return pods, nil
}

// Release forgets what is stored of a pod that has been deleted and is gone from
// the node, without waiting for the upstream's next set. It is idempotent.
//
// It is not for pods whose upstream takes statuses (PodStatusReporter): how such a pod
// ended is stored with it, and may not have been told yet. Delivered once more, the pod
// would end as one of which nothing is known.
//
// A pod that the upstream still wants is kept: it is stored and has no deletion
// timestamp, so it came back (a manifest that was put back has its old UID), and
// to forget a finished job would run it again.
func (c *Client) Release(ctx context.Context, uid types.UID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := c.update(func(r store.Reader) []store.Change { return planRelease(r, uid) })
	if err != nil {
		return fmt.Errorf("release pod %s: %w", uid, err)
	}
	hint(c.wanted.stale)
	return nil
}

func planRelease(r store.Reader, uid types.UID) []store.Change {
	key := string(uid)
	if value := r.Get(bucketPods, key); value != nil {
		pod, err := decodePod(key, value)
		if err == nil && pod.DeletionTimestamp == nil {
			return nil
		}
	}
	return []store.Change{
		{Bucket: bucketPods, Key: key},
		{Bucket: bucketStatuses, Key: key},
	}
}

// encodePod renders a pod as it is stored: without its status, which has a value
// of its own and another rhythm of change, and without managedFields, which
// nobody on a node reads and which may outweigh the rest.
func encodePod(pod *corev1.Pod) ([]byte, error) {
	stored := *pod
	stored.Status = corev1.PodStatus{}
	stored.ManagedFields = nil
	value, err := json.Marshal(&stored)
	if err != nil {
		return nil, fmt.Errorf("encode pod: %w", err)
	}
	return value, nil
}

func decodePod(key string, value []byte) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := json.Unmarshal(value, pod); err != nil {
		return nil, fmt.Errorf("decode pod: %w", err)
	}
	if string(pod.UID) != key {
		return nil, fmt.Errorf("decode pod: value belongs to uid %q", pod.UID)
	}
	return pod, nil
}

// storedPods returns the stored set, as far as concerns what the pods refer to.
func storedPods(r store.Reader) storedSet {
	set := storedSet{}
	r.Each(bucketPods, func(key string, value []byte) {
		if pod, err := decodePod(key, value); err == nil {
			set[pod.UID] = behindOf(pod)
		}
	})
	return set
}
