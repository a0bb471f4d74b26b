package podsync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/podmanager/podspec"
)

// wantedResources is what the pod's regular containers and sidecars are to have,
// by name. One whose resources cannot be configured is left out: its start tells.
func (s *Syncer) wantedResources(pod *corev1.Pod) map[string]*runtimeapi.LinuxContainerResources {
	wanted := map[string]*runtimeapi.LinuxContainerResources{}
	add := func(spec *corev1.Container) {
		if resources, err := podspec.Resources(pod, spec, s.cfg.Container); err == nil {
			wanted[spec.Name] = resources
		}
	}
	for i := range pod.Spec.InitContainers {
		if cri.IsSidecar(&pod.Spec.InitContainers[i]) {
			add(&pod.Spec.InitContainers[i])
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return wanted
}

// resize gives the container its resources. The kernel may kill it to take away
// memory that is in use, and so that is not tried.
func (s *Syncer) resize(ctx context.Context, each resize) error {
	id, limit := each.container.GetId(), each.resources.GetMemoryLimitInBytes()
	if lowers(each.container.GetResources().GetLinux().GetMemoryLimitInBytes(), limit) {
		stats, err := s.rooms.Runtime.ContainerStats(ctx, id)
		if err != nil {
			return err
		}
		if used := stats.GetMemory().GetUsageBytes().GetValue(); used >= uint64(limit) {
			return fmt.Errorf("memory limit of %d bytes is not more than the %d bytes in use", limit, used)
		}
	}
	return s.rooms.Runtime.UpdateContainerResources(ctx, id, &runtimeapi.ContainerResources{Linux: each.resources})
}

// lowers reports whether a limit is less than the one before it; 0 or less is none.
func lowers(before, limit int64) bool {
	return limit > 0 && (before <= 0 || limit < before)
}

// noteResize takes over what is to be done of a resize. One of which nothing is left
// to do has met no trouble.
func (r *record) noteResize(todo actions) {
	r.resize.Acting = todo.resizing
	if !todo.resizing {
		r.resize.Error = ""
	}
}

// retryAt is when to ask again for what was refused, zero if nothing was.
func (r Resize) retryAt(now time.Time) time.Time {
	if r.Reason != corev1.PodReasonDeferred {
		return time.Time{}
	}
	return now.Add(deferredRetry)
}

// resizeAll resizes containers in place. One that cannot be resized runs on with
// what it has, and is tried again.
func (s *Syncer) resizeAll(ctx context.Context, pod *corev1.Pod, resizes []resize, rec *record) error {
	var errs []error
	for _, each := range resizes {
		name, id := each.container.Name(), each.container.GetId()
		if err := s.resize(ctx, each); err != nil {
			rec.resize.Error = cri.Message(err)
			s.warn(ctx, pod, specOf(pod, name), eventResizeError, "Pod resize error: "+cri.Message(err))
			errs = append(errs, fmt.Errorf("resize container %q: %w", name, err))
			continue
		}
		rec.resized[id] = each.resources.String()
		s.tell(pod, specOf(pod, name), eventResized, "Pod resize completed: container "+name)
		s.logger.Info("container resized", podFields(pod, zap.String("container", name), zap.String("id", id))...)
	}
	if len(errs) == 0 {
		rec.resize.Error = ""
	}
	return errors.Join(errs...)
}
