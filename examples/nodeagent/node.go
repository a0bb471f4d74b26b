package main

import (
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/podmanager/admission"
	"github.com/edged-project/edged/podmanager/podspec"
)

// addressesLast is how long the node's addresses are taken for what they were. To find them
// the kernel lists all interfaces several times, of which each pod has one, and each look at
// each pod asks.
const addressesLast = 10 * time.Second

// addresses are the node's, as they are or were a moment ago.
type addresses struct {
	find func() []string

	mu    sync.Mutex // guards the rest, and has one ask the kernel where many want to know
	known []string
	at    time.Time
}

// ips returns the addresses, which are shared and not changed. That there are none is
// not taken for long: starts wait for them.
func (a *addresses) ips() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) > 0 && time.Since(a.at) < addressesLast {
		return a.known
	}
	a.known, a.at = a.find(), time.Now()
	return a.known
}

// hostIPs returns the addresses of the node that others can reach now, one of each
// family: that of the interface with the default route, else the first there is.
func hostIPs() []string {
	var ips []net.IP
	if routed, err := utilnet.ChooseHostInterface(); err == nil {
		ips = append(ips, routed)
	}
	addresses, _ := net.InterfaceAddrs() // without a list the routed one must do
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok {
			ips = append(ips, network.IP)
		}
	}
	return onePerFamily(ips)
}

// onePerFamily returns the first IPv4 and the first IPv6 address of a wider scope than
// the link, the family that comes first, first.
func onePerFamily(ips []net.IP) []string {
	var chosen []string
	seen := map[bool]bool{}
	for _, ip := range ips {
		v4 := ip.To4() != nil
		if !ip.IsGlobalUnicast() || seen[v4] {
			continue
		}
		seen[v4] = true
		chosen = append(chosen, ip.String())
	}
	return chosen
}

// maxPods is as many as the kubelet takes by default.
const maxPods = 110

// thisNode is what pods are admitted to. What they write lies below root, as far as it
// is not in volumes elsewhere.
func thisNode(name, root string) admission.Node {
	node := admission.Node{
		Name: name,
		OS:   runtime.GOOS,
		Labels: map[string]string{
			corev1.LabelHostname:   name,
			corev1.LabelOSStable:   runtime.GOOS,
			corev1.LabelArchStable: runtime.GOARCH,
		},
		Allocatable: corev1.ResourceList{
			corev1.ResourceCPU:              *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
			corev1.ResourceMemory:           *resource.NewQuantity(memoryCapacity(), resource.BinarySI),
			corev1.ResourceEphemeralStorage: *resource.NewQuantity(diskCapacity(root), resource.BinarySI),
			corev1.ResourcePods:             *resource.NewQuantity(maxPods, resource.DecimalSI),
		},
	}
	for name, quantity := range node.Allocatable {
		if quantity.IsZero() {
			delete(node.Allocatable, name) // it could not be measured, and 0 is for what there is not
		}
	}
	return node
}

// containerOptions is what the configuration of containers depends on here.
func containerOptions(node admission.Node) podspec.ContainerOptions {
	return podspec.ContainerOptions{
		NodeName:       node.Name,
		MemoryCapacity: node.Allocatable.Memory().Value(),
		HugePageSizes:  hugePageSizes(),
		CgroupV2:       cgroupV2(),
		Allocatable:    node.Allocatable,
	}
}

// sandboxOptions is what the configuration of sandboxes depends on here.
func sandboxOptions(opts options) podspec.SandboxOptions {
	return podspec.SandboxOptions{
		LogRoot: opts.podLogs, ClusterDNS: opts.dnsServers(), ClusterDomain: opts.clusterDomain, RuntimeHandlers: opts.handlers,
	}
}

// nodeDNS returns the node's resolver as it is now.
func (a *agent) nodeDNS() *runtimeapi.DNSConfig {
	var dns *runtimeapi.DNSConfig
	content, err := os.ReadFile("/etc/resolv.conf")
	if err == nil {
		dns, err = podspec.ParseResolvConf(content)
	}
	if err != nil {
		a.logger.Warn("pods get the runtime's idea of the node's DNS", zap.Error(err))
	}
	return dns
}
