package podsync

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/podmanager/podspec"
)

// prepareVolumes adds to the options what the container mounts beside whole volumes
// of the node: parts of them and images. The images stay on the node until release
// is called.
func (s *Syncer) prepareVolumes(
	ctx context.Context, pod *corev1.Pod, spec *corev1.Container, sandbox *runtimeapi.PodSandboxConfig, options *podspec.ContainerOptions,
) (release func(), err error) {
	if s.groups != nil {
		options.VolumeGroups = s.groups.Groups(pod.UID)
	}
	if err := s.prepareSubPaths(ctx, pod, spec, options); err != nil {
		return nil, err
	}
	return s.pullImageVolumes(ctx, pod, spec, sandbox, options)
}

func (s *Syncer) prepareSubPaths(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, options *podspec.ContainerOptions) error {
	wanted, err := podspec.SubPaths(pod, spec, *options)
	if err != nil || len(wanted) == 0 {
		return err
	}
	if s.parts == nil {
		return &startError{reasonCreateConfig, errors.New("no provider of sub paths is configured")}
	}
	options.SubPaths = make(map[int]string, len(wanted))
	for index, subPath := range wanted {
		path, err := s.parts.SubPath(ctx, pod, spec.Name, index, options.Mounts[spec.VolumeMounts[index].Name], subPath)
		if err != nil {
			return &startError{reasonCreateConfig, err}
		}
		options.SubPaths[index] = path
	}
	return nil
}

// pullImageVolumes makes the images present that the container mounts.
func (s *Syncer) pullImageVolumes(
	ctx context.Context, pod *corev1.Pod, spec *corev1.Container, sandbox *runtimeapi.PodSandboxConfig, options *podspec.ContainerOptions,
) (release func(), err error) {
	var releases []func()
	release = func() {
		for _, each := range releases {
			each()
		}
	}
	options.ImageVolumes = map[string]*runtimeapi.Image{}
	for _, mount := range spec.VolumeMounts {
		source := imageSource(pod, mount.Name)
		if source == nil || options.ImageVolumes[mount.Name] != nil {
			continue
		}
		wanted := &corev1.Container{Name: spec.Name, Image: source.Reference, ImagePullPolicy: source.PullPolicy}
		image, done, err := s.rooms.Images.Ensure(ctx, pod, wanted, sandbox)
		if err != nil {
			release()
			return nil, err
		}
		releases = append(releases, done)
		options.ImageVolumes[mount.Name] = image
	}
	return release, nil
}

func imageSource(pod *corev1.Pod, volume string) *corev1.ImageVolumeSource {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == volume {
			return pod.Spec.Volumes[i].Image
		}
	}
	return nil
}
