package podsync

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri"
)

// Cgroups gives each pod a cgroup of its own; *podcgroup.Manager does.
type Cgroups interface {
	// Ensure makes the pod's cgroup, raises its limits to those of the spec, and
	// returns its name for the runtime: empty on a node that can have none.
	Ensure(ctx context.Context, pod *corev1.Pod) (cgroupParent string, err error)
	// Settle lowers the limits to those of the spec. No container has more.
	Settle(ctx context.Context, pod *corev1.Pod) error
	// Exists reports whether the pod's cgroup is there.
	Exists(pod *corev1.Pod) bool
	// Remove removes the cgroup of a pod that has ended.
	Remove(ctx context.Context, uid types.UID) error
}

// noCgroups has the runtime choose.
type noCgroups struct{}

func (noCgroups) Ensure(context.Context, *corev1.Pod) (string, error) { return "", nil }
func (noCgroups) Settle(context.Context, *corev1.Pod) error           { return nil }
func (noCgroups) Exists(*corev1.Pod) bool                             { return true }
func (noCgroups) Remove(context.Context, types.UID) error             { return nil }

// ensureCgroup makes the pod's cgroup and remembers its name.
func (s *Syncer) ensureCgroup(ctx context.Context, pod *corev1.Pod, rec *record) (err error) {
	rec.cgroup, err = s.rooms.Cgroups.Ensure(ctx, pod)
	return err
}

// keepCgroup keeps the cgroup of a pod of which nothing else is to be done.
func (s *Syncer) keepCgroup(ctx context.Context, pod *corev1.Pod, rec *record) error {
	if err := s.ensureCgroup(ctx, pod, rec); err != nil {
		return err
	}
	return s.rooms.Cgroups.Settle(ctx, pod)
}

// lostCgroup stops a pod that runs and whose cgroup has vanished: its containers
// are limited by nothing any more. What was stopped is then started again in a new
// one, as far as the restart policy has it so. A pod that this agent gave no cgroup
// has lost none: what an earlier agent started runs on.
func (s *Syncer) lostCgroup(ctx context.Context, pod *corev1.Pod, state *cri.PodState, rec *record) (bool, error) {
	if rec.cgroup == "" || len(state.Running()) == 0 || s.rooms.Cgroups.Exists(pod) {
		return false, nil
	}
	s.warn(ctx, pod, nil, eventKilling, "The pod's cgroup has vanished: the pod is stopped.")
	err := s.stopPod(ctx, pod, state, gracePeriod(pod), rec)
	s.done(pod, rec)
	if err == nil {
		rec.cgroup = ""
	}
	return true, err
}
