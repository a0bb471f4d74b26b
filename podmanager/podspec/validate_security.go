package podspec

import (
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const maxSysctlName = 253

// sysctlName takes both separators.
var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

var appArmorTypes = []corev1.AppArmorProfileType{
	corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined,
}

func validatePodSecurity(spec *corev1.PodSpec) field.ErrorList {
	security := spec.SecurityContext
	if security == nil {
		return nil
	}
	path := securityPath
	errs := number(path.Child("runAsUser"), security.RunAsUser, validation.IsValidUserID)
	errs = append(errs, number(path.Child("runAsGroup"), security.RunAsGroup, validation.IsValidGroupID)...)
	errs = append(errs, number(path.Child("fsGroup"), security.FSGroup, validation.IsValidGroupID)...)
	for i := range security.SupplementalGroups {
		group := &security.SupplementalGroups[i]
		errs = append(errs, number(path.Child("supplementalGroups").Index(i), group, validation.IsValidGroupID)...)
	}
	if _, err := groupsPolicy(security); err != nil {
		errs = append(errs, field.NotSupported(path.Child("supplementalGroupsPolicy"), *security.SupplementalGroupsPolicy,
			[]corev1.SupplementalGroupsPolicy{corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict}))
	}
	if policy := security.FSGroupChangePolicy; policy != nil {
		errs = append(errs, oneOf(path.Child("fsGroupChangePolicy"), *policy, corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	}
	errs = append(errs, validateSysctls(security, path.Child("sysctls"))...)
	errs = append(errs, validateSeccomp(security.SeccompProfile, path.Child("seccompProfile"))...)
	return append(errs, validateAppArmor(security.AppArmorProfile, path.Child("appArmorProfile"))...)
}

func validateSysctls(security *corev1.PodSecurityContext, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := names{}
	for i, sysctl := range security.Sysctls {
		name := path.Index(i).Child("name")
		if len(sysctl.Name) > maxSysctlName || !sysctlName.MatchString(sysctl.Name) {
			errs = append(errs, field.Invalid(name, sysctl.Name, "must be the name of a sysctl, of at most 253 characters"))
		}
		errs = append(errs, seen.add(name, dotted(sysctl.Name))...)
	}
	return errs
}

func validateSecurity(spec *corev1.PodSpec, c located) field.ErrorList {
	security := c.SecurityContext
	if security == nil {
		return nil
	}
	path := c.path.Child("securityContext")
	errs := number(path.Child("runAsUser"), security.RunAsUser, validation.IsValidUserID)
	errs = append(errs, number(path.Child("runAsGroup"), security.RunAsGroup, validation.IsValidGroupID)...)
	errs = append(errs, validateSeccomp(security.SeccompProfile, path.Child("seccompProfile"))...)
	errs = append(errs, validateAppArmor(security.AppArmorProfile, path.Child("appArmorProfile"))...)
	if security.ProcMount != nil {
		errs = append(errs, oneOf(path.Child("procMount"), *security.ProcMount, corev1.DefaultProcMount, corev1.UnmaskedProcMount)...)
		if *security.ProcMount == corev1.UnmaskedProcMount && (spec.HostUsers == nil || *spec.HostUsers) {
			errs = append(errs, field.Invalid(path.Child("procMount"), *security.ProcMount, "needs hostUsers to be false"))
		}
	}
	if escalation := security.AllowPrivilegeEscalation; escalation != nil && !*escalation && privileged(security) {
		errs = append(errs, field.Invalid(path.Child("allowPrivilegeEscalation"), false, "a privileged container has all privileges already"))
	}
	return errs
}

func validateSeccomp(profile *corev1.SeccompProfile, path *field.Path) field.ErrorList {
	if profile == nil {
		return nil
	}
	errs := oneOf(path.Child("type"), profile.Type, corev1.SeccompProfileTypeLocalhost,
		corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)
	name := path.Child("localhostProfile")
	switch {
	case profile.Type == corev1.SeccompProfileTypeLocalhost && deref(profile.LocalhostProfile) == "":
		errs = append(errs, field.Required(name, "must be set for the type Localhost"))
	case profile.Type == corev1.SeccompProfileTypeLocalhost:
		errs = append(errs, descending(name, *profile.LocalhostProfile)...)
	case profile.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(name, *profile.LocalhostProfile, "may only be set for the type Localhost"))
	}
	return errs
}

func validateAppArmor(profile *corev1.AppArmorProfile, path *field.Path) field.ErrorList {
	if profile == nil {
		return nil
	}
	errs := oneOf(path.Child("type"), profile.Type, appArmorTypes...)
	name := path.Child("localhostProfile")
	switch {
	case profile.Type == corev1.AppArmorProfileTypeLocalhost && strings.TrimSpace(deref(profile.LocalhostProfile)) == "":
		errs = append(errs, field.Required(name, "must be set for the type Localhost"))
	case profile.Type != corev1.AppArmorProfileTypeLocalhost && profile.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(name, *profile.LocalhostProfile, "may only be set for the type Localhost"))
	}
	return errs
}
