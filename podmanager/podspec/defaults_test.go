package podspec_test

import (
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestDefaultsOfThePod(t *testing.T) {
	pod := newPod()
	podspec.SetDefaults(pod)
	assert.Equal(t, corev1.RestartPolicyAlways, pod.Spec.RestartPolicy)
	assert.Equal(t, corev1.DNSClusterFirst, pod.Spec.DNSPolicy)
	assert.Equal(t, "default-scheduler", pod.Spec.SchedulerName)
	assert.Equal(t, ptr[int64](30), pod.Spec.TerminationGracePeriodSeconds)
	assert.Equal(t, ptr(true), pod.Spec.EnableServiceLinks)
	assert.Equal(t, &corev1.PodSecurityContext{}, pod.Spec.SecurityContext)
	assert.Equal(t, "shop", pod.Namespace, "the metadata is the source's")
}

func TestDefaultsKeepWhatIsSet(t *testing.T) {
	pod := newPod(spec(func(s *corev1.PodSpec) {
		s.RestartPolicy = corev1.RestartPolicyNever
		s.DNSPolicy = corev1.DNSDefault
		s.TerminationGracePeriodSeconds = ptr[int64](0)
		s.EnableServiceLinks = ptr(false)
		s.Containers[0].ImagePullPolicy = corev1.PullNever
		s.Containers[0].TerminationMessagePath = "/out"
	}))
	podspec.SetDefaults(pod)
	assert.Equal(t, corev1.RestartPolicyNever, pod.Spec.RestartPolicy)
	assert.Equal(t, corev1.DNSDefault, pod.Spec.DNSPolicy)
	assert.Equal(t, ptr[int64](0), pod.Spec.TerminationGracePeriodSeconds)
	assert.Equal(t, ptr(false), pod.Spec.EnableServiceLinks)
	assert.Equal(t, corev1.PullNever, pod.Spec.Containers[0].ImagePullPolicy)
	assert.Equal(t, "/out", pod.Spec.Containers[0].TerminationMessagePath)
}

func TestNegativeGracePeriodBecomesTheShortest(t *testing.T) {
	pod := newPod(spec(func(s *corev1.PodSpec) { s.TerminationGracePeriodSeconds = ptr[int64](-5) }))
	podspec.SetDefaults(pod)
	assert.Equal(t, ptr[int64](1), pod.Spec.TerminationGracePeriodSeconds)
}

func TestServiceAccountNamesAgree(t *testing.T) {
	pod := newPod(spec(func(s *corev1.PodSpec) { s.DeprecatedServiceAccount = "robot" }))
	podspec.SetDefaults(pod)
	assert.Equal(t, "robot", pod.Spec.ServiceAccountName)
}

func TestDefaultPullPolicy(t *testing.T) {
	const digest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for image, want := range map[string]corev1.PullPolicy{
		"nginx":                              corev1.PullAlways,
		"nginx:latest":                       corev1.PullAlways,
		"registry.local:5000/team/app":       corev1.PullAlways,
		"nginx:1.27":                         corev1.PullIfNotPresent,
		"registry.local:5000/team/app:v1":    corev1.PullIfNotPresent,
		"nginx" + digest:                     corev1.PullIfNotPresent,
		"nginx:1.27" + digest:                corev1.PullIfNotPresent,
		"nginx:latest" + digest:              corev1.PullAlways,
		"http://nginx":                       corev1.PullIfNotPresent,
		"localhost/nginx:latest-but-not-yet": corev1.PullIfNotPresent,
	} {
		t.Run(image, func(t *testing.T) {
			pod := newPod(app(func(c *corev1.Container) { c.Image = image }))
			podspec.SetDefaults(pod)
			assert.Equal(t, want, pod.Spec.Containers[0].ImagePullPolicy)
		})
	}
}

func TestDefaultsOfContainersOfEachKind(t *testing.T) {
	pod := newPod(spec(func(s *corev1.PodSpec) {
		s.InitContainers = []corev1.Container{{Name: "init", Image: "i:1"}}
		s.EphemeralContainers = []corev1.EphemeralContainer{
			{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "d:1"}},
		}
	}))
	podspec.SetDefaults(pod)
	for _, c := range []corev1.Container{
		pod.Spec.Containers[0], pod.Spec.InitContainers[0],
		corev1.Container(pod.Spec.EphemeralContainers[0].EphemeralContainerCommon),
	} {
		assert.Equal(t, "/dev/termination-log", c.TerminationMessagePath, c.Name)
		assert.Equal(t, corev1.TerminationMessageReadFile, c.TerminationMessagePolicy, c.Name)
		assert.Equal(t, corev1.PullIfNotPresent, c.ImagePullPolicy, c.Name)
	}
}

func TestDefaultsOfProbesAndHooks(t *testing.T) {
	pod := newPod(app(func(c *corev1.Container) {
		c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{}}}
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 1}}, PeriodSeconds: 3}
		c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/bye"}}}
	}))
	podspec.SetDefaults(pod)
	c := pod.Spec.Containers[0]
	assert.Equal(t, &corev1.Probe{
		ProbeHandler:   corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/", Scheme: corev1.URISchemeHTTP}},
		TimeoutSeconds: 1, PeriodSeconds: 10, SuccessThreshold: 1, FailureThreshold: 3,
	}, c.LivenessProbe)
	assert.Equal(t, int32(3), c.ReadinessProbe.PeriodSeconds)
	assert.Equal(t, ptr(""), c.ReadinessProbe.GRPC.Service)
	assert.Equal(t, &corev1.HTTPGetAction{Path: "/bye", Scheme: corev1.URISchemeHTTP}, c.Lifecycle.PreStop.HTTPGet)
}

func TestRequestsDefaultToLimits(t *testing.T) {
	pod := newPod(app(func(c *corev1.Container) {
		c.Resources = corev1.ResourceRequirements{Limits: list("cpu", "500m", "memory", "64Mi"), Requests: list("cpu", "100m")}
	}))
	podspec.SetDefaults(pod)
	requests := pod.Spec.Containers[0].Resources.Requests
	assert.Equal(t, "100m", requests.Cpu().String())
	assert.Equal(t, "64Mi", requests.Memory().String())
}

func TestQuantitiesAreRoundedUpToThousandths(t *testing.T) {
	pod := newPod(app(func(c *corev1.Container) { c.Resources.Requests = list("cpu", "100u") }))
	podspec.SetDefaults(pod)
	assert.Equal(t, int64(1), pod.Spec.Containers[0].Resources.Requests.Cpu().MilliValue())
	assert.Equal(t, "1m", pod.Spec.Containers[0].Resources.Requests.Cpu().String())
}

func TestPortDefaults(t *testing.T) {
	pod := newPod(app(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{ContainerPort: 80}} }))
	podspec.SetDefaults(pod)
	assert.Equal(t, []corev1.ContainerPort{{ContainerPort: 80, Protocol: corev1.ProtocolTCP}}, pod.Spec.Containers[0].Ports)

	pod.Spec.HostNetwork = true
	podspec.SetDefaults(pod)
	assert.Equal(t, int32(80), pod.Spec.Containers[0].Ports[0].HostPort, "the host's network has the host's ports")
}

func TestEnvDefaults(t *testing.T) {
	pod := newPod(app(func(c *corev1.Container) {
		c.Env = []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}}
	}))
	podspec.SetDefaults(pod)
	assert.Equal(t, "v1", pod.Spec.Containers[0].Env[0].ValueFrom.FieldRef.APIVersion)
}

func TestVolumeDefaults(t *testing.T) {
	pod := newPod(spec(func(s *corev1.PodSpec) {
		s.Volumes = []corev1.Volume{
			{Name: "none"},
			{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}},
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}},
			{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{DefaultMode: ptr[int32](0o400)}}},
			{Name: "downward", VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
				Items: []corev1.DownwardAPIVolumeFile{{Path: "name", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
			}}},
			{Name: "projected", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}},
			}}},
			{Name: "image", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "model"}}},
		}
	}))
	podspec.SetDefaults(pod)
	volumes := pod.Spec.Volumes
	require.NotNil(t, volumes[0].EmptyDir)
	assert.Equal(t, ptr(corev1.HostPathUnset), volumes[1].HostPath.Type)
	assert.Equal(t, ptr[int32](0o644), volumes[2].ConfigMap.DefaultMode)
	assert.Equal(t, ptr[int32](0o400), volumes[3].Secret.DefaultMode)
	assert.Equal(t, ptr[int32](0o644), volumes[4].DownwardAPI.DefaultMode)
	assert.Equal(t, "v1", volumes[4].DownwardAPI.Items[0].FieldRef.APIVersion)
	assert.Equal(t, ptr[int32](0o644), volumes[5].Projected.DefaultMode)
	assert.Equal(t, ptr[int64](3600), volumes[5].Projected.Sources[0].ServiceAccountToken.ExpirationSeconds)
	assert.Equal(t, corev1.PullAlways, volumes[6].Image.PullPolicy)
}

func TestCompleteIsIdempotent(t *testing.T) {
	pod := completePod(t, spec(func(s *corev1.PodSpec) {
		s.HostNetwork = true
		s.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80}}
		s.Containers[0].Resources.Limits = list("cpu", "1")
		s.Volumes = []corev1.Volume{{Name: "scratch"}}
	}))
	again := pod.DeepCopy()
	require.Empty(t, podspec.Complete(again))
	assert.Equal(t, pod, again)
}
