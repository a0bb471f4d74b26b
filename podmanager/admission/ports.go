package admission

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/podmanager"
)

const everyIP = "0.0.0.0"

// checkPorts asks whether the pod's host ports are free.
func checkPorts(pod *corev1.Pod, others []*corev1.Pod) *podmanager.Rejection {
	wanted := hostPorts(pod)
	for _, other := range others {
		for _, taken := range hostPorts(other) {
			if slices.ContainsFunc(wanted, func(port corev1.ContainerPort) bool { return collide(port, taken) }) {
				return failed(ReasonNodePorts, "node(s) didn't have free ports for the requested pod ports")
			}
		}
	}
	return nil
}

// hostPorts returns the ports that the pod takes for as long as it runs. Those of
// init containers are free again when it has started.
func hostPorts(pod *corev1.Pod) []corev1.ContainerPort {
	var ports []corev1.ContainerPort
	take := func(c *corev1.Container) {
		for _, port := range c.Ports {
			if port.HostPort > 0 {
				ports = append(ports, port)
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; cri.IsSidecar(c) {
			take(c)
		}
	}
	for i := range pod.Spec.Containers {
		take(&pod.Spec.Containers[i])
	}
	return ports
}

// collide reports whether two host ports cannot be had at a time.
func collide(a, b corev1.ContainerPort) bool {
	ipA, ipB := cmp.Or(a.HostIP, everyIP), cmp.Or(b.HostIP, everyIP)
	return a.HostPort == b.HostPort &&
		cmp.Or(a.Protocol, corev1.ProtocolTCP) == cmp.Or(b.Protocol, corev1.ProtocolTCP) &&
		(ipA == ipB || ipA == everyIP || ipB == everyIP)
}
