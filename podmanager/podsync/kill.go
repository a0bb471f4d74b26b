package podsync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// minStopTimeout is the least that a container gets to end by itself, however
// short the grace period.
const minStopTimeout = 2 * time.Second

// defaultGracePeriod is that of a pod that says nothing (core/v1).
const defaultGracePeriod = 30 * time.Second

// Kill stops the pod's containers within grace, side by side and sidecars last,
// then its sandboxes, gives its volumes back and publishes its final status. It
// returns nil only when nothing of the pod runs. It is idempotent; when ctx ends
// it gives up, and a later call goes on.
func (s *Syncer) Kill(ctx context.Context, pod *corev1.Pod, grace time.Duration) error {
	rec := s.record(pod.UID)
	state, err := s.rooms.Observer.State(ctx, pod.UID, rec.acted)
	if err != nil {
		return fmt.Errorf("observe pod: %w", err)
	}
	s.publishUnlessOrphan(pod, Observation{State: state})
	if len(state.Sandboxes)+len(state.Containers) > 0 {
		err = s.stopPod(ctx, pod, state, grace)
		s.done(pod, rec)
		if err != nil {
			return err
		}
		if state, err = s.rooms.Observer.State(ctx, pod.UID, rec.acted); err != nil {
			return fmt.Errorf("observe pod after it was stopped: %w", err)
		}
	}
	if what := whatRuns(state); what != "" {
		return fmt.Errorf("%s still runs after it was stopped", what)
	}
	if err := s.rooms.Volumes.Unmount(ctx, pod.UID); err != nil {
		return fmt.Errorf("unmount volumes: %w", err)
	}
	s.publishUnlessOrphan(pod, Observation{State: state, Ended: true})
	s.rooms.Images.Forget(pod.UID)
	s.forget(pod.UID)
	return nil
}

// publishUnlessOrphan publishes the status of a pod that somebody knows.
func (s *Syncer) publishUnlessOrphan(pod *corev1.Pod, seen Observation) {
	if !isSkeleton(pod) {
		s.rooms.Status(pod, seen)
	}
}

// stopPod stops the containers and then the sandboxes. A sandbox is never
// stopped while a container may still be using its grace period.
func (s *Syncer) stopPod(ctx context.Context, pod *corev1.Pod, state *cri.PodState, grace time.Duration) error {
	if err := s.stopContainers(ctx, pod, state, grace); err != nil {
		return err
	}
	var errs []error
	for _, sandbox := range state.Sandboxes {
		if err := s.rooms.Runtime.StopPodSandbox(ctx, sandbox.GetId()); err != nil && !cri.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// stopContainers stops the regular containers side by side, then the sidecars
// one by one in the reverse of the order in which they started (KEP-753), with
// what is left of the grace period. When nothing is left, nobody waits for a turn.
func (s *Syncer) stopContainers(ctx context.Context, pod *corev1.Pod, state *cri.PodState, grace time.Duration) error {
	deadline := time.Now().Add(grace)
	regular, sidecars := stopOrder(pod, state)
	errs := []error{s.stopTogether(ctx, pod, regular, grace)}
	for len(sidecars) > 0 {
		left, turn := time.Until(deadline), sidecars[:1]
		if left <= 0 {
			turn = sidecars
		}
		errs = append(errs, s.stopTogether(ctx, pod, turn, left))
		sidecars = sidecars[len(turn):]
	}
	return errors.Join(errs...)
}

func (s *Syncer) stopTogether(ctx context.Context, pod *corev1.Pod, containers []*cri.Container, grace time.Duration) error {
	var group errgroup.Group
	for _, c := range containers {
		group.Go(func() error { return s.stopContainer(ctx, pod, c, grace, "its sandbox ends") })
	}
	return group.Wait()
}

// stopOrder returns the containers that may be running: those to stop at once,
// and the sidecars in the order in which to stop them.
func stopOrder(pod *corev1.Pod, state *cri.PodState) (regular, sidecars []*cri.Container) {
	position := map[string]int{}
	for i := range pod.Spec.InitContainers {
		if isSidecar(&pod.Spec.InitContainers[i]) {
			position[pod.Spec.InitContainers[i].Name] = i
		}
	}
	for _, c := range state.Containers {
		if !mayRun(c) {
			continue
		}
		if _, sidecar := position[c.Name()]; sidecar {
			sidecars = append(sidecars, c)
		} else {
			regular = append(regular, c)
		}
	}
	slices.SortStableFunc(sidecars, func(a, b *cri.Container) int { return position[b.Name()] - position[a.Name()] })
	return regular, sidecars
}

func mayRun(c *cri.Container) bool {
	return c.Running() || c.GetState() == runtimeapi.ContainerState_CONTAINER_UNKNOWN
}

func neverStarted(c *cri.Container) bool {
	return c.GetState() == runtimeapi.ContainerState_CONTAINER_CREATED
}

// stopContainer stops one container. One that is gone is stopped.
func (s *Syncer) stopContainer(ctx context.Context, pod *corev1.Pod, c *cri.Container, grace time.Duration, why string) error {
	grace = max(grace, minStopTimeout)
	s.logger.Info("stopping container", podFields(pod,
		zap.String("container", c.Name()), zap.String("id", c.GetId()), zap.String("why", why), zap.Duration("grace", grace))...)
	if err := s.rooms.Runtime.StopContainer(ctx, c.GetId(), wholeSeconds(grace)); err != nil && !cri.IsNotFound(err) {
		return err
	}
	return nil
}

func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// gracePeriod is how long the pod's containers get to end by themselves.
func gracePeriod(pod *corev1.Pod) time.Duration {
	for _, seconds := range []*int64{pod.DeletionGracePeriodSeconds, pod.Spec.TerminationGracePeriodSeconds} {
		if seconds != nil {
			return time.Duration(*seconds) * time.Second
		}
	}
	return defaultGracePeriod
}

func podFields(pod *corev1.Pod, more ...zap.Field) []zap.Field {
	return append([]zap.Field{
		zap.String("pod", pod.Namespace+"/"+pod.Name),
		zap.String("uid", string(pod.UID)),
	}, more...)
}
