package podspec_test

import (
	"strings"
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	onNode      = runtimeapi.NamespaceMode_NODE
	inPod       = runtimeapi.NamespaceMode_POD
	inContainer = runtimeapi.NamespaceMode_CONTAINER
)

func TestSandboxIdentity(t *testing.T) {
	pod := completePod(t, meta(func(p *corev1.Pod) {
		p.Labels = map[string]string{"tier": "front", "io.kubernetes.pod.name": "forged"}
		p.Annotations = map[string]string{"nri.io/x": "1"}
	}))
	config := sandbox(t, pod, podspec.SandboxOptions{Attempt: 4, CgroupParent: "/kubepods/pod1"})
	assert.Equal(t, "web", config.Metadata.Name)
	assert.Equal(t, "shop", config.Metadata.Namespace)
	assert.Equal(t, "uid-1", config.Metadata.Uid)
	assert.Equal(t, uint32(4), config.Metadata.Attempt)
	assert.Equal(t, map[string]string{
		"tier": "front", "io.kubernetes.pod.name": "web", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "uid-1",
	}, config.Labels)
	assert.Equal(t, map[string]string{"nri.io/x": "1"}, config.Annotations)
	assert.Equal(t, "/kubepods/pod1", config.Linux.CgroupParent)
}

func TestSandboxLogDirectory(t *testing.T) {
	pod := completePod(t)
	assert.Equal(t, "/var/log/pods/shop_web_uid-1", sandbox(t, pod, podspec.SandboxOptions{}).LogDirectory)
	assert.Equal(t, "/data/logs/shop_web_uid-1", sandbox(t, pod, podspec.SandboxOptions{LogRoot: "/data/logs"}).LogDirectory)
}

func TestNamespacesOfSandboxAndContainers(t *testing.T) {
	for name, row := range map[string]struct {
		change            func(*corev1.PodSpec)
		network, ipc, pid runtimeapi.NamespaceMode
	}{
		"own":             {func(*corev1.PodSpec) {}, inPod, inPod, inContainer},
		"host network":    {func(s *corev1.PodSpec) { s.HostNetwork = true }, onNode, inPod, inContainer},
		"host IPC":        {func(s *corev1.PodSpec) { s.HostIPC = true }, inPod, onNode, inContainer},
		"host PID":        {func(s *corev1.PodSpec) { s.HostPID = true }, inPod, inPod, onNode},
		"shared":          {func(s *corev1.PodSpec) { s.ShareProcessNamespace = ptr(true) }, inPod, inPod, inPod},
		"shared is false": {func(s *corev1.PodSpec) { s.ShareProcessNamespace = ptr(false) }, inPod, inPod, inContainer},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(spec(row.change)) // without defaults: no security context
			got := sandbox(t, pod, podspec.SandboxOptions{}).Linux.SecurityContext.NamespaceOptions
			assert.Equal(t, row.network, got.Network)
			assert.Equal(t, row.ipc, got.Ipc)
			assert.Equal(t, row.pid, got.Pid)
			assert.Equal(t, got, container(t, pod, options()).Linux.SecurityContext.NamespaceOptions)
		})
	}
}

func TestSandboxSecurity(t *testing.T) {
	pod := completePod(t, spec(func(s *corev1.PodSpec) {
		s.SecurityContext = &corev1.PodSecurityContext{
			RunAsUser: ptr[int64](1000), RunAsGroup: ptr[int64](2000), FSGroup: ptr[int64](3000),
			SupplementalGroups:       []int64{4000, 4001},
			SupplementalGroupsPolicy: ptr(corev1.SupplementalGroupsPolicyStrict),
			SELinuxOptions:           &corev1.SELinuxOptions{Level: "s0:c1"},
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined},
		}
	}))
	security := sandbox(t, pod, podspec.SandboxOptions{}).Linux.SecurityContext
	assert.Equal(t, int64(1000), security.RunAsUser.GetValue())
	assert.Equal(t, int64(2000), security.RunAsGroup.GetValue())
	assert.Equal(t, []int64{3000, 4000, 4001}, security.SupplementalGroups)
	assert.Equal(t, runtimeapi.SupplementalGroupsPolicy_Strict, security.SupplementalGroupsPolicy)
	assert.Equal(t, "s0:c1", security.SelinuxOptions.GetLevel())
	assert.Equal(t, runtimeapi.SecurityProfile_RuntimeDefault, security.Seccomp.GetProfileType(), "whatever the pod's is")
	assert.False(t, security.Privileged)
}

func TestSandboxIsPrivilegedWithAnyContainer(t *testing.T) {
	yes := &corev1.SecurityContext{Privileged: ptr(true)}
	for name, change := range map[string]func(*corev1.PodSpec){
		"regular": func(s *corev1.PodSpec) { s.Containers[0].SecurityContext = yes },
		"init": func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Name: "init", Image: "x", SecurityContext: yes}}
		},
		"ephemeral": func(s *corev1.PodSpec) {
			s.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Image: "x", SecurityContext: yes}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.True(t, sandbox(t, completePod(t, spec(change)), podspec.SandboxOptions{}).Linux.SecurityContext.Privileged)
		})
	}
}

func TestHostname(t *testing.T) {
	long := strings.Repeat("a", 62)
	for name, row := range map[string]struct {
		change func(*corev1.Pod)
		want   string
	}{
		"of the pod":           {func(*corev1.Pod) {}, "web"},
		"of the spec":          {spec(func(s *corev1.PodSpec) { s.Hostname = "shop" }), "shop"},
		"none on host network": {spec(func(s *corev1.PodSpec) { s.Hostname = "shop"; s.HostNetwork = true }), ""},
		"cut":                  {meta(func(p *corev1.Pod) { p.Name = long + "bcd" }), long + "b"},
		"cut and trimmed":      {meta(func(p *corev1.Pod) { p.Name = long + "-.b" }), long},
		"cut after a dot":      {meta(func(p *corev1.Pod) { p.Name = long + ".bc" }), long},
		"subdomain alone":      {spec(func(s *corev1.PodSpec) { s.Subdomain = "sub" }), "web"},
		"fully qualified":      {spec(func(s *corev1.PodSpec) { s.Subdomain = "sub"; s.SetHostnameAsFQDN = ptr(true) }), "web.sub.shop.svc.cluster.local"},
		"no domain to add":     {spec(func(s *corev1.PodSpec) { s.SetHostnameAsFQDN = ptr(true) }), "web"},
		"override wins":        {spec(func(s *corev1.PodSpec) { s.Hostname = "a"; s.Subdomain = "sub"; s.HostnameOverride = ptr("own.name") }), "own.name"},
	} {
		t.Run(name, func(t *testing.T) {
			config := sandbox(t, newPod(row.change), podspec.SandboxOptions{ClusterDomain: "cluster.local"})
			assert.Equal(t, row.want, config.Hostname)
		})
	}
}

func TestHostnameThatCannotBe(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*corev1.PodSpec)
		want   string
	}{
		"too long when qualified": {func(s *corev1.PodSpec) {
			s.Hostname, s.Subdomain, s.SetHostnameAsFQDN = strings.Repeat("a", 40), "sub", ptr(true)
		}, "spec.setHostnameAsFQDN"},
		"hostname":  {func(s *corev1.PodSpec) { s.Hostname = "a\nb" }, "spec.hostname"},
		"subdomain": {func(s *corev1.PodSpec) { s.Subdomain = "a b" }, "spec.subdomain"},
		"override":  {func(s *corev1.PodSpec) { s.HostnameOverride = ptr("") }, "spec.hostnameOverride"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := podspec.Sandbox(newPod(spec(row.change)), podspec.SandboxOptions{ClusterDomain: "cluster.local"})
			assert.Contains(t, requireReason(t, err, podspec.ReasonSandboxConfig), row.want)
		})
	}
}

func TestPortMappings(t *testing.T) {
	pod := newPod(spec(func(s *corev1.PodSpec) {
		s.InitContainers = []corev1.Container{{Name: "side", Image: "x", RestartPolicy: ptr(corev1.ContainerRestartPolicyAlways), Ports: []corev1.ContainerPort{{ContainerPort: 9}}}}
		s.Containers = []corev1.Container{
			{Name: "a", Image: "x", Ports: []corev1.ContainerPort{
				{ContainerPort: 80},
				{ContainerPort: 80},
				{ContainerPort: 80, Protocol: corev1.ProtocolTCP},
				{ContainerPort: 80, Protocol: corev1.ProtocolUDP, HostPort: 8080, HostIP: "10.0.0.1"},
				{ContainerPort: 80, Protocol: corev1.ProtocolUDP, HostPort: 8080, HostIP: "fd00::1"},
				{Name: "web", ContainerPort: 81, Protocol: corev1.ProtocolSCTP},
				{Name: "web", ContainerPort: 82},
			}},
			{Name: "b", Image: "x", Ports: []corev1.ContainerPort{{ContainerPort: 80}}},
		}
	}))
	var got []string
	for _, mapping := range sandbox(t, pod, podspec.SandboxOptions{}).PortMappings {
		got = append(got, strings.Join(strings.Fields(mapping.String()), " "))
	}
	want := []*runtimeapi.PortMapping{
		{ContainerPort: 80},
		{ContainerPort: 80, Protocol: runtimeapi.Protocol_UDP, HostPort: 8080, HostIp: "10.0.0.1"},
		{ContainerPort: 80, Protocol: runtimeapi.Protocol_UDP, HostPort: 8080, HostIp: "fd00::1"},
		{ContainerPort: 81, Protocol: runtimeapi.Protocol_SCTP},
		{ContainerPort: 80},
	}
	for i, mapping := range want {
		assert.Equal(t, strings.Join(strings.Fields(mapping.String()), " "), got[i])
	}
	assert.Len(t, got, len(want), "no ports of init containers, and each of a container's once")
}

func sysctl(name string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		s.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: name, Value: "1"}}}
	}
}

func TestSysctlsGetDots(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.tcp_syncookies":         "net.ipv4.tcp_syncookies",
		"net/ipv4/tcp_syncookies":         "net.ipv4.tcp_syncookies",
		"net/ipv4/conf/eth0.1/rp_filter":  "net.ipv4.conf.eth0/1.rp_filter",
		"net.ipv4.conf.eth0/1.forwarding": "net.ipv4.conf.eth0/1.forwarding",
	} {
		pod := completePod(t, spec(sysctl(name)))
		config := sandbox(t, pod, podspec.SandboxOptions{AllowedUnsafeSysctls: []string{"net.ipv4.conf.*"}})
		assert.Equal(t, map[string]string{want: "1"}, config.Linux.Sysctls)
	}
}

func TestForbiddenSysctls(t *testing.T) {
	allowed := []string{"net.core.*", "kernel.msgmax", "vm.swappiness"}
	host := func(s *corev1.PodSpec) { s.HostNetwork, s.HostIPC = true, true }
	for name, row := range map[string]struct {
		sysctl string
		host   func(*corev1.PodSpec)
		ok     bool
	}{
		"safe":                   {"net.ipv4.tcp_syncookies", nil, true},
		"safe, on host network":  {"net.ipv4.tcp_syncookies", host, false},
		"unsafe":                 {"net.ipv4.tcp_mem", nil, false},
		"allowed by pattern":     {"net.core.somaxconn", nil, true},
		"allowed by slashes":     {"net/core/somaxconn", nil, true},
		"allowed, host network":  {"net.core.somaxconn", host, false},
		"allowed by name":        {"kernel.msgmax", nil, true},
		"allowed, host IPC":      {"kernel.msgmax", host, false},
		"allowed, of the node":   {"vm.swappiness", nil, false},
		"safe name and more":     {"net.ipv4.tcp_syncookies2", nil, false},
		"pattern is a prefix":    {"net.core", nil, false},
		"shared memory, own IPC": {"kernel.shm_rmid_forced", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(spec(sysctl(row.sysctl)))
			if row.host != nil {
				row.host(&pod.Spec)
			}
			_, err := podspec.Sandbox(pod, podspec.SandboxOptions{AllowedUnsafeSysctls: allowed})
			if row.ok {
				assert.NoError(t, err)
				return
			}
			message := requireReason(t, err, podspec.ReasonSysctlForbidden)
			assert.Contains(t, message, "spec.securityContext.sysctls[0].name")
			assert.Contains(t, message, row.sysctl)
		})
	}
}

func TestWhatTheSandboxCannotDoYetIsNamed(t *testing.T) {
	for field, change := range map[string]func(*corev1.PodSpec){
		"spec.hostUsers":      func(s *corev1.PodSpec) { s.HostUsers = ptr(false) },
		"spec.resourceClaims": func(s *corev1.PodSpec) { s.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}} },
		"spec.resources":      func(s *corev1.PodSpec) { s.Resources = &corev1.ResourceRequirements{Limits: list("cpu", "1")} },
		"spec.os.name":        func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: corev1.Windows} },
		"spec.securityContext.supplementalGroupsPolicy": func(s *corev1.PodSpec) {
			s.SecurityContext = &corev1.PodSecurityContext{SupplementalGroupsPolicy: ptr(corev1.SupplementalGroupsPolicy("New"))}
		},
	} {
		t.Run(field, func(t *testing.T) {
			_, err := podspec.Sandbox(newPod(spec(change)), podspec.SandboxOptions{})
			assert.Contains(t, requireReason(t, err, podspec.ReasonSandboxConfig), field)
		})
	}
	sandbox(t, newPod(spec(func(s *corev1.PodSpec) { s.RuntimeClassName, s.HostUsers = ptr(""), ptr(true) })), podspec.SandboxOptions{})
}
