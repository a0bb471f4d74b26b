package podspec

import (
	"math"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Validate checks a pod that has its defaults as an API server does on create.
// It does not change the pod.
func Validate(pod *corev1.Pod) field.ErrorList {
	metadata := field.NewPath("metadata")
	errs := apivalidation.ValidateObjectMeta(&pod.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, metadata)
	if uid := string(pod.UID); uid != "" {
		// The UID becomes a directory's name.
		errs = append(errs, invalid(metadata.Child("uid"), uid, content.IsPathSegmentName(uid))...)
	}
	spec := &pod.Spec
	errs = append(errs, validateSpec(spec)...)
	errs = append(errs, validateNames(spec)...)
	errs = append(errs, validateDNS(spec)...)
	errs = append(errs, validatePodSecurity(spec)...)
	errs = append(errs, validateVolumes(spec)...)
	return append(errs, validateContainers(spec)...)
}

func validateSpec(spec *corev1.PodSpec) field.ErrorList {
	errs := oneOf(specPath.Child("restartPolicy"), spec.RestartPolicy,
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	if grace := specPath.Child("terminationGracePeriodSeconds"); spec.TerminationGracePeriodSeconds == nil {
		errs = append(errs, field.Required(grace, ""))
	} else {
		errs = append(errs, apivalidation.ValidateNonnegativeField(*spec.TerminationGracePeriodSeconds, grace)...)
	}
	if deadline := spec.ActiveDeadlineSeconds; deadline != nil && (*deadline < 1 || *deadline > math.MaxInt32) {
		errs = append(errs, field.Invalid(specPath.Child("activeDeadlineSeconds"), *deadline,
			validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	if deref(spec.ShareProcessNamespace) && spec.HostPID {
		errs = append(errs, field.Invalid(specPath.Child("shareProcessNamespace"), true, "may not be set together with hostPID"))
	}
	if spec.OS != nil {
		errs = append(errs, oneOf(specPath.Child("os", "name"), spec.OS.Name, corev1.Linux, corev1.Windows)...)
	}
	errs = append(errs, metavalidation.ValidateLabels(spec.NodeSelector, specPath.Child("nodeSelector"))...)
	for i, gate := range spec.ReadinessGates {
		path := specPath.Child("readinessGates").Index(i).Child("conditionType")
		errs = append(errs, metavalidation.ValidateLabelName(string(gate.ConditionType), path)...)
	}
	return errs
}

// validateNames checks the names by which the pod, its node and its account go.
func validateNames(spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	check := func(name, value string, rule func(string) []string) {
		if value != "" {
			errs = append(errs, invalid(specPath.Child(name), value, rule(value))...)
		}
	}
	check("hostname", spec.Hostname, validation.IsDNS1123Label)
	check("subdomain", spec.Subdomain, validation.IsDNS1123Label)
	check("nodeName", spec.NodeName, validation.IsDNS1123Subdomain)
	check("serviceAccountName", spec.ServiceAccountName, validation.IsDNS1123Subdomain)
	check("priorityClassName", spec.PriorityClassName, validation.IsDNS1123Subdomain)
	check("runtimeClassName", deref(spec.RuntimeClassName), validation.IsDNS1123Subdomain)
	return append(errs, validateHostnameOverride(spec)...)
}

func validateHostnameOverride(spec *corev1.PodSpec) field.ErrorList {
	if spec.HostnameOverride == nil {
		return nil
	}
	path, value := specPath.Child("hostnameOverride"), *spec.HostnameOverride
	errs := invalid(path, value, validation.IsDNS1123Subdomain(value))
	if len(value) > maxFQDN {
		errs = append(errs, field.TooLong(path, "", maxFQDN))
	}
	if spec.HostNetwork {
		errs = append(errs, field.Forbidden(path, "may not be set on the host's network"))
	}
	if deref(spec.SetHostnameAsFQDN) {
		errs = append(errs, field.Forbidden(path, "may not be set together with setHostnameAsFQDN"))
	}
	return errs
}

func validateDNS(spec *corev1.PodSpec) field.ErrorList {
	errs := oneOf(specPath.Child("dnsPolicy"), spec.DNSPolicy,
		corev1.DNSClusterFirst, corev1.DNSClusterFirstWithHostNet, corev1.DNSDefault, corev1.DNSNone)
	errs = append(errs, validateDNSConfig(spec)...)
	for i, alias := range spec.HostAliases {
		path := specPath.Child("hostAliases").Index(i)
		errs = append(errs, validateIP(path.Child("ip"), alias.IP)...)
		for j, name := range alias.Hostnames {
			errs = append(errs, invalid(path.Child("hostnames").Index(j), name, validation.IsDNS1123Subdomain(name))...)
		}
	}
	return errs
}

func validateDNSConfig(spec *corev1.PodSpec) field.ErrorList {
	path := specPath.Child("dnsConfig")
	config := spec.DNSConfig
	if config == nil {
		config = &corev1.PodDNSConfig{}
	}
	var errs field.ErrorList
	if servers := path.Child("nameservers"); spec.DNSPolicy == corev1.DNSNone && len(config.Nameservers) == 0 {
		errs = append(errs, field.Required(servers, "the dnsPolicy None takes none from elsewhere"))
	} else if len(config.Nameservers) > maxNameservers {
		errs = append(errs, field.TooMany(servers, len(config.Nameservers), maxNameservers))
	}
	for i, server := range config.Nameservers {
		errs = append(errs, validateIP(path.Child("nameservers").Index(i), server)...)
	}
	errs = append(errs, validateSearches(config.Searches, path.Child("searches"))...)
	for i, option := range config.Options {
		errs = append(errs, required(path.Child("options").Index(i).Child("name"), option.Name)...)
	}
	return errs
}

func validateSearches(searches []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(searches) > maxSearchPaths {
		errs = append(errs, field.TooMany(path, len(searches), maxSearchPaths))
	}
	if len(strings.Join(searches, " ")) > maxSearchLength {
		errs = append(errs, field.TooLong(path, "", maxSearchLength))
	}
	for i, domain := range searches {
		if domain == "." {
			continue
		}
		messages := validation.IsDNS1123SubdomainWithUnderscore(strings.TrimSuffix(domain, "."))
		errs = append(errs, invalid(path.Index(i), domain, messages)...)
	}
	return errs
}

func validateIP(path *field.Path, value string) field.ErrorList {
	if _, err := netip.ParseAddr(value); err != nil {
		return field.ErrorList{field.Invalid(path, value, "must be an IP address")}
	}
	return nil
}

// invalid is an error for each message that a check of apimachinery returned.
func invalid(path *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, message := range messages {
		errs = append(errs, field.Invalid(path, value, message))
	}
	return errs
}

func required[T ~string](path *field.Path, value T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return nil
}

// oneOf requires the value, and that it is one of those allowed.
func oneOf[T ~string](path *field.Path, value T, allowed ...T) field.ErrorList {
	switch {
	case value == "":
		return field.ErrorList{field.Required(path, "")}
	case !slices.Contains(allowed, value):
		return field.ErrorList{field.NotSupported(path, value, allowed)}
	}
	return nil
}

// number checks an integer that may be left out.
func number(path *field.Path, value *int64, rule func(int64) []string) field.ErrorList {
	if value == nil {
		return nil
	}
	return invalid(path, *value, rule(*value))
}

// names finds what is named twice.
type names map[string]bool

func (n names) add(path *field.Path, name string) field.ErrorList {
	if name != "" && n[name] {
		return field.ErrorList{field.Duplicate(path, name)}
	}
	n[name] = true
	return nil
}

func portNumber(path *field.Path, port int32) field.ErrorList {
	return invalid(path, port, validation.IsValidPortNum(int(port)))
}
