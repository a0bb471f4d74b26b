package podsync

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/cri"
)

// List returns the pods of which anything runs, as far as the runtime's labels
// and annotations describe them. Such a pod has no containers in its spec: it
// can be killed, not synced. List waits for an observation that began after the
// Syncer's last action: what it has stopped does not show any more.
func (s *Syncer) List(ctx context.Context) ([]*corev1.Pod, error) {
	s.mu.Lock()
	acted := s.acted
	s.mu.Unlock()
	states, err := s.rooms.Observer.Pods(ctx, acted)
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	var pods []*corev1.Pod
	for _, state := range states {
		if anythingRuns(state) {
			pods = append(pods, skeleton(state))
		}
	}
	return pods, nil
}

func anythingRuns(state *cri.PodState) bool {
	return len(state.ReadySandboxes()) > 0 || slices.ContainsFunc(state.Containers, mayRun)
}

// skeleton is the pod that a runtime's labels and annotations describe.
func skeleton(state *cri.PodState) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: state.UID, Namespace: state.Namespace, Name: state.Name}}
	for _, c := range state.Containers {
		info := c.Info()
		pod.DeletionGracePeriodSeconds = info.DeletionGracePeriod
		pod.Spec.TerminationGracePeriodSeconds = info.TerminationGracePeriod
		if info.TerminationGracePeriod != nil {
			break
		}
	}
	return pod
}

// isSkeleton reports whether the pod is known from the runtime only: every pod
// that an upstream sends has a container.
func isSkeleton(pod *corev1.Pod) bool { return len(pod.Spec.Containers) == 0 }
