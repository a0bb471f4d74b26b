package podspec

import (
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const etcHosts = "/etc/hosts"

// mounts lists the volumes of the container in the order of its spec, then the
// files that the agent provides.
func mounts(pod *corev1.Pod, c located, opts ContainerOptions) ([]*runtimeapi.Mount, error) {
	volumes := volumeSources(pod)
	var list []*runtimeapi.Mount
	for i, wanted := range c.VolumeMounts {
		path := c.path.Child("volumeMounts").Index(i)
		mount, err := volumeMount(wanted, volumes[wanted.Name], opts, path)
		if err != nil {
			return nil, err
		}
		if source := volumes[wanted.Name]; source != nil && source.Image != nil {
			err = mountImage(mount, wanted, source.Image, opts, path)
		} else {
			mount.HostPath, err = hostPath(wanted, i, c, opts)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, mount)
	}
	return append(list, agentMounts(pod, c, opts)...), nil
}

// hostPath is where what the container mounts is on the host.
func hostPath(wanted corev1.VolumeMount, index int, c located, opts ContainerOptions) (string, error) {
	if opts.Mounts[wanted.Name] == "" {
		return "", fmt.Errorf("cannot find volume %q to mount into container %q", wanted.Name, c.Name)
	}
	if wanted.SubPath == "" && wanted.SubPathExpr == "" {
		return opts.Mounts[wanted.Name], nil
	}
	if opts.SubPaths[index] == "" {
		return "", fmt.Errorf("cannot find the sub path of volume %q to mount into container %q", wanted.Name, c.Name)
	}
	return opts.SubPaths[index], nil
}

// mountImage has the runtime mount an image (KEP-4639), which is read-only. Of a
// part of it is not known whether the runtime takes note: containerd 2.1 mounts the
// whole.
func mountImage(mount *runtimeapi.Mount, wanted corev1.VolumeMount, source *corev1.ImageVolumeSource, opts ContainerOptions, path *field.Path) error {
	image := opts.ImageVolumes[wanted.Name]
	if image.GetId() == "" {
		return fmt.Errorf("image %q of volume %q is not resolved", source.Reference, wanted.Name)
	}
	if wanted.SubPath != "" || wanted.SubPathExpr != "" {
		return unsupported(path.Child("subPath"))
	}
	mount.Image = &runtimeapi.ImageSpec{Image: image.GetId(), UserSpecifiedImage: source.Reference}
	mount.Readonly = true
	return nil
}

func volumeMount(wanted corev1.VolumeMount, source *corev1.VolumeSource, opts ContainerOptions, path *field.Path) (*runtimeapi.Mount, error) {
	propagation, err := mountPropagation(wanted.MountPropagation, path.Child("mountPropagation"))
	if err != nil {
		return nil, err
	}
	recursive, err := recursiveReadOnly(wanted, opts.RecursiveReadOnly, path.Child("recursiveReadOnly"))
	if err != nil {
		return nil, err
	}
	return &runtimeapi.Mount{
		ContainerPath:     absolute(wanted.MountPath),
		Readonly:          wanted.ReadOnly || readOnlyVolume(source),
		RecursiveReadOnly: recursive,
		SelinuxRelabel:    madeByAgent(source),
		Propagation:       propagation,
	}, nil
}

// agentMounts are the hosts file, unless the container brings its own or the
// pod has no address yet, and the file for the termination message.
func agentMounts(pod *corev1.Pod, c located, opts ContainerOptions) []*runtimeapi.Mount {
	var list []*runtimeapi.Mount
	hasAddress := len(opts.PodIPs) > 0 || pod.Spec.HostNetwork
	if opts.HostsFile != "" && hasAddress && !mountsAt(c.VolumeMounts, etcHosts) {
		list = append(list, agentFile(opts.HostsFile, etcHosts))
	}
	if opts.TermMessageFile != "" && c.TerminationMessagePath != "" {
		list = append(list, agentFile(opts.TermMessageFile, absolute(c.TerminationMessagePath)))
	}
	return list
}

func agentFile(hostPath, containerPath string) *runtimeapi.Mount {
	return &runtimeapi.Mount{HostPath: hostPath, ContainerPath: containerPath, SelinuxRelabel: true}
}

func mountsAt(mounts []corev1.VolumeMount, containerPath string) bool {
	for _, mount := range mounts {
		if mount.MountPath == containerPath {
			return true
		}
	}
	return false
}

func absolute(containerPath string) string {
	if path.IsAbs(containerPath) {
		return containerPath
	}
	return "/" + containerPath
}

func mountPropagation(mode *corev1.MountPropagationMode, path *field.Path) (runtimeapi.MountPropagation, error) {
	switch deref(mode) {
	case "", corev1.MountPropagationNone:
		return runtimeapi.MountPropagation_PROPAGATION_PRIVATE, nil
	case corev1.MountPropagationHostToContainer:
		return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER, nil
	case corev1.MountPropagationBidirectional:
		return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL, nil
	}
	return 0, field.NotSupported(path, *mode, propagationModes)
}

// recursiveReadOnly decides whether mounts below the volume are read-only too.
func recursiveReadOnly(mount corev1.VolumeMount, supported bool, path *field.Path) (bool, error) {
	mode := deref(mount.RecursiveReadOnly)
	if mode == "" || mode == corev1.RecursiveReadOnlyDisabled {
		return false, nil
	}
	if errs := validateRecursiveReadOnly(mount, path); len(errs) > 0 {
		return false, errs[0]
	}
	if mode == corev1.RecursiveReadOnlyEnabled && !supported {
		return false, field.Forbidden(path, "the runtime cannot mount recursively read-only")
	}
	return supported, nil
}

// readOnlyVolume reports whether no container may write to the volume: its
// content comes from elsewhere, or its source says so.
func readOnlyVolume(source *corev1.VolumeSource) bool {
	switch {
	case source == nil:
		return false
	case source.PersistentVolumeClaim != nil:
		return source.PersistentVolumeClaim.ReadOnly
	case source.CSI != nil:
		return deref(source.CSI.ReadOnly)
	}
	return source.ConfigMap != nil || source.Secret != nil || source.DownwardAPI != nil || source.Projected != nil
}

// madeByAgent reports whether the volume is the agent's own files, which the
// runtime may label for SELinux as it labels the container's.
func madeByAgent(source *corev1.VolumeSource) bool {
	return source != nil && (source.EmptyDir != nil || source.ConfigMap != nil || source.Secret != nil ||
		source.DownwardAPI != nil || source.Projected != nil)
}
