package podspec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func nodeDNS() *runtimeapi.DNSConfig {
	return &runtimeapi.DNSConfig{Servers: []string{"192.0.2.1"}, Searches: []string{"lan"}, Options: []string{"timeout:2"}}
}

func clusterOptions() podspec.SandboxOptions {
	return podspec.SandboxOptions{NodeDNS: nodeDNS(), ClusterDNS: []string{"10.96.0.10"}, ClusterDomain: "cluster.local"}
}

// text is servers | searches | options.
func text(config *runtimeapi.DNSConfig) string {
	return strings.Join(config.Servers, " ") + " | " + strings.Join(config.Searches, " ") + " | " + strings.Join(config.Options, " ")
}

func TestDNSPolicies(t *testing.T) {
	const (
		node    = "192.0.2.1 | lan | timeout:2"
		cluster = "10.96.0.10 | shop.svc.cluster.local svc.cluster.local cluster.local lan | ndots:5"
	)
	extra := &corev1.PodDNSConfig{
		Nameservers: []string{"192.0.2.9", "192.0.2.1"}, Searches: []string{"own", "lan"},
		Options: []corev1.PodDNSConfigOption{{Name: "timeout", Value: ptr("9")}, {Name: "edns0"}, {Name: "ndots", Value: ptr("1")}},
	}
	noCluster := podspec.SandboxOptions{NodeDNS: nodeDNS()}
	for _, row := range []struct {
		name   string
		policy corev1.DNSPolicy
		host   bool
		config *corev1.PodDNSConfig
		opts   podspec.SandboxOptions
		want   string
	}{
		{"cluster first", corev1.DNSClusterFirst, false, nil, clusterOptions(), cluster},
		{"cluster first is the default", "", false, nil, clusterOptions(), cluster},
		{"cluster first on host network is default", corev1.DNSClusterFirst, true, nil, clusterOptions(), node},
		{"cluster first with host network", corev1.DNSClusterFirstWithHostNet, true, nil, clusterOptions(), cluster},
		{"default", corev1.DNSDefault, false, nil, clusterOptions(), node},
		{"none", corev1.DNSNone, false, extra, clusterOptions(), "192.0.2.9 192.0.2.1 | own lan | timeout:9 edns0 ndots:1"},
		{"no cluster DNS falls back", corev1.DNSClusterFirst, false, nil, noCluster, node},
		{"pod adds to node", corev1.DNSDefault, false, extra, noCluster, "192.0.2.1 192.0.2.9 | lan own | timeout:9 edns0 ndots:1"},
		{"pod adds to cluster", corev1.DNSClusterFirst, false, extra, clusterOptions(), "10.96.0.10 192.0.2.9 192.0.2.1 | shop.svc.cluster.local svc.cluster.local cluster.local lan own | ndots:1 timeout:9 edns0"},
		{"cluster without domain", corev1.DNSClusterFirst, false, nil, podspec.SandboxOptions{NodeDNS: nodeDNS(), ClusterDNS: []string{"10.96.0.10"}}, "10.96.0.10 | lan | ndots:5"},
	} {
		t.Run(row.name, func(t *testing.T) {
			pod := newPod(spec(func(s *corev1.PodSpec) { s.DNSPolicy, s.HostNetwork, s.DNSConfig = row.policy, row.host, row.config }))
			assert.Equal(t, row.want, text(sandbox(t, pod, row.opts).DnsConfig))
			assert.Equal(t, "192.0.2.1 | lan | timeout:2", text(row.opts.NodeDNS), "the options stay as they are")
		})
	}
}

func TestUnknownNodeDNSIsTheRuntimes(t *testing.T) {
	pod := newPod(spec(func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSDefault }))
	assert.Nil(t, sandbox(t, pod, podspec.SandboxOptions{}).DnsConfig)
}

func TestDNSLimits(t *testing.T) {
	node := &runtimeapi.DNSConfig{}
	for i := range 40 {
		node.Servers = append(node.Servers, fmt.Sprintf("192.0.2.%d", i))
		node.Searches = append(node.Searches, fmt.Sprintf("d%02d", i))
	}
	pod := newPod(spec(func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSDefault }))
	config := sandbox(t, pod, podspec.SandboxOptions{NodeDNS: node}).DnsConfig
	assert.Equal(t, []string{"192.0.2.0", "192.0.2.1", "192.0.2.2"}, config.Servers)
	assert.Len(t, config.Searches, 32)
	assert.Equal(t, "d31", config.Searches[31], "the tail is dropped")
	assert.Len(t, node.Searches, 40)

}

func TestLongSearchDomains(t *testing.T) {
	pod := newPod(spec(func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSDefault }))
	var fits []string
	for _, first := range "abcdefgh" { // 2031 characters when joined
		fits = append(fits, string(first)+strings.Repeat("x", 252))
	}
	tooLong := strings.Repeat("y", 254)
	node := &runtimeapi.DNSConfig{Searches: append(append([]string{tooLong}, fits...), "seventeen.letters", "tail")}
	config := sandbox(t, pod, podspec.SandboxOptions{NodeDNS: node}).DnsConfig
	assert.Equal(t, fits, config.Searches, "neither what resolvers abort on, nor what exceeds 2048 characters and its tail")
}

func TestParseResolvConf(t *testing.T) {
	config, err := podspec.ParseResolvConf([]byte(strings.Join([]string{
		"# nameserver 192.0.2.66",
		"; another comment",
		"nameserver 192.0.2.1",
		"  nameserver\t192.0.2.2  ",
		"search early",
		"search lan. . corp.example.",
		"options ndots:2 rotate",
		"options ndots:3",
		"sortlist 130.155.160.0",
		"",
	}, "\n")))
	require.NoError(t, err)
	assert.Equal(t, "192.0.2.1 192.0.2.2 | lan corp.example | ndots:3 rotate", text(config))

	_, err = podspec.ParseResolvConf([]byte("search lan\nnameserver\n"))
	assert.ErrorContains(t, err, "line 2")
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 1.1.1.1\nsearch a b.\noptions ndots:5"))
	f.Add([]byte("nameserver"))
	f.Add([]byte("search .\n#"))
	f.Fuzz(func(t *testing.T, content []byte) {
		config, err := podspec.ParseResolvConf(content)
		if err != nil {
			return
		}
		pod := newPod(spec(func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSDefault }))
		got := sandbox(t, pod, podspec.SandboxOptions{NodeDNS: config}).DnsConfig
		assert.LessOrEqual(t, len(got.Servers), 3)
		assert.LessOrEqual(t, len(got.Searches), 32)
		assert.LessOrEqual(t, len(strings.Join(got.Searches, " ")), 2048)
	})
}
