package podspec

import (
	"bytes"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	// The first lines by which tools tell that the file is managed.
	hostsHeader        = "# Kubernetes-managed hosts file.\n"
	hostNetworkHeader  = "# Kubernetes-managed hosts file (host network).\n"
	hostAliasesHeader  = "\n# Entries added by HostAliases.\n"
	hostsFileLocalhost = "127.0.0.1\tlocalhost\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::0\tip6-localnet\n" +
		"fe00::0\tip6-mcastprefix\n" +
		"fe00::1\tip6-allnodes\n" +
		"fe00::2\tip6-allrouters\n"
)

// HostsFile is the content of /etc/hosts in the containers of the pod, to be
// written with mode 0644 and named in ContainerOptions.HostsFile. nodeHosts is
// the content of the node's own file, which pods on the host's network get;
// podIPs and clusterDomain are for all others.
func HostsFile(pod *corev1.Pod, podIPs []string, clusterDomain string, nodeHosts []byte) []byte {
	var out bytes.Buffer
	if pod.Spec.HostNetwork {
		out.WriteString(hostNetworkHeader)
		out.Write(nodeHosts)
	} else {
		out.WriteString(hostsHeader + hostsFileLocalhost)
		writeOwnHosts(&out, pod, podIPs, clusterDomain)
	}
	writeHostAliases(&out, pod.Spec.HostAliases)
	return out.Bytes()
}

// writeOwnHosts maps the pod's addresses to its names. A pod whose names are
// invalid has none; its sandbox is refused anyhow.
func writeOwnHosts(out *bytes.Buffer, pod *corev1.Pod, podIPs []string, clusterDomain string) {
	hostname, domain, err := hostnameAndDomain(pod, clusterDomain)
	if err != nil {
		return
	}
	names := hostname
	if domain != "" {
		names = hostname + "." + domain + "\t" + hostname
	}
	for _, ip := range podIPs {
		fmt.Fprintf(out, "%s\t%s\n", ip, names)
	}
}

func writeHostAliases(out *bytes.Buffer, aliases []corev1.HostAlias) {
	if len(aliases) == 0 {
		return
	}
	out.WriteString(hostAliasesHeader)
	for _, alias := range aliases {
		fmt.Fprintf(out, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
	}
}
