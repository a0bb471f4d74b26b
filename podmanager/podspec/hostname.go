package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// maxHostname leaves room for the terminating zero that the kernel adds.
	maxHostname = 63
	// maxFQDN is the longest host name that the kernel takes (sethostname(2)).
	maxFQDN = 64
)

// kernelHostname is the host name that the sandbox is started with, empty on
// the host's network.
func kernelHostname(pod *corev1.Pod, clusterDomain string) (string, error) {
	if pod.Spec.HostNetwork {
		return "", nil
	}
	hostname, domain, err := hostnameAndDomain(pod, clusterDomain)
	if err != nil || domain == "" || !deref(pod.Spec.SetHostnameAsFQDN) {
		return hostname, err
	}
	fqdn := hostname + "." + domain
	if len(fqdn) > maxFQDN {
		return "", fmt.Errorf("spec.setHostnameAsFQDN: %q is longer than the %d characters of a host name", fqdn, maxFQDN)
	}
	return fqdn, nil
}

// hostnameAndDomain are the pod's name and its DNS domain; the latter is empty
// without a subdomain, and when the host name is overridden.
func hostnameAndDomain(pod *corev1.Pod, clusterDomain string) (hostname, domain string, err error) {
	spec := &pod.Spec
	if override := spec.HostnameOverride; override != nil {
		if err := asName("hostnameOverride", *override, validation.IsDNS1123Subdomain); err != nil {
			return "", "", err
		}
		return truncateHostname(*override), "", nil
	}
	hostname = pod.Name
	if spec.Hostname != "" {
		if err := asName("hostname", spec.Hostname, validation.IsDNS1123Label); err != nil {
			return "", "", err
		}
		hostname = spec.Hostname
	}
	if spec.Subdomain != "" {
		if err := asName("subdomain", spec.Subdomain, validation.IsDNS1123Label); err != nil {
			return "", "", err
		}
		domain = strings.TrimSuffix(spec.Subdomain+"."+pod.Namespace+".svc."+clusterDomain, ".")
	}
	return truncateHostname(hostname), domain, nil
}

// asName checks a name that ends up in the pod's hosts file.
func asName(name, value string, check func(string) []string) error {
	if messages := check(value); len(messages) > 0 {
		return field.Invalid(specPath.Child(name), value, strings.Join(messages, "; "))
	}
	return nil
}

func truncateHostname(name string) string {
	if len(name) <= maxHostname {
		return name
	}
	return strings.TrimRight(name[:maxHostname], "-.")
}
