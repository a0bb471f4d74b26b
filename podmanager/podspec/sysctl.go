package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// safeSysctls influence nobody but the pod (Kubernetes docs, "Using sysctls in
// a Kubernetes Cluster"). A kernel that does not know one refuses the sandbox.
var safeSysctls = []string{
	"kernel.shm_rmid_forced",
	"net.ipv4.ip_local_port_range",
	"net.ipv4.ip_local_reserved_ports",
	"net.ipv4.ip_unprivileged_port_start",
	"net.ipv4.ping_group_range",
	"net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl",
	"net.ipv4.tcp_keepalive_probes",
	"net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_notsent_lowat",
	"net.ipv4.tcp_rmem",
	"net.ipv4.tcp_slow_start_after_idle",
	"net.ipv4.tcp_syncookies",
	"net.ipv4.tcp_wmem",
}

// CheckSysctls reports the first sysctl that the pod may not set: one that is
// neither safe nor in allowed, or one of a namespace that the pod shares with
// the node. The error is an *Error with ReasonSysctlForbidden.
func CheckSysctls(pod *corev1.Pod, allowed []string) error {
	for i, sysctl := range podSecurity(pod).Sysctls {
		if why := sysctlForbidden(pod, dotted(sysctl.Name), allowed); why != "" {
			path := securityPath.Child("sysctls").Index(i).Child("name")
			return &Error{Reason: ReasonSysctlForbidden, Err: fmt.Errorf("%s: forbidden sysctl %q: %s", path, sysctl.Name, why)}
		}
	}
	return nil
}

// sysctlForbidden says why a sysctl is forbidden, "" if it is not.
func sysctlForbidden(pod *corev1.Pod, name string, allowed []string) string {
	namespace := sysctlNamespace(name)
	switch {
	case namespace == "net" && pod.Spec.HostNetwork:
		return "the pod is on the host's network"
	case namespace == "ipc" && pod.Spec.HostIPC:
		return "the pod shares the host's IPC"
	case slices.Contains(safeSysctls, name):
		return ""
	case !slices.ContainsFunc(allowed, func(pattern string) bool { return matches(pattern, name) }):
		return "not among the safe ones, and not allowed on this node"
	case namespace == "":
		return "it belongs to the whole node"
	}
	return ""
}

// sysctlNamespace is the kernel namespace that keeps a sysctl's value, "" for
// one that the whole node shares.
func sysctlNamespace(name string) string {
	switch {
	case strings.HasPrefix(name, "net."):
		return "net"
	case name == "kernel.sem", strings.HasPrefix(name, "kernel.shm"),
		strings.HasPrefix(name, "kernel.msg"), strings.HasPrefix(name, "fs.mqueue."):
		return "ipc"
	}
	return ""
}

func matches(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}
