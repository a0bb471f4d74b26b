package podsync

import (
	"context"
	"errors"
	"fmt"
	"math"
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
// then its sandboxes, gives its volumes back, removes its cgroup and publishes its
// final status. It returns nil only when nothing of the pod runs. It is idempotent;
// when ctx ends it gives up, and a later call goes on.
func (s *Syncer) Kill(ctx context.Context, pod *corev1.Pod, grace time.Duration) error {
	rec := s.record(pod.UID)
	state, err := s.rooms.Observer.State(ctx, pod.UID, rec.acted)
	if err != nil {
		return fmt.Errorf("observe pod: %w", err)
	}
	rec.messages = messages(state, rec.messages)
	s.publishEnd(pod, state, rec, false)
	if len(state.Sandboxes)+len(state.Containers) > 0 {
		err = s.stopPod(ctx, pod, state, grace, rec)
		s.done(pod, rec)
		if err != nil {
			s.warn(ctx, pod, nil, eventFailedKill, "error killing pod: "+cri.Message(err))
			return err
		}
		if state, err = s.rooms.Observer.State(ctx, pod.UID, rec.acted); err != nil {
			return fmt.Errorf("observe pod after it was stopped: %w", err)
		}
	}
	if what := whatRuns(state); what != "" {
		return fmt.Errorf("%s still runs after it was stopped", what)
	}
	rec.messages = messages(state, rec.messages) // they go with the volumes
	if err := s.rooms.Volumes.Unmount(ctx, pod.UID); err != nil {
		return fmt.Errorf("unmount volumes: %w", err)
	}
	if err := s.rooms.Cgroups.Remove(ctx, pod.UID); err != nil {
		return err
	}
	s.publishEnd(pod, state, rec, true)
	s.rooms.Images.Forget(pod.UID)
	s.forget(pod)
	return nil
}

// publishEnd publishes the status of a pod that ends, or has ended, unless it is an
// orphan, which nobody knows. A resize goes no further.
func (s *Syncer) publishEnd(pod *corev1.Pod, state *cri.PodState, rec *record, ended bool) {
	if isSkeleton(pod) {
		return
	}
	s.rooms.Status(pod, Observation{
		State: state, Messages: rec.messages, Resize: Resize{Allocated: s.Allocated(pod)}, Failure: rec.failure,
		Ending: true, Ended: ended,
	})
}

// stopPod stops the containers and then the sandboxes. A sandbox is never
// stopped while a container may still be using its grace period.
func (s *Syncer) stopPod(ctx context.Context, pod *corev1.Pod, state *cri.PodState, grace time.Duration, rec *record) error {
	if err := s.stopContainers(ctx, pod, state, grace, rec); err != nil {
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
// one by one in the reverse of the order in which they started (KEP-753). The
// preStop hooks of all run at once. All of it takes no longer than grace: when that
// is spent, nobody waits for a turn.
func (s *Syncer) stopContainers(ctx context.Context, pod *corev1.Pod, state *cri.PodState, grace time.Duration, rec *record) error {
	end := time.Now().Add(grace)
	var all errgroup.Group
	turn := make(chan struct{})
	close(turn)
	for _, together := range stopOrder(pod, state) {
		mine, next := turn, make(chan struct{})
		var stopping errgroup.Group
		for _, c := range together {
			hook := s.takePreStop(pod, c, firstOf(state.IPs), end, rec)
			stopping.Go(func() error {
				s.preStop(ctx, pod, c, hook, end)
				awaitTurn(ctx, mine, end)
				return s.stopContainer(ctx, pod, c, time.Until(end), "")
			})
		}
		all.Go(func() error {
			defer close(next)
			return stopping.Wait()
		})
		turn = next
	}
	return all.Wait()
}

func awaitTurn(ctx context.Context, turn <-chan struct{}, end time.Time) {
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	select {
	case <-turn:
	case <-ctx.Done():
	}
}

// stopOrder returns the containers that may be running, in groups of those that
// are stopped together, one group after the other.
func stopOrder(pod *corev1.Pod, state *cri.PodState) [][]*cri.Container {
	position := map[string]int{}
	for i := range pod.Spec.InitContainers {
		if cri.IsSidecar(&pod.Spec.InitContainers[i]) {
			position[pod.Spec.InitContainers[i].Name] = i
		}
	}
	order := [][]*cri.Container{nil}
	for _, c := range state.Containers {
		_, sidecar := position[c.Name()]
		switch {
		case !mayRun(c):
		case sidecar:
			order = append(order, []*cri.Container{c})
		default:
			order[0] = append(order[0], c)
		}
	}
	slices.SortStableFunc(order[1:], func(a, b []*cri.Container) int { return position[b[0].Name()] - position[a[0].Name()] })
	return order
}

// hook is a handler and what it is for.
type hook struct {
	handler *corev1.LifecycleHandler
	target  hookTarget
}

// takePreStop returns the preStop hook that is to be run before the container is
// stopped, nil if there is none. Each is run once: when the stop is cut short or
// fails, the next one does not begin with the hook again.
func (s *Syncer) takePreStop(pod *corev1.Pod, c *cri.Container, podIP string, end time.Time, rec *record) *hook {
	handler, ports := preStopOf(pod, c)
	if handler == nil || !c.Running() || !time.Now().Before(end) || rec.hooked[c.GetId()] {
		return nil
	}
	rec.hooked[c.GetId()] = true
	return &hook{handler, hookTarget{containerID: c.GetId(), podIP: s.hookIP(pod, podIP), ports: ports}}
}

// preStop runs the preStop hook, if there is one, until it ends, but no longer
// than until the end of the grace period. A hook that fails stops nothing.
func (s *Syncer) preStop(ctx context.Context, pod *corev1.Pod, c *cri.Container, hook *hook, end time.Time) {
	if hook == nil {
		return
	}
	inTime, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	if err := s.runHook(inTime, hook.handler, hook.target); err != nil {
		s.logger.Warn("preStop hook failed", podFields(pod, zap.String("container", c.Name()), zap.Error(err))...)
		s.warn(ctx, pod, specOf(pod, c.Name()), eventFailedPreStop, "PreStopHook failed")
	}
}

// preStopOf finds the hook in the spec, or, of a container that is not in it, as
// of an orphan, in its annotations.
func preStopOf(pod *corev1.Pod, c *cri.Container) (*corev1.LifecycleHandler, []corev1.ContainerPort) {
	spec := specOf(pod, c.Name())
	switch {
	case spec.Lifecycle != nil:
		return spec.Lifecycle.PreStop, spec.Ports
	case !inSpec(pod, c.Name()):
		info := c.Info()
		return info.PreStop, info.Ports
	default:
		return nil, nil
	}
}

// hookIP is where HTTP hooks of the pod go.
func (s *Syncer) hookIP(pod *corev1.Pod, podIP string) string {
	if podIP == "" && pod.Spec.HostNetwork {
		return firstOf(s.cfg.HostIPs())
	}
	return podIP
}

func firstOf(ips []string) string {
	if len(ips) == 0 {
		return ""
	}
	return ips[0]
}

func mayRun(c *cri.Container) bool {
	return c.Running() || c.GetState() == runtimeapi.ContainerState_CONTAINER_UNKNOWN
}

func neverStarted(c *cri.Container) bool {
	return c.GetState() == runtimeapi.ContainerState_CONTAINER_CREATED
}

// stopContainer stops one container, its preStop hook done. One that is gone is
// stopped. why is told where there is more to say than that it is stopped.
func (s *Syncer) stopContainer(ctx context.Context, pod *corev1.Pod, c *cri.Container, grace time.Duration, why string) error {
	grace = max(grace, minStopTimeout)
	if why == "" {
		why = "Stopping container " + c.Name()
	}
	s.tell(pod, specOf(pod, c.Name()), eventKilling, why)
	s.logger.Info("stopping container", podFields(pod,
		zap.String("container", c.Name()), zap.String("id", c.GetId()), zap.String("why", why), zap.Duration("grace", grace))...)
	if err := s.rooms.Runtime.StopContainer(ctx, c.GetId(), wholeSeconds(grace)); err != nil && !cri.IsNotFound(err) {
		return err
	}
	return nil
}

// wholeSeconds rounds up what is more than nothing.
func wholeSeconds(d time.Duration) int64 { return int64((d-1)/time.Second) + 1 }

// inSeconds is a span of so many, or the longest there is: who asks for more than
// three centuries must not get none.
func inSeconds(n int64) time.Duration {
	return time.Duration(min(n, math.MaxInt64/int64(time.Second))) * time.Second
}

// gracePeriod is how long the pod's containers get to end by themselves.
func gracePeriod(pod *corev1.Pod) time.Duration {
	for _, seconds := range []*int64{pod.DeletionGracePeriodSeconds, pod.Spec.TerminationGracePeriodSeconds} {
		if seconds != nil {
			return inSeconds(*seconds)
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
