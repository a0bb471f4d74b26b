package podspec

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Units in which the environment can hold resources.
var (
	cpuDivisors  = []string{"1", "1m"}
	byteDivisors = []string{
		"1", "1k", "1M", "1G", "1T", "1P", "1E",
		"1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
	}
)

func validateEnv(c located) field.ErrorList {
	var errs field.ErrorList
	for i, variable := range c.Env {
		path := c.path.Child("env").Index(i)
		if variable.Name == "" {
			errs = append(errs, field.Required(path.Child("name"), ""))
		} else {
			errs = append(errs, invalid(path.Child("name"), variable.Name, validation.IsRelaxedEnvVarName(variable.Name))...)
		}
		if variable.ValueFrom == nil {
			continue
		}
		if variable.Value != "" {
			errs = append(errs, field.Invalid(path.Child("valueFrom"), "", "may not be set together with value"))
		}
		errs = append(errs, validateEnvSource(variable.ValueFrom, path.Child("valueFrom"))...)
	}
	for i, source := range c.EnvFrom {
		errs = append(errs, validateEnvFrom(source, c.path.Child("envFrom").Index(i))...)
	}
	return errs
}

func validateEnvSource(source *corev1.EnvVarSource, path *field.Path) field.ErrorList {
	errs := exactlyOne(path, "one source", map[string]bool{
		"fieldRef":         source.FieldRef != nil,
		"resourceFieldRef": source.ResourceFieldRef != nil,
		"configMapKeyRef":  source.ConfigMapKeyRef != nil,
		"secretKeyRef":     source.SecretKeyRef != nil,
		"fileKeyRef":       source.FileKeyRef != nil,
	})
	if ref := source.FieldRef; ref != nil {
		errs = append(errs, validateFieldRef(ref, envFields, path.Child("fieldRef"))...)
	}
	if ref := source.ResourceFieldRef; ref != nil {
		errs = append(errs, validateResourceRef(ref, path.Child("resourceFieldRef"))...)
	}
	if ref := source.ConfigMapKeyRef; ref != nil {
		errs = append(errs, validateKeyRef(ref.Name, ref.Key, path.Child("configMapKeyRef"))...)
	}
	if ref := source.SecretKeyRef; ref != nil {
		errs = append(errs, validateKeyRef(ref.Name, ref.Key, path.Child("secretKeyRef"))...)
	}
	if ref := source.FileKeyRef; ref != nil {
		errs = append(errs, required(path.Child("fileKeyRef", "volumeName"), ref.VolumeName)...)
		errs = append(errs, required(path.Child("fileKeyRef", "path"), ref.Path)...)
		errs = append(errs, noBacksteps(path.Child("fileKeyRef", "path"), ref.Path)...)
		errs = append(errs, required(path.Child("fileKeyRef", "key"), ref.Key)...)
	}
	return errs
}

// exactlyOne requires that one of the alternatives is set.
func exactlyOne(path *field.Path, what string, alternatives map[string]bool) field.ErrorList {
	count, allowed := 0, make([]string, 0, len(alternatives))
	for name, set := range alternatives {
		if set {
			count++
		}
		allowed = append(allowed, name)
	}
	if count == 1 {
		return nil
	}
	slices.Sort(allowed)
	return field.ErrorList{field.Invalid(path, "", "must have exactly "+what+" of: "+strings.Join(allowed, ", "))}
}

// validateFieldRef checks a reference to a field of the pod: one of allowed,
// or one label or annotation by its key.
func validateFieldRef(ref *corev1.ObjectFieldSelector, allowed []string, path *field.Path) field.ErrorList {
	errs := oneOf(path.Child("apiVersion"), ref.APIVersion, "v1")
	if ref.FieldPath == "" {
		return append(errs, field.Required(path.Child("fieldPath"), ""))
	}
	base, key, keyed := splitKey(ref.FieldPath)
	switch {
	case keyed && base == "metadata.labels":
		return append(errs, invalid(path.Child("fieldPath"), ref.FieldPath, validation.IsQualifiedName(key))...)
	case keyed && base == "metadata.annotations":
		return append(errs, invalid(path.Child("fieldPath"), ref.FieldPath, validation.IsQualifiedName(strings.ToLower(key)))...)
	case !slices.Contains(allowed, ref.FieldPath):
		return append(errs, field.NotSupported(path.Child("fieldPath"), ref.FieldPath, allowed))
	}
	return errs
}

func validateResourceRef(ref *corev1.ResourceFieldSelector, path *field.Path) field.ErrorList {
	_, name, err := splitResource(ref.Resource, path)
	if err != nil {
		return field.ErrorList{field.Invalid(path.Child("resource"), ref.Resource, "must be a limit or request of CPU, memory, ephemeral storage or huge pages")}
	}
	divisors := byteDivisors
	if name == corev1.ResourceCPU {
		divisors = cpuDivisors
	}
	divisor := ref.Divisor
	if !bounded(divisor) {
		return field.ErrorList{field.Invalid(path.Child("divisor"), "", "must fit 64 bits")}
	}
	if divisor.IsZero() || slices.Contains(divisors, divisor.String()) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path.Child("divisor"), divisor.String(), divisors)}
}

func validateKeyRef(name, key string, path *field.Path) field.ErrorList {
	errs := invalid(path.Child("name"), name, validation.IsDNS1123Subdomain(name))
	if key == "" {
		return append(errs, field.Required(path.Child("key"), ""))
	}
	return append(errs, invalid(path.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func validateEnvFrom(source corev1.EnvFromSource, path *field.Path) field.ErrorList {
	errs := exactlyOne(path, "one source", map[string]bool{
		"configMapRef": source.ConfigMapRef != nil,
		"secretRef":    source.SecretRef != nil,
	})
	if source.Prefix != "" {
		errs = append(errs, invalid(path.Child("prefix"), source.Prefix, validation.IsRelaxedEnvVarName(source.Prefix))...)
	}
	if ref := source.ConfigMapRef; ref != nil {
		errs = append(errs, invalid(path.Child("configMapRef", "name"), ref.Name, validation.IsDNS1123Subdomain(ref.Name))...)
	}
	if ref := source.SecretRef; ref != nil {
		errs = append(errs, invalid(path.Child("secretRef", "name"), ref.Name, validation.IsDNS1123Subdomain(ref.Name))...)
	}
	return errs
}
