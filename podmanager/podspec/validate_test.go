package podspec_test

import (
	"strings"
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func meta(change func(*corev1.Pod)) func(*corev1.Pod) { return change }

func env(variables ...corev1.EnvVar) func(*corev1.Pod) {
	return app(func(c *corev1.Container) { c.Env = variables })
}

func from(source corev1.EnvVarSource) corev1.EnvVar {
	return corev1.EnvVar{Name: "A", ValueFrom: &source}
}

func probe(p corev1.Probe) func(*corev1.Pod) {
	return app(func(c *corev1.Container) { c.LivenessProbe = &p })
}

func exec() corev1.ProbeHandler {
	return corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}
}

func volume(source corev1.VolumeSource) func(*corev1.Pod) {
	return spec(func(s *corev1.PodSpec) { s.Volumes = []corev1.Volume{{Name: "data", VolumeSource: source}} })
}

func mount(m corev1.VolumeMount) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.Volumes = []corev1.Volume{{Name: "data"}}
		pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{m}
	}
}

// Each row makes a valid pod invalid in one place: that place is reported, by
// its path, and nothing else.
func TestValidationNamesTheField(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*corev1.Pod)
		field  string
	}{
		{"no name", meta(func(p *corev1.Pod) { p.Name = "" }), "metadata.name"},
		{"bad name", meta(func(p *corev1.Pod) { p.Name = "Web_1" }), "metadata.name"},
		{"no namespace", meta(func(p *corev1.Pod) { p.Namespace = "" }), "metadata.namespace"},
		{"bad namespace", meta(func(p *corev1.Pod) { p.Namespace = "a.b" }), "metadata.namespace"},
		{"bad label", meta(func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b c"} }), "metadata.labels"},
		{"bad annotation key", meta(func(p *corev1.Pod) { p.Annotations = map[string]string{"a b": ""} }), "metadata.annotations"},
		{"UID that leaves its directory", meta(func(p *corev1.Pod) { p.UID = "../../etc" }), "metadata.uid"},

		{"no containers", spec(func(s *corev1.PodSpec) { s.Containers = nil }), "spec.containers"},
		{"restart policy", spec(func(s *corev1.PodSpec) { s.RestartPolicy = "Sometimes" }), "spec.restartPolicy"},
		{"dns policy", spec(func(s *corev1.PodSpec) { s.DNSPolicy = "Best" }), "spec.dnsPolicy"},
		{"deadline", spec(func(s *corev1.PodSpec) { s.ActiveDeadlineSeconds = ptr[int64](0) }), "spec.activeDeadlineSeconds"},
		{"hostname", spec(func(s *corev1.PodSpec) { s.Hostname = "a.b" }), "spec.hostname"},
		{"subdomain", spec(func(s *corev1.PodSpec) { s.Subdomain = "A" }), "spec.subdomain"},
		{"node name", spec(func(s *corev1.PodSpec) { s.NodeName = "A B" }), "spec.nodeName"},
		{"service account", spec(func(s *corev1.PodSpec) { s.ServiceAccountName = "A B" }), "spec.serviceAccountName"},
		{"os", spec(func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: "plan9"} }), "spec.os.name"},
		{"hostname override on host network", spec(func(s *corev1.PodSpec) { s.HostnameOverride = ptr("a"); s.HostNetwork = true }), "spec.hostnameOverride"},
		{"shared processes and host PID", spec(func(s *corev1.PodSpec) { s.ShareProcessNamespace = ptr(true); s.HostPID = true }), "spec.shareProcessNamespace"},
		{"node selector", spec(func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"a": "b c"} }), "spec.nodeSelector"},
		{"readiness gate", spec(func(s *corev1.PodSpec) { s.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "a b"}} }), "spec.readinessGates[0].conditionType"},
		{"dns None without servers", spec(func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSNone }), "spec.dnsConfig.nameservers"},
		{"dns server", spec(func(s *corev1.PodSpec) { s.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"dns.local"}} }), "spec.dnsConfig.nameservers[0]"},
		{"dns servers", spec(func(s *corev1.PodSpec) {
			s.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"}}
		}), "spec.dnsConfig.nameservers"},
		{"dns search", spec(func(s *corev1.PodSpec) { s.DNSConfig = &corev1.PodDNSConfig{Searches: []string{"a b"}} }), "spec.dnsConfig.searches[0]"},
		{"dns option", spec(func(s *corev1.PodSpec) {
			s.DNSConfig = &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{Value: ptr("1")}}}
		}), "spec.dnsConfig.options[0].name"},
		{"host alias IP", spec(func(s *corev1.PodSpec) { s.HostAliases = []corev1.HostAlias{{IP: "here"}} }), "spec.hostAliases[0].ip"},
		{"host alias that writes lines", spec(func(s *corev1.PodSpec) {
			s.HostAliases = []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"a\n6.6.6.6 bank"}}}
		}), "spec.hostAliases[0].hostnames[0]"},

		{"container without name", app(func(c *corev1.Container) { c.Name = "" }), "spec.containers[0].name"},
		{"bad container name", app(func(c *corev1.Container) { c.Name = "a/b" }), "spec.containers[0].name"},
		{"container twice", spec(func(s *corev1.PodSpec) { s.Containers = append(s.Containers, s.Containers[0]) }), "spec.containers[1].name"},
		{"init container of the same name", spec(func(s *corev1.PodSpec) { s.InitContainers = s.Containers }), "spec.containers[0].name"},
		{"ephemeral container of the same name", spec(func(s *corev1.PodSpec) {
			s.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "app", Image: "x"}}}
		}), "spec.ephemeralContainers[0].name"},
		{"no image", app(func(c *corev1.Container) { c.Image = "" }), "spec.containers[0].image"},
		{"padded image", app(func(c *corev1.Container) { c.Image = " nginx" }), "spec.containers[0].image"},
		{"pull policy", app(func(c *corev1.Container) { c.ImagePullPolicy = "Maybe" }), "spec.containers[0].imagePullPolicy"},
		{"message policy", app(func(c *corev1.Container) { c.TerminationMessagePolicy = "Shout" }), "spec.containers[0].terminationMessagePolicy"},
		{"resize policy", app(func(c *corev1.Container) {
			c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: "disk", RestartPolicy: corev1.NotRequired}}
		}), "spec.containers[0].resizePolicy[0].resourceName"},
		{"container restart policy", app(func(c *corev1.Container) { c.RestartPolicy = ptr(corev1.ContainerRestartPolicy("x")) }), "spec.containers[0].restartPolicy"},
		{"rules without policy", app(func(c *corev1.Container) {
			c.RestartPolicyRules = []corev1.ContainerRestartRule{{Action: "Restart", ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: "In"}}}
		}), "spec.containers[0].restartPolicy"},
		{"rule without codes", app(func(c *corev1.Container) {
			c.RestartPolicy = ptr(corev1.ContainerRestartPolicyNever)
			c.RestartPolicyRules = []corev1.ContainerRestartRule{{Action: "Restart"}}
		}), "spec.containers[0].restartPolicyRules[0].exitCodes"},

		{"no container port", app(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{Name: "a"}, {ContainerPort: 80}} }), "spec.containers[0].ports[0].containerPort"},
		{"container port", app(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 80}, {ContainerPort: 70000}}
		}), "spec.containers[0].ports[1].containerPort"},
		{"host port", app(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: -1}} }), "spec.containers[0].ports[0].hostPort"},
		{"port name twice", app(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 80}, {Name: "web", ContainerPort: 81}}
		}), "spec.containers[0].ports[1].name"},
		{"port name", app(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{Name: "1_", ContainerPort: 80}} }), "spec.containers[0].ports[0].name"},
		{"protocol", app(func(c *corev1.Container) { c.Ports = []corev1.ContainerPort{{ContainerPort: 80, Protocol: "ICMP"}} }), "spec.containers[0].ports[0].protocol"},
		{"host port of two containers", spec(func(s *corev1.PodSpec) {
			ports := []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}
			s.Containers = []corev1.Container{{Name: "a", Image: "x", Ports: ports}, {Name: "b", Image: "x", Ports: ports}}
		}), "spec.containers[1].ports[0].hostPort"},
		{"host port beside host network", spec(func(s *corev1.PodSpec) {
			s.HostNetwork = true
			s.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}
		}), "spec.containers[0].ports[0].hostPort"},

		{"env without name", env(corev1.EnvVar{Value: "x"}), "spec.containers[0].env[0].name"},
		{"env name", env(corev1.EnvVar{Name: "A=B"}), "spec.containers[0].env[0].name"},
		{"env value and source", env(corev1.EnvVar{Name: "A", Value: "x", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}), "spec.containers[0].env[0].valueFrom"},
		{"env without source", env(from(corev1.EnvVarSource{})), "spec.containers[0].env[0].valueFrom"},
		{"env field", env(from(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.phase"}})), "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath"},
		{"env whole map", env(from(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}})), "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath"},
		{"env label key", env(from(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['a b']"}})), "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath"},
		{"env resource", env(from(corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.disk"}})), "spec.containers[0].env[0].valueFrom.resourceFieldRef.resource"},
		{"env divisor", env(from(corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu", Divisor: list("x", "1Mi")["x"]}})), "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor"},
		{"env secret key", env(from(corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s"}}})), "spec.containers[0].env[0].valueFrom.secretKeyRef.key"},
		{"envFrom without source", app(func(c *corev1.Container) { c.EnvFrom = []corev1.EnvFromSource{{}} }), "spec.containers[0].envFrom[0]"},

		{"negative request", app(func(c *corev1.Container) { c.Resources.Requests = list("cpu", "-1") }), "spec.containers[0].resources.requests[cpu]"},
		{"request above limit", app(func(c *corev1.Container) {
			c.Resources = corev1.ResourceRequirements{Requests: list("memory", "2Gi"), Limits: list("memory", "1Gi")}
		}), "spec.containers[0].resources.requests[memory]"},
		{"request beyond any arithmetic", app(func(c *corev1.Container) { c.Resources.Requests = list("cpu", "1e2000000000") }), "spec.containers[0].resources.requests[cpu]"},
		{"unknown resource", app(func(c *corev1.Container) { c.Resources.Requests = list("disk", "1") }), "spec.containers[0].resources.requests[disk]"},
		{"device in parts", app(func(c *corev1.Container) {
			c.Resources = corev1.ResourceRequirements{Requests: list("example.com/gpu", "1"), Limits: list("example.com/gpu", "2")}
		}), "spec.containers[0].resources.requests[example.com/gpu]"},
		{"page size", app(func(c *corev1.Container) { c.Resources.Requests = list("hugepages-big", "1") }), "spec.containers[0].resources.requests[hugepages-big]"},

		{"run as user", app(func(c *corev1.Container) { c.SecurityContext = &corev1.SecurityContext{RunAsUser: ptr[int64](-1)} }), "spec.containers[0].securityContext.runAsUser"},
		{"pod run as group", spec(func(s *corev1.PodSpec) { s.SecurityContext = &corev1.PodSecurityContext{RunAsGroup: ptr[int64](-1)} }), "spec.securityContext.runAsGroup"},
		{"groups policy", spec(func(s *corev1.PodSpec) {
			s.SecurityContext = &corev1.PodSecurityContext{SupplementalGroupsPolicy: ptr(corev1.SupplementalGroupsPolicy("x"))}
		}), "spec.securityContext.supplementalGroupsPolicy"},
		{"sysctl name", spec(func(s *corev1.PodSpec) {
			s.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "Net..x"}}}
		}), "spec.securityContext.sysctls[0].name"},
		{"sysctl twice", spec(func(s *corev1.PodSpec) {
			s.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "net.a"}, {Name: "net/a"}}}
		}), "spec.securityContext.sysctls[1].name"},
		{"seccomp without profile", app(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: "Localhost"}}
		}), "spec.containers[0].securityContext.seccompProfile.localhostProfile"},
		{"seccomp that leaves its directory", app(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: "Localhost", LocalhostProfile: ptr("../x")}}
		}), "spec.containers[0].securityContext.seccompProfile.localhostProfile"},
		{"apparmor type", app(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: "x"}}
		}), "spec.containers[0].securityContext.appArmorProfile.type"},
		{"unmasked proc", app(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{ProcMount: ptr(corev1.UnmaskedProcMount)}
		}), "spec.containers[0].securityContext.procMount"},
		{"privileged without escalation", app(func(c *corev1.Container) {
			c.SecurityContext = &corev1.SecurityContext{Privileged: ptr(true), AllowPrivilegeEscalation: ptr(false)}
		}), "spec.containers[0].securityContext.allowPrivilegeEscalation"},

		{"probe without handler", probe(corev1.Probe{}), "spec.containers[0].livenessProbe"},
		{"probe without command", probe(corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{}}}), "spec.containers[0].livenessProbe.exec.command"},
		{"probe port", probe(corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(0)}}}), "spec.containers[0].livenessProbe.tcpSocket.port"},
		{"probe port name", probe(corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("no_port")}}}), "spec.containers[0].livenessProbe.httpGet.port"},
		{"probe scheme", probe(corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(1), Scheme: "ftp"}}}), "spec.containers[0].livenessProbe.httpGet.scheme"},
		{"liveness that must succeed twice", probe(corev1.Probe{ProbeHandler: exec(), SuccessThreshold: 2}), "spec.containers[0].livenessProbe.successThreshold"},
		{"probe period", probe(corev1.Probe{ProbeHandler: exec(), PeriodSeconds: -1}), "spec.containers[0].livenessProbe.periodSeconds"},
		{"probe grace", probe(corev1.Probe{ProbeHandler: exec(), TerminationGracePeriodSeconds: ptr[int64](0)}), "spec.containers[0].livenessProbe.terminationGracePeriodSeconds"},
		{"readiness grace", app(func(c *corev1.Container) {
			c.ReadinessProbe = &corev1.Probe{ProbeHandler: exec(), TerminationGracePeriodSeconds: ptr[int64](1)}
		}), "spec.containers[0].readinessProbe.terminationGracePeriodSeconds"},
		{"probe of an init container", spec(func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Name: "init", Image: "x", LivenessProbe: &corev1.Probe{ProbeHandler: exec()}}}
		}), "spec.initContainers[0].livenessProbe"},
		{"port of an ephemeral container", spec(func(s *corev1.PodSpec) {
			s.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: "debug", Image: "x", Ports: []corev1.ContainerPort{{ContainerPort: 1}},
			}}}
		}), "spec.ephemeralContainers[0].ports"},
		{"target of an ephemeral container", spec(func(s *corev1.PodSpec) {
			s.EphemeralContainers = []corev1.EphemeralContainer{{
				EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "x"}, TargetContainerName: "nobody",
			}}
		}), "spec.ephemeralContainers[0].targetContainerName"},
		{"hook with two handlers", app(func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: exec().Exec, Sleep: &corev1.SleepAction{Seconds: 1}}}
		}), "spec.containers[0].lifecycle.preStop"},
		{"hook that outlives its grace", app(func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 31}}}
		}), "spec.containers[0].lifecycle.preStop.sleep.seconds"},
		{"stop signal", app(func(c *corev1.Container) { c.Lifecycle = &corev1.Lifecycle{StopSignal: ptr(corev1.Signal("SIGNAL"))} }), "spec.containers[0].lifecycle.stopSignal"},

		{"volume twice", spec(func(s *corev1.PodSpec) { s.Volumes = []corev1.Volume{{Name: "a"}, {Name: "a"}} }), "spec.volumes[1].name"},
		{"volume name", spec(func(s *corev1.PodSpec) { s.Volumes = []corev1.Volume{{Name: "../a"}} }), "spec.volumes[0].name"},
		{"volume with two sources", volume(corev1.VolumeSource{
			EmptyDir: &corev1.EmptyDirVolumeSource{}, HostPath: &corev1.HostPathVolumeSource{Path: "/x"},
		}), "spec.volumes[0]"},
		{"host path", volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}), "spec.volumes[0].hostPath.path"},
		{"host path that climbs", volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/a/../b"}}), "spec.volumes[0].hostPath.path"},
		{"host path type", volume(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/a", Type: ptr(corev1.HostPathType("Pipe"))}}), "spec.volumes[0].hostPath.type"},
		{"size limit", volume(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr(list("x", "-1")["x"])}}), "spec.volumes[0].emptyDir.sizeLimit"},
		{"secret name", volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}), "spec.volumes[0].secret.secretName"},
		{"file mode", volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s", DefaultMode: ptr[int32](0o1000)}}), "spec.volumes[0].secret.defaultMode"},
		{"file path", volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "c"}, Items: []corev1.KeyToPath{{Key: "k", Path: "..data"}},
		}}), "spec.volumes[0].configMap.items[0].path"},
		{"projection without source", volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{}}}}), "spec.volumes[0].projected.sources[0]"},
		{"downward field", volume(corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{{Path: "x", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
		}}), "spec.volumes[0].downwardAPI.items[0].fieldRef.fieldPath"},
		{"claim name", volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}), "spec.volumes[0].persistentVolumeClaim.claimName"},

		{"mount of no volume", mount(corev1.VolumeMount{Name: "other", MountPath: "/x"}), "spec.containers[0].volumeMounts[0].name"},
		{"mount without path", mount(corev1.VolumeMount{Name: "data"}), "spec.containers[0].volumeMounts[0].mountPath"},
		{"mount path twice", func(p *corev1.Pod) {
			mount(corev1.VolumeMount{Name: "data", MountPath: "/x"})(p)
			p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, p.Spec.Containers[0].VolumeMounts[0])
		}, "spec.containers[0].volumeMounts[1].mountPath"},
		{"sub path that climbs", mount(corev1.VolumeMount{Name: "data", MountPath: "/x", SubPath: "a/../../b"}), "spec.containers[0].volumeMounts[0].subPath"},
		{"absolute sub path", mount(corev1.VolumeMount{Name: "data", MountPath: "/x", SubPathExpr: "/a"}), "spec.containers[0].volumeMounts[0].subPathExpr"},
		{"propagation", mount(corev1.VolumeMount{Name: "data", MountPath: "/x", MountPropagation: ptr(corev1.MountPropagationMode("x"))}), "spec.containers[0].volumeMounts[0].mountPropagation"},
		{"propagation without privilege", mount(corev1.VolumeMount{Name: "data", MountPath: "/x", MountPropagation: ptr(corev1.MountPropagationBidirectional)}), "spec.containers[0].volumeMounts[0].mountPropagation"},
		{"recursive read-only", mount(corev1.VolumeMount{Name: "data", MountPath: "/x", RecursiveReadOnly: ptr(corev1.RecursiveReadOnlyEnabled)}), "spec.containers[0].volumeMounts[0].recursiveReadOnly"},
		{"device of no volume", app(func(c *corev1.Container) { c.VolumeDevices = []corev1.VolumeDevice{{Name: "x", DevicePath: "/dev/x"}} }), "spec.containers[0].volumeDevices[0].name"},
	} {
		t.Run(row.name, func(t *testing.T) {
			assert.Equal(t, []string{row.field}, fields(podspec.Complete(newPod(row.change))))
		})
	}
}

func TestValidationTakesWhatKubernetesTakes(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"name with dots":       meta(func(p *corev1.Pod) { p.Name = "web.example" }),
		"env name with dots":   env(corev1.EnvVar{Name: "app.config-1", Value: "x"}),
		"image that cannot be": app(func(c *corev1.Container) { c.Image = "http://nginx" }),
		"annotation in env":    env(from(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['Some/Key']"}})),
		"one port, two protocols": app(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 53, HostPort: 53}, {ContainerPort: 53, HostPort: 53, Protocol: "UDP"}}
		}),
		"one port, two addresses": app(func(c *corev1.Container) {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 1, HostPort: 1, HostIP: "10.0.0.1"}, {ContainerPort: 1, HostPort: 1, HostIP: "10.0.0.2"}}
		}),
		"host port of init and regular container": spec(func(s *corev1.PodSpec) {
			ports := []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
			s.InitContainers = []corev1.Container{{Name: "i", Image: "x", Ports: ports}, {Name: "j", Image: "x", Ports: ports}}
			s.Containers[0].Ports = ports
		}),
		"sidecar with probes": spec(func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Name: "side", Image: "x", RestartPolicy: ptr(corev1.ContainerRestartPolicyAlways), ReadinessProbe: &corev1.Probe{ProbeHandler: exec()}}}
		}),
		"device":              app(func(c *corev1.Container) { c.Resources.Limits = list("example.com/gpu", "1") }),
		"real-time signal":    app(func(c *corev1.Container) { c.Lifecycle = &corev1.Lifecycle{StopSignal: ptr(corev1.SIGRTMINPLUS3)} }),
		"search of the root":  spec(func(s *corev1.PodSpec) { s.DNSConfig = &corev1.PodDNSConfig{Searches: []string{".", "_tcp.local."}} }),
		"unnamed pull secret": spec(func(s *corev1.PodSpec) { s.ImagePullSecrets = []corev1.LocalObjectReference{{}} }),
		"no grace":            spec(func(s *corev1.PodSpec) { s.TerminationGracePeriodSeconds = ptr[int64](0) }),
		"sysctl by slashes": spec(func(s *corev1.PodSpec) {
			s.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: "net/ipv4/tcp_syncookies"}}}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			assert.Empty(t, podspec.Complete(newPod(change)))
		})
	}
}

func TestValidateAloneFindsMissingDefaults(t *testing.T) {
	errs := podspec.Validate(newPod())
	assert.Subset(t, fields(errs), []string{
		"spec.restartPolicy", "spec.dnsPolicy", "spec.terminationGracePeriodSeconds", "spec.containers[0].imagePullPolicy",
	})
	negative := completePod(t)
	negative.Spec.TerminationGracePeriodSeconds = ptr[int64](-1)
	assert.Equal(t, []string{"spec.terminationGracePeriodSeconds"}, fields(podspec.Validate(negative)))
}

func TestErrorsHoldNoEnvironmentValues(t *testing.T) {
	errs := podspec.Complete(newPod(env(corev1.EnvVar{Name: "A=B", Value: "s3cret", ValueFrom: &corev1.EnvVarSource{}})))
	require.NotEmpty(t, errs)
	assert.NotContains(t, errs.ToAggregate().Error(), "s3cret")
}

func TestErrorsComeInTheSameOrder(t *testing.T) {
	broken := func() string {
		pod := newPod(app(func(c *corev1.Container) {
			c.Resources.Requests = list("a", "1", "b", "1", "c", "1", "d", "1", "e", "1")
		}))
		return podspec.Complete(pod).ToAggregate().Error()
	}
	first := broken()
	assert.Equal(t, 5, strings.Count(first, "standard resource"))
	for range 20 {
		require.Equal(t, first, broken())
	}
}
