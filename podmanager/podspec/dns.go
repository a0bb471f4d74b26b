package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What resolvers take, and so what an API server allows in dnsConfig.
const (
	maxNameservers  = 3
	maxSearchPaths  = 32
	maxSearchLength = 2048
)

// dnsConfig is the resolver configuration of the pod, nil when the runtime is
// to use the node's, and what the pod does not get of what it asks for.
func dnsConfig(pod *corev1.Pod, opts SandboxOptions) (*runtimeapi.DNSConfig, []Warning) {
	var warnings []Warning
	if wantsClusterDNS(pod) && len(opts.ClusterDNS) == 0 {
		warnings = append(warnings, missingClusterDNS(pod))
	}
	base := baseDNS(pod, opts)
	if base == nil && pod.Spec.DNSConfig == nil {
		return nil, warnings
	}
	config := &runtimeapi.DNSConfig{
		Servers:  slices.Clone(base.GetServers()),
		Searches: slices.Clone(base.GetSearches()),
		Options:  slices.Clone(base.GetOptions()),
	}
	if extra := pod.Spec.DNSConfig; extra != nil {
		config.Servers = unique(append(config.Servers, extra.Nameservers...))
		config.Searches = unique(append(config.Searches, extra.Searches...))
		config.Options = mergeOptions(config.Options, podOptions(extra.Options))
	}
	return config, append(warnings, limitDNS(config)...)
}

// limitDNS drops what exceeds the limits of resolvers.
func limitDNS(config *runtimeapi.DNSConfig) []Warning {
	var warnings []Warning
	if len(config.Servers) > maxNameservers {
		config.Servers = config.Servers[:maxNameservers]
		warnings = append(warnings, dnsForming("Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ", config.Servers))
	}
	wanted := len(config.Searches)
	config.Searches = limitSearches(config.Searches)
	if len(config.Searches) < wanted {
		warnings = append(warnings, dnsForming("Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ", config.Searches))
	}
	return warnings
}

// baseDNS is the configuration that the pod's policy asks for.
func baseDNS(pod *corev1.Pod, opts SandboxOptions) *runtimeapi.DNSConfig {
	switch {
	case pod.Spec.DNSPolicy == corev1.DNSNone:
		return &runtimeapi.DNSConfig{}
	case wantsClusterDNS(pod) && len(opts.ClusterDNS) > 0:
		return &runtimeapi.DNSConfig{
			Servers:  opts.ClusterDNS,
			Searches: clusterSearches(pod.Namespace, opts),
			Options:  []string{"ndots:5"},
		}
	default:
		return opts.NodeDNS
	}
}

func wantsClusterDNS(pod *corev1.Pod) bool {
	switch pod.Spec.DNSPolicy {
	case corev1.DNSDefault, corev1.DNSNone:
		return false
	case corev1.DNSClusterFirstWithHostNet:
		return true
	default: // ClusterFirst, also where it has not been defaulted
		return !pod.Spec.HostNetwork
	}
}

func clusterSearches(namespace string, opts SandboxOptions) []string {
	domain, node := opts.ClusterDomain, opts.NodeDNS.GetSearches()
	if domain == "" {
		return node
	}
	return unique(append([]string{namespace + ".svc." + domain, "svc." + domain, domain}, node...))
}

// limitSearches drops domains that are too long for resolvers, and from the
// tail what exceeds the length of the list.
func limitSearches(searches []string) []string {
	searches = searches[:min(len(searches), maxSearchPaths)]
	searches = slices.DeleteFunc(searches, func(domain string) bool {
		return len(domain) > validation.DNS1123SubdomainMaxLength
	})
	for len(strings.Join(searches, " ")) > maxSearchLength {
		searches = searches[:len(searches)-1]
	}
	return searches
}

func podOptions(options []corev1.PodDNSConfigOption) []string {
	texts := make([]string, 0, len(options))
	for _, option := range options {
		text := option.Name
		if value := deref(option.Value); value != "" {
			text += ":" + value
		}
		texts = append(texts, text)
	}
	return texts
}

// mergeOptions adds the overrides to the options. One of the same name
// replaces the earlier one in its place.
func mergeOptions(options, overrides []string) []string {
	for _, override := range overrides {
		same := func(option string) bool { return optionName(option) == optionName(override) }
		if i := slices.IndexFunc(options, same); i >= 0 {
			options[i] = override
		} else {
			options = append(options, override)
		}
	}
	return options
}

func optionName(option string) string {
	name, _, _ := strings.Cut(option, ":")
	return name
}

// unique drops repetitions and keeps the order.
func unique(values []string) []string {
	seen := make(map[string]bool, len(values))
	return slices.DeleteFunc(values, func(value string) bool {
		repeated := seen[value]
		seen[value] = true
		return repeated
	})
}

// ParseResolvConf reads the content of a resolv.conf(5) file for
// SandboxOptions.NodeDNS. Nameservers and options accumulate, the last search
// line counts, unknown lines are skipped. A nameserver line without an address
// is an error.
func ParseResolvConf(content []byte) (*runtimeapi.DNSConfig, error) {
	config := &runtimeapi.DNSConfig{}
	line := 0
	for text := range strings.Lines(string(content)) {
		line++
		fields := strings.Fields(text)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		switch values := fields[1:]; fields[0] {
		case "nameserver":
			if len(values) == 0 {
				return nil, fmt.Errorf("parse resolver configuration: line %d: nameserver without address", line)
			}
			config.Servers = append(config.Servers, values[0])
		case "search":
			config.Searches = searchDomains(values)
		case "options":
			config.Options = mergeOptions(config.Options, values)
		}
	}
	return config, nil
}

// searchDomains writes a domain with and without the final dot the same way.
func searchDomains(domains []string) []string {
	var searches []string
	for _, domain := range domains {
		if domain != "." {
			searches = append(searches, strings.TrimSuffix(domain, "."))
		}
	}
	return searches
}
