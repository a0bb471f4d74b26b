package podspec_test

import (
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

const hostsHead = "# Kubernetes-managed hosts file.\n" +
	"127.0.0.1\tlocalhost\n" +
	"::1\tlocalhost ip6-localhost ip6-loopback\n" +
	"fe00::0\tip6-localnet\n" +
	"fe00::0\tip6-mcastprefix\n" +
	"fe00::1\tip6-allnodes\n" +
	"fe00::2\tip6-allrouters\n"

func TestHostsFile(t *testing.T) {
	node := []byte("127.0.0.1\tlocalhost\n")
	ips := []string{"10.0.0.7", "fd00::7"}
	aliases := []corev1.HostAlias{{IP: "192.0.2.1", Hostnames: []string{"db", "db.local"}}, {IP: "192.0.2.2", Hostnames: []string{"mq"}}}
	const aliasText = "\n# Entries added by HostAliases.\n192.0.2.1\tdb\tdb.local\n192.0.2.2\tmq\n"
	for name, row := range map[string]struct {
		change func(*corev1.PodSpec)
		want   string
	}{
		"every address":           {func(*corev1.PodSpec) {}, hostsHead + "10.0.0.7\tweb\nfd00::7\tweb\n"},
		"qualified name first":    {func(s *corev1.PodSpec) { s.Subdomain = "sub" }, hostsHead + "10.0.0.7\tweb.sub.shop.svc.cluster.local\tweb\nfd00::7\tweb.sub.shop.svc.cluster.local\tweb\n"},
		"aliases":                 {func(s *corev1.PodSpec) { s.HostAliases = aliases }, hostsHead + "10.0.0.7\tweb\nfd00::7\tweb\n" + aliasText},
		"host network":            {func(s *corev1.PodSpec) { s.HostNetwork = true }, "# Kubernetes-managed hosts file (host network).\n127.0.0.1\tlocalhost\n"},
		"host network, aliases":   {func(s *corev1.PodSpec) { s.HostNetwork, s.HostAliases = true, aliases }, "# Kubernetes-managed hosts file (host network).\n127.0.0.1\tlocalhost\n" + aliasText},
		"no line for a bad name":  {func(s *corev1.PodSpec) { s.Hostname = "a\n6.6.6.6 bank" }, hostsHead},
		"hostname override alone": {func(s *corev1.PodSpec) { s.HostnameOverride, s.Subdomain = ptr("own"), "sub" }, hostsHead + "10.0.0.7\town\nfd00::7\town\n"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, row.want, string(podspec.HostsFile(newPod(spec(row.change)), ips, "cluster.local", node)))
		})
	}
}
