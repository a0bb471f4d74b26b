package podspec_test

import (
	"testing"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestContainerIdentity(t *testing.T) {
	pod := completePod(t, meta(func(p *corev1.Pod) { p.Labels = map[string]string{"tier": "front"} }))
	config := container(t, pod, options(func(o *podspec.ContainerOptions) { o.RestartCount = 3 }))
	assert.Equal(t, "app", config.Metadata.Name)
	assert.Equal(t, uint32(3), config.Metadata.Attempt)
	assert.Equal(t, "app/3.log", config.LogPath)
	assert.Equal(t, "sha256:abc", config.Image.Image)
	assert.Equal(t, "nginx:1.27", config.Image.UserSpecifiedImage)
	assert.Equal(t, cri.ContainerLabels(pod, "app"), config.Labels)
	assert.Equal(t, cri.ContainerAnnotations(pod, &pod.Spec.Containers[0], 3), config.Annotations)
}

func TestContainerPassesThrough(t *testing.T) {
	pod := completePod(t, app(func(c *corev1.Container) {
		c.WorkingDir, c.Stdin, c.StdinOnce, c.TTY = "/srv", true, true, true
		c.Lifecycle = &corev1.Lifecycle{StopSignal: ptr(corev1.SIGRTMINPLUS3)}
	}))
	config := container(t, pod, options())
	assert.Equal(t, "/srv", config.WorkingDir)
	assert.True(t, config.Stdin)
	assert.True(t, config.StdinOnce)
	assert.True(t, config.Tty)
	assert.Equal(t, runtimeapi.Signal_SIGNAL_SIGRTMINPLUS3, config.StopSignal)
}

func TestContainerNeedsAResolvedImage(t *testing.T) {
	pod := completePod(t)
	_, err := podspec.Container(pod, &pod.Spec.Containers[0], podspec.ContainerOptions{})
	assert.Contains(t, requireReason(t, err, podspec.ReasonContainerConfig), "nginx:1.27")
}

func TestCommandAndArgsUseTheFinalEnvironment(t *testing.T) {
	pod := completePod(t, app(func(c *corev1.Container) {
		c.Command = []string{"/bin/$(NAME)", "$$(NAME)", "$(NOPE)"}
		c.Args = []string{"$(NAME)-$(POD)"}
		c.Env = []corev1.EnvVar{
			{Name: "NAME", Value: "first"},
			{Name: "NAME", Value: "last"},
			{Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
		}
	}))
	config := container(t, pod, options())
	assert.Equal(t, []string{"/bin/last", "$(NAME)", "$(NOPE)"}, config.Command)
	assert.Equal(t, []string{"last-web"}, config.Args)
}

func TestNoCommandLeavesTheImages(t *testing.T) {
	config := container(t, completePod(t), options())
	assert.Nil(t, config.Command)
	assert.Nil(t, config.Args)
}

func TestWhatAContainerCannotDoYetIsNamed(t *testing.T) {
	withVolume := func(change func(*corev1.VolumeMount)) func(*corev1.Pod) {
		m := corev1.VolumeMount{Name: "data", MountPath: "/data"}
		change(&m)
		return mount(m)
	}
	for field, change := range map[string]func(*corev1.Pod){
		"spec.containers[0].env[1].valueFrom.fileKeyRef": env(corev1.EnvVar{Name: "X"}, from(corev1.EnvVarSource{
			FileKeyRef: &corev1.FileKeySelector{VolumeName: "data", Path: "p", Key: "k"},
		})),
		"spec.containers[0].volumeMounts[0].bindMountOptions": withVolume(func(m *corev1.VolumeMount) {
			m.BindMountOptions = []string{"noexec"}
		}),
		"spec.containers[0].resources.limits[example.com/gpu]": app(func(c *corev1.Container) { c.Resources.Limits = list("example.com/gpu", "1") }),
		"spec.containers[0].resources.claims": app(func(c *corev1.Container) {
			c.Resources.Claims = []corev1.ResourceClaim{{Name: "gpu"}}
		}),
	} {
		t.Run(field, func(t *testing.T) {
			pod := completePod(t, change)
			_, err := podspec.Container(pod, &pod.Spec.Containers[0], options(func(o *podspec.ContainerOptions) {
				o.Mounts = map[string]string{"data": "/volumes/data"}
			}))
			assert.Equal(t, field+": not supported yet", requireReason(t, err, podspec.ReasonContainerConfig))
		})
	}
}

func TestErrorsNameContainersOfEachKind(t *testing.T) {
	bad := []corev1.EnvFromSource{{}}
	pod := newPod(spec(func(s *corev1.PodSpec) {
		s.InitContainers = []corev1.Container{{Name: "init", Image: "x", EnvFrom: bad}}
		s.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "x", EnvFrom: bad}}}
	}))
	_, err := podspec.Container(pod, &pod.Spec.InitContainers[0], options())
	assert.ErrorContains(t, err, "spec.initContainers[0].envFrom[0]")
	_, err = podspec.Container(pod, (*corev1.Container)(&pod.Spec.EphemeralContainers[0].EphemeralContainerCommon), options())
	assert.ErrorContains(t, err, "spec.ephemeralContainers[0].envFrom[0]")
	stranger := &corev1.Container{Name: "stranger", EnvFrom: bad}
	_, err = podspec.Container(pod, stranger, options())
	assert.ErrorContains(t, err, "spec.containers[stranger].envFrom[0]")
}

func TestEphemeralContainerLooksIntoItsTarget(t *testing.T) {
	pod := completePod(t, spec(func(s *corev1.PodSpec) {
		s.EphemeralContainers = []corev1.EphemeralContainer{{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "x"}, TargetContainerName: "app",
		}}
	}))
	debug := (*corev1.Container)(&pod.Spec.EphemeralContainers[0].EphemeralContainerCommon)
	_, err := podspec.Container(pod, debug, options())
	assert.Contains(t, requireReason(t, err, podspec.ReasonContainerConfig), "target container app")

	target := options(func(o *podspec.ContainerOptions) { o.TargetContainerID = "c0ffee" })
	config, err := podspec.Container(pod, debug, target)
	require.NoError(t, err)
	namespaces := config.Linux.SecurityContext.NamespaceOptions
	assert.Equal(t, runtimeapi.NamespaceMode_TARGET, namespaces.Pid)
	assert.Equal(t, "c0ffee", namespaces.TargetId)

	pod.Spec.ShareProcessNamespace = ptr(true)
	config, err = podspec.Container(pod, debug, target)
	require.NoError(t, err)
	assert.Equal(t, runtimeapi.NamespaceMode_POD, config.Linux.SecurityContext.NamespaceOptions.Pid, "it sees all of the pod anyhow")
	assert.Equal(t, inContainer, container(t, completePod(t), target).Linux.SecurityContext.NamespaceOptions.Pid)
}
