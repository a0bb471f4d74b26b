package podspec_test

import (
	"strings"
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestSandboxWarnings(t *testing.T) {
	missing := podspec.Warning{
		Reason:  "MissingClusterDNS",
		Message: `pod: "web_shop(uid-1)". kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. Falling back to "Default" policy.`,
	}
	servers := podspec.Warning{
		Reason:  "DNSConfigForming",
		Message: "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 192.0.2.1 192.0.2.2 192.0.2.3",
	}
	searches := podspec.Warning{
		Reason:  "DNSConfigForming",
		Message: "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: lan own",
	}
	tooMuch := podspec.SandboxOptions{NodeDNS: &runtimeapi.DNSConfig{
		Servers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}, Searches: []string{"lan", strings.Repeat("x", 254), "own"},
	}}
	for name, row := range map[string]struct {
		policy corev1.DNSPolicy
		host   bool
		opts   podspec.SandboxOptions
		want   []podspec.Warning
	}{
		"cluster DNS is there":     {corev1.DNSClusterFirst, false, clusterOptions(), nil},
		"cluster DNS is missing":   {corev1.DNSClusterFirst, false, podspec.SandboxOptions{NodeDNS: nodeDNS()}, []podspec.Warning{missing}},
		"and the node's not known": {corev1.DNSClusterFirst, false, podspec.SandboxOptions{}, []podspec.Warning{missing}},
		"missing on the host":      {corev1.DNSClusterFirstWithHostNet, true, podspec.SandboxOptions{NodeDNS: nodeDNS()}, []podspec.Warning{missing}},
		"not wanted on the host":   {corev1.DNSClusterFirst, true, podspec.SandboxOptions{NodeDNS: nodeDNS()}, nil},
		"not wanted":               {corev1.DNSDefault, false, podspec.SandboxOptions{NodeDNS: nodeDNS()}, nil},
		"too much of all":          {corev1.DNSDefault, false, tooMuch, []podspec.Warning{servers, searches}},
		"both":                     {corev1.DNSClusterFirst, false, tooMuch, []podspec.Warning{missing, servers, searches}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(spec(func(s *corev1.PodSpec) { s.DNSPolicy, s.HostNetwork = row.policy, row.host }))
			assert.Equal(t, row.want, podspec.SandboxWarnings(pod, row.opts))
			sandbox(t, pod, row.opts)
		})
	}
}
