package main

import (
	"net"
	"os"
	"runtime"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edged-project/edged/podmanager/admission"
	"github.com/edged-project/edged/podmanager/podspec"
)

// hostIPs returns the addresses of the node that others can reach, IPv4 first.
func hostIPs() []string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var v4, v6 []string
	for _, address := range addresses {
		network, ok := address.(*net.IPNet)
		switch {
		case !ok || !network.IP.IsGlobalUnicast():
		case network.IP.To4() != nil:
			v4 = append(v4, network.IP.String())
		default:
			v6 = append(v6, network.IP.String())
		}
	}
	return append(first(v4), first(v6)...)
}

func first(ips []string) []string { return ips[:min(1, len(ips))] }

// maxPods is as many as the kubelet takes by default.
const maxPods = 110

// thisNode is what pods are admitted to.
func thisNode(name string) admission.Node {
	return admission.Node{
		Name: name,
		OS:   runtime.GOOS,
		Labels: map[string]string{
			corev1.LabelHostname:   name,
			corev1.LabelOSStable:   runtime.GOOS,
			corev1.LabelArchStable: runtime.GOARCH,
		},
		Allocatable: corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(memoryCapacity(), resource.BinarySI),
			corev1.ResourcePods:   *resource.NewQuantity(maxPods, resource.DecimalSI),
		},
	}
}

// containerOptions is what the configuration of containers depends on here.
func containerOptions(node admission.Node) podspec.ContainerOptions {
	return podspec.ContainerOptions{
		NodeName:       node.Name,
		HostIPs:        hostIPs(),
		MemoryCapacity: node.Allocatable.Memory().Value(),
		CgroupV2:       cgroupV2(),
		Allocatable:    node.Allocatable,
	}
}

// sandboxOptions is what the configuration of sandboxes depends on here.
func sandboxOptions(opts options, logger *zap.Logger) podspec.SandboxOptions {
	sandbox := podspec.SandboxOptions{LogRoot: opts.podLogs, ClusterDomain: opts.clusterDomain}
	if opts.clusterDNS != "" {
		sandbox.ClusterDNS = strings.Split(opts.clusterDNS, ",")
	}
	content, err := os.ReadFile("/etc/resolv.conf")
	if err == nil {
		sandbox.NodeDNS, err = podspec.ParseResolvConf(content)
	}
	if err != nil {
		logger.Warn("pods get the runtime's idea of the node's DNS", zap.Error(err))
	}
	return sandbox
}
