package statusmgr

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// setAddresses sets the addresses of the node and of the pod. Both stay when
// nothing newer is known: a pod that has ended still says where it was, and a
// node without a network keeps its pods' status.
func (g *generator) setAddresses(status *corev1.PodStatus) {
	hosts := onePerFamily(g.HostIPs)
	if len(hosts) == 0 {
		hosts = onePerFamily(hostIPStrings(g.previous.HostIPs))
	}
	pods := onePerFamily(g.podIPs())
	if g.Pod.Spec.HostNetwork {
		pods = firstPerFamily(append(pods, hosts...))
	}
	if len(pods) == 2 && len(hosts) > 0 && pods[0].Is4() != hosts[0].Is4() {
		pods[0], pods[1] = pods[1], pods[0]
	}

	status.HostIP, status.HostIPs = "", nil
	for _, ip := range hosts {
		status.HostIPs = append(status.HostIPs, corev1.HostIP{IP: ip.String()})
	}
	if len(hosts) > 0 {
		status.HostIP = hosts[0].String()
	}
	status.PodIP, status.PodIPs = "", nil
	for _, ip := range pods {
		status.PodIPs = append(status.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	if len(pods) > 0 {
		status.PodIP = pods[0].String()
	}
}

// podIPs are the sandbox's addresses, else those that the pod had.
func (g *generator) podIPs() []string {
	if g.State != nil && len(g.State.IPs) > 0 {
		return g.State.IPs
	}
	ips := make([]string, len(g.previous.PodIPs))
	for i, ip := range g.previous.PodIPs {
		ips[i] = ip.IP
	}
	return ips
}

func hostIPStrings(hosts []corev1.HostIP) []string {
	ips := make([]string, len(hosts))
	for i, ip := range hosts {
		ips[i] = ip.IP
	}
	return ips
}

// onePerFamily parses the addresses and keeps the first IPv4 and the first IPv6
// one, which is all that a status may hold. What is no address is left out.
func onePerFamily(ips []string) []netip.Addr {
	var parsed []netip.Addr
	for _, ip := range ips {
		if addr, err := netip.ParseAddr(ip); err == nil && addr.Zone() == "" {
			parsed = append(parsed, addr.Unmap())
		}
	}
	return firstPerFamily(parsed)
}

func firstPerFamily(addrs []netip.Addr) []netip.Addr {
	var first []netip.Addr
	for _, addr := range addrs {
		if len(first) == 0 || len(first) == 1 && first[0].Is4() != addr.Is4() {
			first = append(first, addr)
		}
	}
	return first
}
