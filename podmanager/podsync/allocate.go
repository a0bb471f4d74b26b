package podsync

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/edged-project/edged/podmanager"
)

// deferredRetry is how soon a resize that was refused is asked for again: pods end,
// and nobody tells those that wait for what they had.
const deferredRetry = 10 * time.Second

// Refusal is why a pod is not resized to what its spec asks for.
type Refusal struct {
	Reason  string // corev1.PodReasonDeferred or corev1.PodReasonInfeasible
	Message string // for people
}

// Resize is how far the node follows a pod whose resources were changed (KEP-1287).
type Resize struct {
	// Allocated is the pod with the resources that the node has set aside for it, nil
	// if they are those of the spec.
	Allocated *corev1.Pod
	// Reason and Message tell why they are not, empty if they are.
	Reason, Message string
	// Acting: containers do not have yet what is set aside for them.
	Acting bool
	// Error is what was in the way when they were to be given it.
	Error string
}

// allocation is what the node has set aside for the containers of a pod, by name.
// It is not changed once it is made.
type allocation map[string]corev1.ResourceRequirements

// allocationOf is what the spec of the pod asks for.
func allocationOf(pod *corev1.Pod) allocation {
	allocated := allocation{}
	for _, spec := range longLived(pod) {
		allocated[spec.Name] = spec.Resources
	}
	return allocated
}

// remembered is the allocation that the status tells of, which outlives the agent:
// what is requested, and the limits in effect. A container that it does not tell of
// has what its spec asks for: that of a pod which was admitted so shortly before the
// agent died that its status was not stored.
func remembered(status corev1.PodStatus) allocation {
	allocated := allocation{}
	for _, statuses := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses} {
		for _, c := range statuses {
			if c.Resources != nil {
				allocated[c.Name] = corev1.ResourceRequirements{Requests: c.AllocatedResources, Limits: c.Resources.Limits}
			}
		}
	}
	return allocated
}

// apply returns the pod with the resources of the allocation: the pod itself if it
// asks for these.
func (a allocation) apply(pod *corev1.Pod) *corev1.Pod {
	given := pod
	for _, spec := range longLived(pod) {
		resources, known := a[spec.Name]
		if !known || sameResources(resources, spec.Resources) {
			continue
		}
		if given == pod {
			given = pod.DeepCopy()
		}
		target := specOf(given, spec.Name)
		target.Resources.Requests, target.Resources.Limits = resources.Requests.DeepCopy(), resources.Limits.DeepCopy()
	}
	return given
}

func sameResources(a, b corev1.ResourceRequirements) bool {
	return equality.Semantic.DeepEqual(a.Requests, b.Requests) && equality.Semantic.DeepEqual(a.Limits, b.Limits)
}

// longLived returns the containers that count for the pod, and that the node sets
// resources aside for: all but the ephemeral.
func longLived(pod *corev1.Pod) []*corev1.Container {
	var all []*corev1.Container
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			all = append(all, &containers[i])
		}
	}
	return all
}

// Allocated returns the pod with the resources that the node has set aside for it,
// which are not those of its spec while a resize is refused: what counts when others
// ask for room. Of a pod that was not synced yet its status tells. It does not block
// and changes nothing; the result is shared.
func (s *Syncer) Allocated(pod *corev1.Pod) *corev1.Pod {
	s.mu.Lock()
	allocated, known := s.allocated[pod.UID]
	s.mu.Unlock()
	if !known {
		allocated = remembered(pod.Status)
	}
	return allocated.apply(pod)
}

// Admit sets aside what a pod that is new to the node asks for, unless check, which is
// called once, says why it may not start; that is returned. No resize is decided
// meanwhile: what is Allocated to others stays so, and Fits is asked with the new pod
// among the admitted or before check is called. So one room is not given to both. It
// blocks for check and for the decision on a resize, and is for Config.Admit of package
// podmanager.
func (s *Syncer) Admit(pod *corev1.Pod, check func() *podmanager.Rejection) *podmanager.Rejection {
	s.allocating <- struct{}{}
	defer func() { <-s.allocating }()
	why := check()
	if why == nil {
		s.setAside(pod)
	}
	return why
}

// allocate sets aside what the pod asks for, if the node has it, and returns the pod
// as it is to run. What a pod that is new to the node asks for, it was admitted with.
// One pod is decided on at a time, so that what is left is not given twice.
func (s *Syncer) allocate(ctx context.Context, pod *corev1.Pod, rec *record) *corev1.Pod {
	s.allocating <- struct{}{}
	defer func() { <-s.allocating }()
	given := s.Allocated(pod)
	var why *Refusal
	if given != pod {
		why = s.rooms.Fits(pod)
	}
	if why == nil {
		rec.resize = Resize{Error: rec.resize.Error}
		s.setAside(pod)
		return pod
	}
	if rec.resize.Reason != why.Reason {
		s.warn(ctx, pod, nil, "Resize"+why.Reason, "Pod resize "+why.Reason+": "+why.Message)
	}
	rec.resize = Resize{Allocated: given, Reason: why.Reason, Message: why.Message, Error: rec.resize.Error}
	s.setAside(given)
	return given
}

func (s *Syncer) setAside(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allocated[pod.UID] = allocationOf(pod)
}
