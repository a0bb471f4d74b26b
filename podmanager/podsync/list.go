package podsync

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri"
)

// lookTimeout bounds how long List waits for pods that were not inspected yet. One
// that hangs must not keep the others from being listed, and so from starting.
const lookTimeout = 5 * time.Second

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
	s.forgetOver(states, acted)
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	var pods []*corev1.Pod
	for _, state := range states {
		if state, runs := s.look(ctx, state); runs {
			pods = append(pods, skeleton(state))
		}
	}
	return pods, nil
}

// forgetOver drops from what is over all that the runtime has nothing of, unless it was
// acted upon since that was listed.
func (s *Syncer) forgetOver(listed []*cri.PodState, acted time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.over, func(uid types.UID, _ bool) bool {
		return s.acted.Equal(acted) && !slices.ContainsFunc(listed, func(state *cri.PodState) bool { return state.UID == uid })
	})
}

// look reports whether anything of a listed pod runs. Of a pod that is listed and
// has neither sandbox nor container nothing is known yet, as after the start of
// the agent: it is looked at, and if that does not succeed in time it may run.
func (s *Syncer) look(ctx context.Context, listed *cri.PodState) (*cri.PodState, bool) {
	if len(listed.Sandboxes)+len(listed.Containers) > 0 {
		return listed, whatRuns(listed) != ""
	}
	state, err := s.rooms.Observer.State(ctx, listed.UID, listed.ObservedAt)
	if err != nil {
		return listed, true
	}
	return state, whatRuns(state) != ""
}

// whatRuns names something of the pod that runs or may run; it is empty if there
// is no such thing.
func whatRuns(state *cri.PodState) string {
	if i := slices.IndexFunc(state.Containers, mayRun); i >= 0 {
		return fmt.Sprintf("container %q", state.Containers[i].Name())
	}
	if ready := state.ReadySandboxes(); len(ready) > 0 {
		return fmt.Sprintf("sandbox %q", ready[0].GetId())
	}
	return ""
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
