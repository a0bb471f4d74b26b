package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// SubPaths returns the parts of volumes that the container mounts, by the index of
// the mount, with the variables of the container's environment in them replaced.
// Those of volumes of kind image are not among them: the runtime finds them. Of the
// options it needs what the environment needs. A variable that is not set, or empty,
// is an error, as is a path that would lead out of the volume. Errors are *Error.
func SubPaths(pod *corev1.Pod, container *corev1.Container, opts ContainerOptions) (map[int]string, error) {
	paths, err := subPaths(pod, locate(pod, container), opts)
	if err != nil {
		return nil, &Error{Reason: ReasonContainerConfig, Err: err}
	}
	return paths, nil
}

func subPaths(pod *corev1.Pod, c located, opts ContainerOptions) (map[int]string, error) {
	volumes := volumeSources(pod)
	paths := make(map[int]string)
	for i, mount := range c.VolumeMounts {
		if source := volumes[mount.Name]; source != nil && source.Image != nil {
			continue
		}
		path := c.path.Child("volumeMounts").Index(i)
		subPath, child := mount.SubPath, path.Child("subPath")
		if mount.SubPathExpr != "" {
			var err error
			child = path.Child("subPathExpr")
			if subPath, err = expandSubPath(pod, c, opts, mount.SubPathExpr); err != nil {
				return nil, fmt.Errorf("%s: %w", child, err)
			}
		}
		if subPath == "" {
			continue
		}
		if errs := descending(child, subPath); len(errs) > 0 {
			return nil, errs[0]
		}
		paths[i] = subPath
	}
	return paths, nil
}

func expandSubPath(pod *corev1.Pod, c located, opts ContainerOptions, expr string) (string, error) {
	env, err := environment(pod, c, opts)
	if err != nil {
		return "", err
	}
	var missing error
	subPath := expand(expr, func(name string) (string, bool) {
		value, _ := env.lookup(name)
		if value == "" && missing == nil {
			missing = fmt.Errorf("missing value for %q", name)
		}
		return value, true
	})
	return subPath, missing
}
