package metaclient

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// reminder reports a status again that the upstream has lost or overwritten: it
// acknowledged it, and delivers another. Run's goroutine owns it.
type reminder struct {
	client *Client
	// What was said on both sides when a pod was last reported again. An upstream that
	// does not learn from it is not told without end.
	reminded map[types.UID]said
}

// said is the sum of what node and upstream say of a pod's status.
type said [sha256.Size]byte

// check looks at a set that has just been stored. A pod of which a report waits is
// left out: the upstream cannot know yet.
func (m *reminder) check(set storedSet) error {
	c := m.client
	if c.statuses == nil {
		return nil
	}
	maps.DeleteFunc(m.reminded, func(uid types.UID, _ said) bool { _, ok := set[uid]; return !ok })
	// Before the store is read: what does not wait any more must be in what is read.
	told := maps.Clone(set)
	maps.DeleteFunc(told, func(uid types.UID, p storedPod) bool {
		return !p.hasStatus || c.outbox.has(topic{reportStatus, string(uid)})
	})
	var lost []*corev1.Pod
	err := c.store.View(func(r store.Reader) error {
		for uid, p := range told {
			if pod := m.lost(r, uid, p.status); pod != nil {
				lost = append(lost, pod)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read stored statuses: %w", err)
	}
	for _, pod := range lost {
		c.outbox.remind(report{topic: topic{reportStatus, string(pod.UID)}, pod: pod, unsent: true})
	}
	return nil
}

// lost returns the pod with its stored status if the upstream is to be reminded of
// that, else nil.
func (m *reminder) lost(r store.Reader, uid types.UID, upstream corev1.PodStatus) *corev1.Pod {
	known := storedStatus(r, uid)
	if known == nil || ended(upstream) && upstream.Phase != known.Phase {
		return nil
	}
	ours, errOurs := encodeStatus(reportable(*known))
	theirs, errTheirs := encodeStatus(reportable(upstream))
	if errOurs != nil || errTheirs != nil || bytes.Equal(ours, theirs) {
		delete(m.reminded, uid)
		return nil
	}
	both := said(sha256.Sum256(append(ours, theirs...)))
	if m.reminded[uid] == both {
		return nil
	}
	pod, err := decodePod(string(uid), r.Get(bucketPods, string(uid)))
	if err != nil {
		return nil
	}
	m.reminded[uid] = both
	pod.Status = *known
	return pod
}

// reportable leaves out what no node reports.
func reportable(s corev1.PodStatus) corev1.PodStatus {
	s = withoutNoise(s)
	s.NominatedNodeName = ""
	s.ResourceClaimStatuses = nil
	s.ExtendedResourceClaimStatus = nil
	return s
}
