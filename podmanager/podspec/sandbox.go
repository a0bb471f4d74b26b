package podspec

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
)

// DefaultLogRoot is where log shippers look for the logs of pods.
const DefaultLogRoot = "/var/log/pods"

// SandboxOptions is what a sandbox's configuration needs beside the pod. The
// zero value works.
type SandboxOptions struct {
	// Attempt is the number of earlier sandboxes of this pod.
	Attempt uint32
	// LogRoot is the directory of all pods' logs. Default DefaultLogRoot.
	LogRoot string
	// CgroupParent is the pod's cgroup; when empty the runtime chooses.
	CgroupParent string

	// NodeDNS is the node's own resolver configuration (see ParseResolvConf).
	// Pods that use it get what the runtime takes for it when it is nil. It is
	// not changed.
	NodeDNS *runtimeapi.DNSConfig
	// ClusterDNS are the addresses of the cluster's DNS servers. Without them
	// pods that want these use the node's resolver.
	ClusterDNS []string
	// ClusterDomain is the DNS domain of the cluster, such as "cluster.local".
	ClusterDomain string

	// RuntimeHandlers are the runtime's handlers by the name of the RuntimeClass.
	// See RuntimeHandler.
	RuntimeHandlers map[string]string

	// AllowedUnsafeSysctls are the sysctls that pods may set beside the safe
	// ones; "net.core.*" allows all that begin so. See CheckSysctls.
	AllowedUnsafeSysctls []string
}

// Sandbox returns the configuration of the pod's sandbox. The result is the
// caller's and shares nothing with the pod that may change. Errors are *Error.
func Sandbox(pod *corev1.Pod, opts SandboxOptions) (*runtimeapi.PodSandboxConfig, error) {
	if err := CheckSysctls(pod, opts.AllowedUnsafeSysctls); err != nil {
		return nil, err
	}
	if _, err := RuntimeHandler(pod, opts.RuntimeHandlers); err != nil {
		return nil, err
	}
	config, err := sandboxConfig(pod, opts)
	if err != nil {
		return nil, &Error{Reason: ReasonSandboxConfig, Err: err}
	}
	return config, nil
}

func sandboxConfig(pod *corev1.Pod, opts SandboxOptions) (*runtimeapi.PodSandboxConfig, error) {
	if err := unsupportedInPod(pod); err != nil {
		return nil, err
	}
	hostname, err := kernelHostname(pod, opts.ClusterDomain)
	if err != nil {
		return nil, err
	}
	linux, err := sandboxLinux(pod, opts)
	if err != nil {
		return nil, err
	}
	dns, _ := dnsConfig(pod, opts)
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{
			Name:      pod.Name,
			Namespace: pod.Namespace,
			Uid:       string(pod.UID),
			Attempt:   opts.Attempt,
		},
		Hostname:     hostname,
		LogDirectory: crilog.PodDirectory(cmp.Or(opts.LogRoot, DefaultLogRoot), pod.Namespace, pod.Name, pod.UID),
		DnsConfig:    dns,
		PortMappings: portMappings(pod),
		Labels:       cri.SandboxLabels(pod),
		Annotations:  cri.SandboxAnnotations(pod),
		Linux:        linux,
	}, nil
}

func sandboxLinux(pod *corev1.Pod, opts SandboxOptions) (*runtimeapi.LinuxPodSandboxConfig, error) {
	security := podSecurity(pod)
	policy, err := groupsPolicy(security)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.LinuxPodSandboxConfig{
		CgroupParent: opts.CgroupParent,
		Sysctls:      sysctls(security),
		Resources:    sandboxResources(pod),
		Overhead:     sandboxOverhead(pod),
		SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions:         namespaces(pod),
			SelinuxOptions:           selinux(security.SELinuxOptions),
			RunAsUser:                int64Value(security.RunAsUser),
			RunAsGroup:               int64Value(security.RunAsGroup),
			SupplementalGroups:       supplementalGroups(security),
			SupplementalGroupsPolicy: policy,
			Privileged:               anyPrivileged(pod),
			// The pause process needs no more, whatever the containers have.
			Seccomp: &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
		},
	}, nil
}

// podSecurity is the pod's security context, an empty one when there is none:
// nothing else of the pod may be lost with it.
func podSecurity(pod *corev1.Pod) *corev1.PodSecurityContext {
	if pod.Spec.SecurityContext == nil {
		return &corev1.PodSecurityContext{}
	}
	return pod.Spec.SecurityContext
}

// namespaces says which namespaces of the node the pod shares; those of its
// containers are the same.
func namespaces(pod *corev1.Pod) *runtimeapi.NamespaceOption {
	options := &runtimeapi.NamespaceOption{
		Network: nodeOrPod(pod.Spec.HostNetwork),
		Ipc:     nodeOrPod(pod.Spec.HostIPC),
		Pid:     runtimeapi.NamespaceMode_CONTAINER,
	}
	switch {
	case pod.Spec.HostPID:
		options.Pid = runtimeapi.NamespaceMode_NODE
	case deref(pod.Spec.ShareProcessNamespace):
		options.Pid = runtimeapi.NamespaceMode_POD
	}
	return options
}

func nodeOrPod(host bool) runtimeapi.NamespaceMode {
	if host {
		return runtimeapi.NamespaceMode_NODE
	}
	return runtimeapi.NamespaceMode_POD
}

func anyPrivileged(pod *corev1.Pod) bool {
	for _, c := range containers(&pod.Spec) {
		if privileged(c.SecurityContext) {
			return true
		}
	}
	return false
}

func privileged(security *corev1.SecurityContext) bool {
	return security != nil && deref(security.Privileged)
}

// portMappings lists the ports of the regular containers, also those without a
// host port. What one container declares twice counts once.
func portMappings(pod *corev1.Pod) []*runtimeapi.PortMapping {
	var mappings []*runtimeapi.PortMapping
	for _, container := range pod.Spec.Containers {
		seen := map[string]bool{}
		for _, port := range container.Ports {
			key := portKey(port)
			if seen[key] {
				continue
			}
			seen[key] = true
			mappings = append(mappings, &runtimeapi.PortMapping{
				Protocol:      protocol(port.Protocol),
				ContainerPort: port.ContainerPort,
				HostPort:      port.HostPort,
				HostIp:        port.HostIP,
			})
		}
	}
	return mappings
}

// portKey is what makes two ports of a container the same: the name, or all the rest.
func portKey(port corev1.ContainerPort) string {
	if port.Name != "" {
		return port.Name
	}
	family := "any"
	if ip, err := netip.ParseAddr(port.HostIP); err == nil {
		family = familyOf(ip)
	}
	return fmt.Sprintf("%s %s %s %d %d", family, protocol(port.Protocol), port.HostIP, port.ContainerPort, port.HostPort)
}

func protocol(p corev1.Protocol) runtimeapi.Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return runtimeapi.Protocol_UDP
	case corev1.ProtocolSCTP:
		return runtimeapi.Protocol_SCTP
	default:
		return runtimeapi.Protocol_TCP
	}
}

// supplementalGroups are the extra groups of every process of the pod.
func supplementalGroups(security *corev1.PodSecurityContext) []int64 {
	var groups []int64
	if security.FSGroup != nil {
		groups = append(groups, *security.FSGroup)
	}
	return append(groups, security.SupplementalGroups...)
}

func groupsPolicy(security *corev1.PodSecurityContext) (runtimeapi.SupplementalGroupsPolicy, error) {
	name := deref(security.SupplementalGroupsPolicy)
	if name == "" {
		return runtimeapi.SupplementalGroupsPolicy_Merge, nil
	}
	policy, known := runtimeapi.SupplementalGroupsPolicy_value[string(name)]
	if !known {
		return 0, field.NotSupported(securityPath.Child("supplementalGroupsPolicy"), name,
			[]corev1.SupplementalGroupsPolicy{corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict})
	}
	return runtimeapi.SupplementalGroupsPolicy(policy), nil
}

func selinux(options *corev1.SELinuxOptions) *runtimeapi.SELinuxOption {
	if options == nil {
		return nil
	}
	return &runtimeapi.SELinuxOption{User: options.User, Role: options.Role, Type: options.Type, Level: options.Level}
}

func int64Value(p *int64) *runtimeapi.Int64Value {
	if p == nil {
		return nil
	}
	return &runtimeapi.Int64Value{Value: *p}
}

// sysctls are the pod's sysctls by their name with dots.
func sysctls(security *corev1.PodSecurityContext) map[string]string {
	byName := make(map[string]string, len(security.Sysctls))
	for _, sysctl := range security.Sysctls {
		byName[dotted(sysctl.Name)] = sysctl.Value
	}
	return byName
}

// dotted turns net/ipv4/conf/eth0.1/rp_filter into net.ipv4.conf.eth0/1.rp_filter:
// whichever separator comes first is the separator (sysctl.d(5)).
func dotted(name string) string {
	if i := strings.IndexAny(name, "./"); i < 0 || name[i] == '.' {
		return name
	}
	return strings.NewReplacer("/", ".", ".", "/").Replace(name)
}
