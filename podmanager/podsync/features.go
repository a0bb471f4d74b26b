package podsync

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/podmanager/podspec"
)

// runtimeFeatures notes whether the runtime can what not every runtime can: mount
// read-only what lies below a mount, too (KEP-3857), and give no groups but the pod's
// (KEP-3619). It is asked only for containers that want one of them.
func (s *Syncer) runtimeFeatures(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, options *podspec.ContainerOptions) error {
	if !slices.ContainsFunc(spec.VolumeMounts, recursiveReadOnly) && !strictGroups(pod) {
		return nil
	}
	handler, err := podspec.RuntimeHandler(pod, s.cfg.Sandbox.RuntimeHandlers)
	if err != nil {
		return err
	}
	response, err := s.rooms.Runtime.Status(ctx, false)
	if err != nil {
		return err
	}
	options.StrictGroups = response.GetFeatures().GetSupplementalGroupsPolicy()
	options.RecursiveReadOnly = slices.ContainsFunc(response.GetRuntimeHandlers(), func(h *runtimeapi.RuntimeHandler) bool {
		return h.GetName() == handler && h.GetFeatures().GetRecursiveReadOnlyMounts()
	})
	return nil
}

func recursiveReadOnly(mount corev1.VolumeMount) bool {
	return mount.RecursiveReadOnly != nil && *mount.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled
}

func strictGroups(pod *corev1.Pod) bool {
	security := pod.Spec.SecurityContext
	return security != nil && security.SupplementalGroupsPolicy != nil &&
		*security.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict
}
