package podsync

import (
	"context"
	"errors"
	"fmt"

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
		if isSidecar(&pod.Spec.InitContainers[i]) {
			add(&pod.Spec.InitContainers[i])
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return wanted
}

// resizeAll resizes containers in place. One that cannot be resized runs on with
// what it has, and is tried again.
func (s *Syncer) resizeAll(ctx context.Context, pod *corev1.Pod, resizes []resize, rec *record) error {
	var errs []error
	for _, each := range resizes {
		name, id := each.container.Name(), each.container.GetId()
		err := s.rooms.Runtime.UpdateContainerResources(ctx, id, &runtimeapi.ContainerResources{Linux: each.resources})
		if err != nil {
			s.warn(ctx, pod, specOf(pod, name), eventResizeError, "Pod resize error: "+cri.Message(err))
			errs = append(errs, fmt.Errorf("resize container %q: %w", name, err))
			continue
		}
		rec.resized[id] = each.resources.String()
		s.tell(pod, specOf(pod, name), eventResized, "Pod resize completed: container "+name)
		s.logger.Info("container resized", podFields(pod, zap.String("container", name), zap.String("id", id))...)
	}
	return errors.Join(errs...)
}
