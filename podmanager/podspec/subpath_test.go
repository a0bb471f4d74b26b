package podspec_test

import (
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// mountingPod is a pod whose container has the variables POD=gw and EMPTY=.
func mountingPod(mounts ...corev1.VolumeMount) *corev1.Pod {
	return newPod(spec(func(s *corev1.PodSpec) {
		s.Volumes = []corev1.Volume{{Name: "data"}, {Name: "model", VolumeSource: corev1.VolumeSource{
			Image: &corev1.ImageVolumeSource{Reference: "models/llm:1"},
		}}, {Name: "image", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "x"}}}}
		s.Containers = []corev1.Container{{
			Name: "app", Image: "x", VolumeMounts: mounts,
			Env: []corev1.EnvVar{{Name: "POD", Value: "gw"}, {Name: "EMPTY"}, {Name: "UP", Value: "../up"}},
		}}
	}))
}

func TestSubPathsAreExpanded(t *testing.T) {
	pod := mountingPod(
		corev1.VolumeMount{Name: "data", MountPath: "/all"},
		corev1.VolumeMount{Name: "data", MountPath: "/a", SubPath: "a/$(POD)"},
		corev1.VolumeMount{Name: "data", MountPath: "/b", SubPathExpr: "logs/$(POD)/$$(POD)"},
		corev1.VolumeMount{Name: "model", MountPath: "/m"},
	)
	paths, err := podspec.SubPaths(pod, &pod.Spec.Containers[0], podspec.ContainerOptions{})
	require.NoError(t, err)
	assert.Equal(t, map[int]string{1: "a/$(POD)", 2: "logs/gw/$(POD)"}, paths)

	config, err := podspec.Container(pod, &pod.Spec.Containers[0], options(func(o *podspec.ContainerOptions) {
		o.Mounts = map[string]string{"data": "/volumes/data"}
		o.SubPaths = map[int]string{1: "/parts/1", 2: "/parts/2"}
		o.ImageVolumes = map[string]*runtimeapi.Image{"model": {Id: "sha256:llm"}}
		o.VolumeGroups = []int64{4711}
	}))
	require.NoError(t, err)
	assert.Equal(t, "/volumes/data", config.Mounts[0].HostPath)
	assert.Equal(t, "/parts/1", config.Mounts[1].HostPath)
	assert.Equal(t, "/parts/2", config.Mounts[2].HostPath)
	assert.Equal(t, &runtimeapi.Mount{
		ContainerPath: "/m", Readonly: true,
		Image: &runtimeapi.ImageSpec{Image: "sha256:llm", UserSpecifiedImage: "models/llm:1"},
	}, config.Mounts[3])
	assert.Contains(t, config.Linux.SecurityContext.SupplementalGroups, int64(4711))
}

func TestSubPathsThatCannotBe(t *testing.T) {
	for name, test := range map[string]struct {
		mount corev1.VolumeMount
		err   string
	}{
		"variable that is not set": {corev1.VolumeMount{Name: "data", SubPathExpr: "a/$(NONE)"}, `spec.containers[0].volumeMounts[0].subPathExpr: missing value for "NONE"`},
		"empty variable":           {corev1.VolumeMount{Name: "data", SubPathExpr: "$(EMPTY)"}, `missing value for "EMPTY"`},
		"expands to one that climbs": {
			corev1.VolumeMount{Name: "data", SubPathExpr: "$(UP)"}, "spec.containers[0].volumeMounts[0].subPathExpr: Invalid value",
		},
		"absolute": {corev1.VolumeMount{Name: "data", SubPath: "/etc"}, "must be a relative path"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := mountingPod(test.mount)
			_, err := podspec.SubPaths(pod, &pod.Spec.Containers[0], podspec.ContainerOptions{})
			assert.Contains(t, requireReason(t, err, podspec.ReasonContainerConfig), test.err)
		})
	}
}

func TestPartsThatWereNotPrepared(t *testing.T) {
	for want, mount := range map[string]corev1.VolumeMount{
		`cannot find the sub path of volume "data" to mount into container "app"`: {Name: "data", SubPath: "a"},
		`image "models/llm:1" of volume "model" is not resolved`:                  {Name: "model"},
		"spec.containers[0].volumeMounts[0].subPath: not supported yet":           {Name: "image", SubPath: "a"},
	} {
		pod := mountingPod(mount)
		_, err := podspec.Container(pod, &pod.Spec.Containers[0], options(func(o *podspec.ContainerOptions) {
			o.Mounts = map[string]string{"data": "/volumes/data"}
			o.ImageVolumes = map[string]*runtimeapi.Image{"image": {Id: "sha256:img"}}
		}))
		assert.Equal(t, want, requireReason(t, err, podspec.ReasonContainerConfig))
	}
}

func TestDownwardFiles(t *testing.T) {
	pod := newPod(func(p *corev1.Pod) { p.Labels = map[string]string{"b": "2", "a": `"1"`} })
	fieldRef := func(path string) *corev1.DownwardAPIVolumeFile {
		return &corev1.DownwardAPIVolumeFile{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	resourceRef := func(container string) *corev1.DownwardAPIVolumeFile {
		return &corev1.DownwardAPIVolumeFile{ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: container, Resource: "limits.memory"}}
	}
	opts := podspec.ContainerOptions{Allocatable: list("memory", "1Gi")}
	for want, item := range map[string]*corev1.DownwardAPIVolumeFile{
		"a=\"\\\"1\\\"\"\nb=\"2\"": fieldRef("metadata.labels"),
		"2":                        fieldRef("metadata.labels['b']"),
		"1073741824":               resourceRef("app"),
	} {
		value, err := podspec.DownwardFile(pod, item, opts)
		require.NoError(t, err)
		assert.Equal(t, want, value)
	}
	for want, item := range map[string]*corev1.DownwardAPIVolumeFile{
		"fieldRef.fieldPath: Unsupported value":  fieldRef("status.podIP"),
		"resourceFieldRef.containerName: Not":    resourceRef("nobody"),
		"resourceFieldRef.containerName: Req":    resourceRef(""),
		"fieldRef: Required value: the file has": {},
	} {
		_, err := podspec.DownwardFile(pod, item, opts)
		assert.ErrorContains(t, err, want)
	}
}
