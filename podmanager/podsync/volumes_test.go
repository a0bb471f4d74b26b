package podsync_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/podmanager/podsync"
)

// partedVolumes have a volume "data" with parts, which belongs to a group.
type partedVolumes struct {
	volumes
	fail error
}

func (v *partedVolumes) Mount(context.Context, *corev1.Pod) (map[string]string, error) {
	return map[string]string{"data": "/volumes/data"}, nil
}

func (v *partedVolumes) SubPath(_ context.Context, pod *corev1.Pod, container string, index int, volumePath, subPath string) (string, error) {
	return fmt.Sprintf("/parts/%s/%s/%d%s/%s", pod.UID, container, index, volumePath, subPath), v.fail
}

func (v *partedVolumes) Groups(types.UID) []int64 { return []int64{4711} }

func mountsParts() *corev1.Pod {
	pod := podOf("app")
	pod.Spec.Volumes = []corev1.Volume{{Name: "data"}, {Name: "model", VolumeSource: corev1.VolumeSource{
		Image: &corev1.ImageVolumeSource{Reference: "models/llm:1", PullPolicy: corev1.PullIfNotPresent},
	}}}
	c := &pod.Spec.Containers[0]
	c.Env = []corev1.EnvVar{{Name: "WHO", Value: "me"}}
	c.VolumeMounts = []corev1.VolumeMount{
		{Name: "data", MountPath: "/a", SubPath: "a"},
		{Name: "data", MountPath: "/b", SubPathExpr: "b/$(WHO)"},
		{Name: "model", MountPath: "/model"},
	}
	return pod
}

// syncOnce syncs the pod once with the volumes, and returns the configuration of
// its container, nil if none was made.
func (s *stage) syncOnce(pod *corev1.Pod, volumes podsync.Volumes) *runtimeapi.ContainerConfig {
	var made *runtimeapi.ContainerConfig
	runtime := &spy{Runtime: s.client, created: func(config *runtimeapi.ContainerConfig) { made = config }}
	cfg := podsync.Config{Root: s.logs + "/root", LogLinks: s.logs + "/links", Recorder: s}
	cfg.Sandbox.LogRoot = s.logs + "/pods"
	_, _ = podsync.New(podsync.Rooms{
		Runtime: runtime, Observer: s.observe, Images: s.images, Volumes: volumes, Status: s.see,
	}, cfg).Sync(s.t.Context(), pod)
	return made
}

func TestPartsAndImagesAreMounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := mountsParts()
		config := s.syncOnce(pod, &partedVolumes{})
		require.NotNil(t, config)
		at := make(map[string]*runtimeapi.Mount)
		for _, mount := range config.Mounts {
			at[mount.ContainerPath] = mount
		}
		assert.Equal(t, "/parts/"+string(pod.UID)+"/app/0/volumes/data/a", at["/a"].HostPath)
		assert.Equal(t, "/parts/"+string(pod.UID)+"/app/1/volumes/data/b/me", at["/b"].HostPath)
		require.NotNil(t, at["/model"].Image)
		assert.Equal(t, "models/llm:1", at["/model"].Image.UserSpecifiedImage)
		assert.NotEmpty(t, at["/model"].Image.Image)
		assert.Contains(t, config.Linux.SecurityContext.SupplementalGroups, int64(4711))
	})
}

func TestAContainerWaitsForItsParts(t *testing.T) {
	tests := map[string]struct {
		volumes podsync.Volumes
		images  map[string]error
		message string
	}{
		"refused":     {volumes: &partedVolumes{fail: errors.New("it leads out of the volume")}, message: "it leads out of the volume"},
		"no provider": {volumes: &volumes{}, message: "no provider of sub paths is configured"},
		"no image": {
			volumes: &partedVolumes{}, images: map[string]error{"models/llm:1": errors.New("there is no such image")},
			message: "there is no such image",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				s.images.fail = test.images
				assert.Nil(t, s.syncOnce(mountsParts(), test.volumes))
				s.mu.Lock()
				defer s.mu.Unlock()
				assert.Equal(t, test.message, s.seen[len(s.seen)-1].Waiting["app"].Message)
			})
		})
	}
}
