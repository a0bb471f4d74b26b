package admission_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/podmanager/admission"
)

type option func(*corev1.Pod)

func pod(uid types.UID, opts ...option) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: string(uid), UID: uid}}
	for _, opt := range opts {
		opt(p)
	}
	return p
}

func spec(change func(*corev1.PodSpec)) option {
	return func(p *corev1.Pod) { change(&p.Spec) }
}

func label(key, value string) option {
	return func(p *corev1.Pod) { p.Labels = map[string]string{key: value} }
}

func sysctl(name string) option {
	return spec(func(s *corev1.PodSpec) {
		s.SecurityContext = &corev1.PodSecurityContext{Sysctls: []corev1.Sysctl{{Name: name, Value: "1"}}}
	})
}

func selects(key, value string) option {
	return spec(func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{key: value} })
}

// reason returns why the node does not take the pod, "" if it does.
func reason(p *corev1.Pod, node admission.Node, admitted ...*corev1.Pod) string {
	if why := admission.Check(p, node, admitted); why != nil {
		return why.Reason
	}
	return ""
}

// demanding is a pod with something that each check can refuse.
func demanding() *corev1.Pod {
	return pod("a",
		label(corev1.LabelOSStable, "windows"),
		selects("disk", "ssd"),
		requests("100", "100Gi"),
		ports(corev1.ContainerPort{HostPort: 80}),
		spec(func(s *corev1.PodSpec) {
			s.NodeName = "other"
			s.OS = &corev1.PodOS{Name: corev1.Windows}
		}),
	)
}

func TestZeroNodeTakesEveryPod(t *testing.T) {
	assert.Nil(t, admission.Check(demanding(), admission.Node{}, nil))
	assert.Nil(t, admission.Check(pod("a"), admission.Node{}, []*corev1.Pod{demanding()}))
}

func TestZeroNodeTakesSafeSysctlsOnly(t *testing.T) {
	assert.Empty(t, reason(pod("a", sysctl("net.ipv4.tcp_syncookies")), admission.Node{}))
	assert.Equal(t, "SysctlForbidden", reason(pod("a", sysctl("net.core.somaxconn")), admission.Node{}))
}

func TestRejectionsAreWordedAsTheKubeletWordsThem(t *testing.T) {
	node := admission.Node{
		Name:        "edge-1",
		OS:          "linux",
		Labels:      map[string]string{"disk": "hdd"},
		Allocatable: resources("cpu", "2"),
		Taints:      []corev1.Taint{{Key: "out", Effect: corev1.TaintEffectNoExecute}},
	}
	tolerant := spec(func(s *corev1.PodSpec) {
		s.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	})
	web := pod("web", requests("1500m", "0"), ports(corev1.ContainerPort{HostPort: 80}))
	tests := map[string]struct {
		pod     *corev1.Pod
		reason  string
		message string
	}{
		"resource": {
			pod("a", tolerant, requests("600m", "0")), "OutOfcpu",
			"Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000",
		},
		"selector": {
			pod("a", tolerant, selects("disk", "ssd")), "NodeAffinity",
			"Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
		},
		"name": {
			pod("a", tolerant, spec(func(s *corev1.PodSpec) { s.NodeName = "edge-2" })), "NodeName",
			"Predicate NodeName failed: node(s) didn't match the requested node name",
		},
		"ports": {
			pod("a", tolerant, ports(corev1.ContainerPort{HostPort: 80})), "NodePorts",
			"Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
		},
		"taint": {
			pod("a"), "TaintToleration",
			"Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
		},
		"os label": {
			pod("a", tolerant, label("kubernetes.io/os", "windows")), "PodOSSelectorNodeLabelDoesNotMatch",
			"Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
		},
		"os": {
			pod("a", tolerant, spec(func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: corev1.Windows} })), "PodOSNotSupported",
			"Failed to admit pod as the OS field doesn't match node OS",
		},
		"sysctl": {
			pod("a", tolerant, sysctl("vm.swappiness")), "SysctlForbidden",
			`spec.securityContext.sysctls[0].name: forbidden sysctl "vm.swappiness": not among the safe ones, and not allowed on this node`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			why := admission.Check(tt.pod, node, []*corev1.Pod{web})
			require.NotNil(t, why)
			assert.Equal(t, tt.reason, why.Reason)
			assert.Equal(t, tt.message, why.Message)
		})
	}
}

// Each step takes away what the one before was refused for.
func TestChecksAreInTheOrderOfTheKubelet(t *testing.T) {
	node := admission.Node{
		Name:        "edge-1",
		OS:          "linux",
		Allocatable: resources("cpu", "1", "memory", "1Gi", "pods", "1", "ephemeral-storage", "1Gi", "a/b", "0"),
		Taints:      []corev1.Taint{{Key: "out", Effect: corev1.TaintEffectNoExecute}},
	}
	p := demanding()
	sysctl("vm.swappiness")(p)
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Resources: corev1.ResourceRequirements{
		Requests: resources("ephemeral-storage", "2Gi", "a/b", "1"),
	}})
	other := pod("b", ports(corev1.ContainerPort{HostPort: 80}))
	steps := []struct {
		reason string
		undo   func()
	}{
		{"SysctlForbidden", func() { p.Spec.SecurityContext = nil }},
		{"PodOSSelectorNodeLabelDoesNotMatch", func() { p.Labels = nil }},
		{"PodOSNotSupported", func() { p.Spec.OS = nil }},
		{"OutOfpods", func() { delete(node.Allocatable, "pods") }},
		{"OutOfcpu", func() { delete(node.Allocatable, "cpu") }},
		{"OutOfmemory", func() { delete(node.Allocatable, "memory") }},
		{"OutOfephemeral-storage", func() { delete(node.Allocatable, "ephemeral-storage") }},
		{"OutOfa/b", func() { delete(node.Allocatable, "a/b") }},
		{"NodeAffinity", func() { p.Spec.NodeSelector = nil }},
		{"NodeName", func() { p.Spec.NodeName = "edge-1" }},
		{"NodePorts", func() { other.Spec.Containers = nil }},
		{"TaintToleration", func() { node.Taints = nil }},
	}
	for _, step := range steps {
		require.Equal(t, step.reason, reason(p, node, other))
		step.undo()
	}
	assert.Empty(t, reason(p, node, other))
}

func TestWhoCountsAmongTheAdmitted(t *testing.T) {
	node := admission.Node{Allocatable: resources("pods", "1")}
	phase := func(phase corev1.PodPhase) option {
		return func(p *corev1.Pod) { p.Status.Phase = phase }
	}
	tests := map[string]struct {
		other *corev1.Pod
		want  string
	}{
		"a pod that has no phase yet":  {pod("b"), "OutOfpods"},
		"a pending one":                {pod("b", phase(corev1.PodPending)), "OutOfpods"},
		"a running one":                {pod("b", phase(corev1.PodRunning)), "OutOfpods"},
		"one that is told to be over":  {pod("b", phase(corev1.PodFailed)), "OutOfpods"},
		"the pod itself does not":      {pod("a"), ""},
		"another of the same name":     {pod("b", func(p *corev1.Pod) { p.Name = "a" }), "OutOfpods"},
		"one that is being deleted":    {pod("b", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }), "OutOfpods"},
		"one in another namespace too": {pod("b", func(p *corev1.Pod) { p.Namespace = "other" }), "OutOfpods"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, reason(pod("a"), node, tt.other))
		})
	}
}

func TestAllowedUnsafeSysctls(t *testing.T) {
	node := admission.Node{AllowedUnsafeSysctls: []string{"net.core.*"}}
	assert.Empty(t, reason(pod("a", sysctl("net.core.somaxconn")), node))
	assert.Equal(t, "SysctlForbidden", reason(pod("a", sysctl("vm.swappiness")), node))
	onHost := spec(func(s *corev1.PodSpec) { s.HostNetwork = true })
	assert.Equal(t, "SysctlForbidden", reason(pod("a", onHost, sysctl("net.core.somaxconn")), node))
}

func TestOS(t *testing.T) {
	node := admission.Node{OS: "linux"}
	assert.Empty(t, reason(pod("a", label("kubernetes.io/os", "linux")), node))
	assert.Empty(t, reason(pod("a", spec(func(s *corev1.PodSpec) { s.OS = &corev1.PodOS{Name: corev1.Linux} })), node))
}
