package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// unsupportedInPod reports a field of the pod that this package cannot honour
// yet, and that makes the pod something else when it is ignored.
func unsupportedInPod(pod *corev1.Pod) error {
	spec := &pod.Spec
	switch {
	case spec.HostUsers != nil && !*spec.HostUsers:
		return unsupported(specPath.Child("hostUsers"))
	case len(spec.ResourceClaims) > 0:
		return unsupported(specPath.Child("resourceClaims"))
	case spec.Resources != nil && len(spec.Resources.Limits)+len(spec.Resources.Requests) > 0:
		return unsupported(specPath.Child("resources"))
	case spec.OS != nil && spec.OS.Name != corev1.Linux:
		return unsupported(specPath.Child("os", "name"))
	}
	return nil
}

// unsupportedInContainer is the same for a container.
func unsupportedInContainer(c located) error {
	if len(c.Resources.Claims) > 0 {
		return unsupported(c.path.Child("resources", "claims"))
	}
	for _, name := range sortedNames(c.Resources.Limits) {
		if !computeResource(name) {
			return unsupported(c.path.Child("resources", "limits").Key(string(name)))
		}
	}
	for i := range c.Env {
		if source := c.Env[i].ValueFrom; source != nil && source.FileKeyRef != nil {
			return unsupported(c.path.Child("env").Index(i).Child("valueFrom", "fileKeyRef"))
		}
	}
	for i := range c.VolumeMounts {
		if err := unsupportedInMount(&c.VolumeMounts[i], c.path.Child("volumeMounts").Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func unsupportedInMount(mount *corev1.VolumeMount, path *field.Path) error {
	if len(mount.BindMountOptions) > 0 {
		return unsupported(path.Child("bindMountOptions"))
	}
	return nil
}

func unsupported(path *field.Path) error { return fmt.Errorf("%s: not supported yet", path) }
