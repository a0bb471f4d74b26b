package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// maxRestartRules and maxExitCodes bound a container's restart rules.
	maxRestartRules = 20
	maxExitCodes    = 255
)

// validateContainers checks all containers of the pod, and what they must not
// have in common.
func validateContainers(spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	if len(spec.Containers) == 0 {
		errs = append(errs, field.Required(specPath.Child(string(regular)), "must have at least one container"))
	}
	seen, hostPorts := names{}, names{}
	for _, c := range containers(spec) {
		errs = append(errs, seen.add(c.path.Child("name"), c.Name)...)
		errs = append(errs, validateContainer(spec, c)...)
		if c.kind == regular {
			errs = append(errs, validateHostPorts(spec, c, hostPorts)...)
		} else { // init containers run one by one
			errs = append(errs, validateHostPorts(spec, c, names{})...)
		}
	}
	return append(errs, validateTargets(spec)...)
}

func validateContainer(spec *corev1.PodSpec, c located) field.ErrorList {
	errs := requiredName(c.path.Child("name"), c.Name)
	errs = append(errs, required(c.path.Child("image"), c.Image)...)
	if strings.TrimSpace(c.Image) != c.Image {
		errs = append(errs, field.Invalid(c.path.Child("image"), c.Image, "must not have leading or trailing whitespace"))
	}
	errs = append(errs, oneOf(c.path.Child("imagePullPolicy"), c.ImagePullPolicy,
		corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, oneOf(c.path.Child("terminationMessagePolicy"), c.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, validatePorts(c)...)
	errs = append(errs, validateEnv(c)...)
	errs = append(errs, validateMounts(spec, c)...)
	errs = append(errs, validateResources(c)...)
	errs = append(errs, validateResizePolicy(spec, c)...)
	errs = append(errs, validateSecurity(spec, c)...)
	errs = append(errs, validateRestartRules(c)...)
	return append(errs, validateLife(spec, c)...)
}

func requiredName(path *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return invalid(path, name, validation.IsDNS1123Label(name))
}

func validatePorts(c located) field.ErrorList {
	var errs field.ErrorList
	seen := names{}
	for i, port := range c.Ports {
		path := c.path.Child("ports").Index(i)
		if port.Name != "" {
			errs = append(errs, invalid(path.Child("name"), port.Name, validation.IsValidPortName(port.Name))...)
			errs = append(errs, seen.add(path.Child("name"), port.Name)...)
		}
		if port.ContainerPort == 0 {
			errs = append(errs, field.Required(path.Child("containerPort"), ""))
		} else {
			errs = append(errs, portNumber(path.Child("containerPort"), port.ContainerPort)...)
		}
		if port.HostPort != 0 {
			errs = append(errs, portNumber(path.Child("hostPort"), port.HostPort)...)
		}
		errs = append(errs, oneOf(path.Child("protocol"), port.Protocol,
			corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
	}
	return errs
}

// validateHostPorts finds host ports that are used twice among seen.
func validateHostPorts(spec *corev1.PodSpec, c located, seen names) field.ErrorList {
	var errs field.ErrorList
	for i, port := range c.Ports {
		path := c.path.Child("ports").Index(i).Child("hostPort")
		if spec.HostNetwork && c.kind == regular && port.HostPort != port.ContainerPort {
			errs = append(errs, field.Invalid(path, port.HostPort, "must be the containerPort on the host's network"))
		}
		if port.HostPort != 0 {
			errs = append(errs, seen.add(path, fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort))...)
		}
	}
	return errs
}

func validateResizePolicy(spec *corev1.PodSpec, c located) field.ErrorList {
	var errs field.ErrorList
	seen := names{}
	for i, policy := range c.ResizePolicy {
		path := c.path.Child("resizePolicy").Index(i)
		errs = append(errs, seen.add(path, string(policy.ResourceName))...)
		errs = append(errs, oneOf(path.Child("resourceName"), policy.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, oneOf(path.Child("restartPolicy"), policy.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)...)
		if spec.RestartPolicy == corev1.RestartPolicyNever && policy.RestartPolicy == corev1.RestartContainer {
			errs = append(errs, field.Invalid(path.Child("restartPolicy"), policy.RestartPolicy, "the pod's containers are never restarted"))
		}
	}
	return errs
}

// validateRestartRules checks the container's own restart policy.
func validateRestartRules(c located) field.ErrorList {
	policy, rules := c.path.Child("restartPolicy"), c.path.Child("restartPolicyRules")
	var errs field.ErrorList
	if c.RestartPolicy != nil {
		errs = append(errs, oneOf(policy, *c.RestartPolicy, corev1.ContainerRestartPolicyAlways,
			corev1.ContainerRestartPolicyOnFailure, corev1.ContainerRestartPolicyNever)...)
	} else if len(c.RestartPolicyRules) > 0 {
		errs = append(errs, field.Required(policy, "must be set where there are restartPolicyRules"))
	}
	if len(c.RestartPolicyRules) > maxRestartRules {
		errs = append(errs, field.TooMany(rules, len(c.RestartPolicyRules), maxRestartRules))
	}
	for i, rule := range c.RestartPolicyRules {
		errs = append(errs, validateRestartRule(rule, rules.Index(i))...)
	}
	return errs
}

func validateRestartRule(rule corev1.ContainerRestartRule, path *field.Path) field.ErrorList {
	errs := oneOf(path.Child("action"), rule.Action,
		corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
	if rule.ExitCodes == nil {
		return append(errs, field.Required(path.Child("exitCodes"), ""))
	}
	errs = append(errs, oneOf(path.Child("exitCodes", "operator"), rule.ExitCodes.Operator,
		corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
	if count := len(rule.ExitCodes.Values); count > maxExitCodes {
		errs = append(errs, field.TooMany(path.Child("exitCodes", "values"), count, maxExitCodes))
	}
	return errs
}

// validateTargets checks that ephemeral containers look into existing ones.
func validateTargets(spec *corev1.PodSpec) field.ErrorList {
	var targets []string
	for _, c := range containers(spec) {
		if c.kind != ephemeral {
			targets = append(targets, c.Name)
		}
	}
	var errs field.ErrorList
	for i := range spec.EphemeralContainers {
		target := spec.EphemeralContainers[i].TargetContainerName
		if target != "" && !slices.Contains(targets, target) {
			path := specPath.Child(string(ephemeral)).Index(i).Child("targetContainerName")
			errs = append(errs, field.NotFound(path, target))
		}
	}
	return errs
}
