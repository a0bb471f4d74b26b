package podsync

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/podmanager/podspec"
)

// recursiveReadOnly reports whether the runtime can mount read-only what lies below a
// mount, too (KEP-3857). It is asked only for containers with such a mount.
func (s *Syncer) recursiveReadOnly(ctx context.Context, pod *corev1.Pod, spec *corev1.Container) (bool, error) {
	wanted := func(mount corev1.VolumeMount) bool {
		return mount.RecursiveReadOnly != nil && *mount.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled
	}
	if !slices.ContainsFunc(spec.VolumeMounts, wanted) {
		return false, nil
	}
	handler, err := podspec.RuntimeHandler(pod, s.cfg.Sandbox.RuntimeHandlers)
	if err != nil {
		return false, err
	}
	response, err := s.rooms.Runtime.Status(ctx, false)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(response.GetRuntimeHandlers(), func(h *runtimeapi.RuntimeHandler) bool {
		return h.GetName() == handler && h.GetFeatures().GetRecursiveReadOnlyMounts()
	}), nil
}
