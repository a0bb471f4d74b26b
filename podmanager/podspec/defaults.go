package podspec

import (
	_ "crypto/sha256" // digests of image names are checked with it
	_ "crypto/sha512"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	// defaultFileMode is that of files in configMap, secret, downwardAPI and
	// projected volumes.
	defaultFileMode int32 = 0o644
	// defaultTokenSeconds is how long a projected service account token lives.
	defaultTokenSeconds int64 = 3600
)

// SetDefaults applies, in place, the defaults that an API server applies to a
// pod on create (Kubernetes API reference, Pod v1). It is idempotent. It leaves
// the metadata alone: name, namespace and UID are the source's business.
func SetDefaults(pod *corev1.Pod) {
	spec := &pod.Spec
	setSpecDefaults(spec)
	for i := range spec.Volumes {
		setVolumeDefaults(&spec.Volumes[i])
	}
	for _, c := range containers(spec) {
		setContainerDefaults(c.Container)
		if c.kind != ephemeral {
			setRequests(&c.Resources)
			setHostPorts(spec, c.Ports)
		}
	}
}

func setSpecDefaults(spec *corev1.PodSpec) {
	setDefault(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	setDefault(&spec.DNSPolicy, corev1.DNSClusterFirst)
	setDefault(&spec.SchedulerName, corev1.DefaultSchedulerName)
	setDefault(&spec.ServiceAccountName, spec.DeprecatedServiceAccount)
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	setDefaultPointer(&spec.SecurityContext, corev1.PodSecurityContext{})
	setDefaultPointer(&spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	setDefaultPointer(&spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	// An API server turns a negative grace period into the shortest one.
	if *spec.TerminationGracePeriodSeconds < 0 {
		*spec.TerminationGracePeriodSeconds = 1
	}
}

func setContainerDefaults(c *corev1.Container) {
	setDefault(&c.ImagePullPolicy, pullPolicy(c.Image))
	setDefault(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	setDefault(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		setDefault(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		setEnvDefaults(c.Env[i].ValueFrom)
	}
	roundUp(c.Resources.Limits)
	roundUp(c.Resources.Requests)
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		setProbeDefaults(probe)
	}
	if c.Lifecycle != nil {
		setHookDefaults(c.Lifecycle.PostStart)
		setHookDefaults(c.Lifecycle.PreStop)
	}
}

// pullPolicy is the policy of an image whose container has none: the tag
// "latest", given or implied, may change and is pulled always.
func pullPolicy(image string) corev1.PullPolicy {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return corev1.PullIfNotPresent // the pull reports the name
	}
	if tagged, ok := named.(reference.Tagged); ok && tagged.Tag() == "latest" || reference.IsNameOnly(named) {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func setEnvDefaults(source *corev1.EnvVarSource) {
	if source == nil {
		return
	}
	setFieldRefDefaults(source.FieldRef)
	if source.FileKeyRef != nil {
		setDefaultPointer(&source.FileKeyRef.Optional, false)
	}
}

func setFieldRefDefaults(ref *corev1.ObjectFieldSelector) {
	if ref != nil {
		setDefault(&ref.APIVersion, "v1")
	}
}

func setProbeDefaults(p *corev1.Probe) {
	if p == nil {
		return
	}
	setDefault(&p.TimeoutSeconds, 1)
	setDefault(&p.PeriodSeconds, 10)
	setDefault(&p.SuccessThreshold, 1)
	setDefault(&p.FailureThreshold, 3)
	setHTTPDefaults(p.HTTPGet)
	if p.GRPC != nil {
		setDefaultPointer(&p.GRPC.Service, "")
	}
}

func setHookDefaults(hook *corev1.LifecycleHandler) {
	if hook != nil {
		setHTTPDefaults(hook.HTTPGet)
	}
}

func setHTTPDefaults(get *corev1.HTTPGetAction) {
	if get != nil {
		setDefault(&get.Path, "/")
		setDefault(&get.Scheme, corev1.URISchemeHTTP)
	}
}

// setRequests gives what is limited and not requested a request of its limit.
func setRequests(resources *corev1.ResourceRequirements) {
	for name, limit := range resources.Limits {
		if resources.Requests == nil {
			resources.Requests = corev1.ResourceList{}
		}
		if _, requested := resources.Requests[name]; !requested {
			resources.Requests[name] = limit.DeepCopy()
		}
	}
}

// roundUp rounds to thousandths, the finest that the API keeps.
func roundUp(list corev1.ResourceList) {
	for name, quantity := range list {
		if bounded(quantity) {
			quantity.RoundUp(resource.Milli)
			list[name] = quantity
		}
	}
}

// setHostPorts makes visible that on the host's network each port is the host's.
func setHostPorts(spec *corev1.PodSpec, ports []corev1.ContainerPort) {
	if !spec.HostNetwork {
		return
	}
	for i := range ports {
		setDefault(&ports[i].HostPort, ports[i].ContainerPort)
	}
}

func setVolumeDefaults(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	switch {
	case v.HostPath != nil:
		setDefaultPointer(&v.HostPath.Type, corev1.HostPathUnset)
	case v.ConfigMap != nil:
		setDefaultPointer(&v.ConfigMap.DefaultMode, defaultFileMode)
	case v.Secret != nil:
		setDefaultPointer(&v.Secret.DefaultMode, defaultFileMode)
	case v.DownwardAPI != nil:
		setDefaultPointer(&v.DownwardAPI.DefaultMode, defaultFileMode)
		setDownwardDefaults(v.DownwardAPI.Items)
	case v.Projected != nil:
		setProjectedDefaults(v.Projected)
	case v.Image != nil:
		setDefault(&v.Image.PullPolicy, pullPolicy(v.Image.Reference))
	}
}

func setProjectedDefaults(projected *corev1.ProjectedVolumeSource) {
	setDefaultPointer(&projected.DefaultMode, defaultFileMode)
	for i := range projected.Sources {
		source := &projected.Sources[i]
		if source.DownwardAPI != nil {
			setDownwardDefaults(source.DownwardAPI.Items)
		}
		if source.ServiceAccountToken != nil {
			setDefaultPointer(&source.ServiceAccountToken.ExpirationSeconds, defaultTokenSeconds)
		}
	}
}

func setDownwardDefaults(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		setFieldRefDefaults(items[i].FieldRef)
	}
}

func setDefault[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}

func setDefaultPointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
