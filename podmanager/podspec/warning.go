package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The reasons of a Warning, as the kubelet spells them.
const (
	// ReasonMissingClusterDNS: the pod wants the cluster's DNS servers and gets the
	// node's resolver.
	ReasonMissingClusterDNS = "MissingClusterDNS"
	// ReasonDNSConfigForming: the pod's resolver configuration exceeds what
	// resolvers take, and is cut.
	ReasonDNSConfigForming = "DNSConfigForming"
)

// Warning is what people should know of a sandbox that is configured all the
// same: the reason and the message of an event on the pod.
type Warning struct {
	Reason, Message string
}

// SandboxWarnings says what Sandbox, called with the same arguments, leaves out
// of what the pod asks for.
func SandboxWarnings(pod *corev1.Pod, opts SandboxOptions) []Warning {
	_, warnings := dnsConfig(pod, opts)
	return warnings
}

func missingClusterDNS(pod *corev1.Pod) Warning {
	return Warning{ReasonMissingClusterDNS, fmt.Sprintf(
		"pod: %q. kubelet does not have ClusterDNS IP configured and cannot create Pod using %q policy. Falling back to %q policy.",
		pod.Name+"_"+pod.Namespace+"("+string(pod.UID)+")", corev1.DNSClusterFirst, corev1.DNSDefault)}
}

func dnsForming(what string, applied []string) Warning {
	return Warning{ReasonDNSConfigForming, what + strings.Join(applied, " ")}
}
