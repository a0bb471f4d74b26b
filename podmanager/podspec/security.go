package podspec

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// securityPath is the path of the pod's security context.
var securityPath = specPath.Child("securityContext")

// maskedPaths and readonlyPaths are what containers do not see and cannot
// change of the kernel, unless their procMount is Unmasked (the lists that
// runtimes and Kubernetes have in common).
var (
	maskedPaths = []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
		"/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// containerSecurity is the security context of a container: its own settings,
// then the pod's, then the image's.
func containerSecurity(pod *corev1.Pod, c located, opts ContainerOptions) (*runtimeapi.LinuxContainerSecurityContext, error) {
	ofPod, own := podSecurity(pod), ownSecurity(c)
	user := runAs(ofPod, own, opts.Image)
	if err := checkNonRoot(ofPod, own, user); err != nil {
		return nil, fmt.Errorf("%w (pod %s/%s, container %s)", err, pod.Namespace, pod.Name, c.Name)
	}
	seccomp, err := seccompProfile(ofPod, own, c, opts)
	if err != nil {
		return nil, err
	}
	apparmor, legacy, err := appArmor(pod, c)
	if err != nil {
		return nil, err
	}
	policy, err := groupsPolicy(ofPod)
	if err != nil {
		return nil, err
	}
	if policy == runtimeapi.SupplementalGroupsPolicy_Strict && !opts.StrictGroups {
		return nil, field.Forbidden(securityPath.Child("supplementalGroupsPolicy"), "the runtime cannot do without the groups of the image")
	}
	namespaces, err := containerNamespaces(pod, c, opts)
	if err != nil {
		return nil, err
	}
	security := &runtimeapi.LinuxContainerSecurityContext{
		Capabilities:             capabilities(own.Capabilities),
		Privileged:               deref(own.Privileged),
		NamespaceOptions:         namespaces,
		SelinuxOptions:           selinux(cmp.Or(own.SELinuxOptions, ofPod.SELinuxOptions)),
		RunAsUser:                int64Value(user.uid),
		RunAsUsername:            user.name,
		RunAsGroup:               int64Value(cmp.Or(own.RunAsGroup, ofPod.RunAsGroup)),
		ReadonlyRootfs:           deref(own.ReadOnlyRootFilesystem),
		SupplementalGroups:       append(supplementalGroups(ofPod), opts.VolumeGroups...),
		SupplementalGroupsPolicy: policy,
		NoNewPrivs:               own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation,
		Seccomp:                  seccomp,
		Apparmor:                 apparmor,
		ApparmorProfile:          legacy, //nolint:staticcheck // older runtimes read only this
	}
	if deref(own.ProcMount) != corev1.UnmaskedProcMount {
		security.MaskedPaths = slices.Concat(maskedPaths, opts.MaskedPaths)
		security.ReadonlyPaths = slices.Clone(readonlyPaths)
	}
	return security, nil
}

func ownSecurity(c located) *corev1.SecurityContext {
	if c.SecurityContext == nil {
		return &corev1.SecurityContext{}
	}
	return c.SecurityContext
}

// user is who the container runs as. A user that the spec sets has no name.
type user struct {
	uid       *int64
	name      string
	fromImage bool
}

func runAs(ofPod *corev1.PodSecurityContext, own *corev1.SecurityContext, image *runtimeapi.Image) user {
	if uid := cmp.Or(own.RunAsUser, ofPod.RunAsUser); uid != nil {
		return user{uid: uid}
	}
	if image.GetUid() != nil {
		return user{uid: &image.Uid.Value, name: image.GetUsername(), fromImage: true}
	}
	if image.GetUsername() != "" {
		return user{name: image.GetUsername(), fromImage: true}
	}
	return user{uid: new(int64), fromImage: true} // an image that names none runs as root
}

// checkNonRoot refuses containers that must not run as root and do, or might.
func checkNonRoot(ofPod *corev1.PodSecurityContext, own *corev1.SecurityContext, user user) error {
	switch {
	case !deref(cmp.Or(own.RunAsNonRoot, ofPod.RunAsNonRoot)):
		return nil
	case user.uid == nil:
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root", user.name)
	case *user.uid > 0:
		return nil
	case user.fromImage:
		return fmt.Errorf("container has runAsNonRoot and image will run as root")
	}
	return fmt.Errorf("container's runAsUser breaks non-root policy")
}

func capabilities(wanted *corev1.Capabilities) *runtimeapi.Capability {
	if wanted == nil {
		return nil
	}
	result := &runtimeapi.Capability{}
	for _, name := range wanted.Add {
		result.AddCapabilities = append(result.AddCapabilities, string(name))
	}
	for _, name := range wanted.Drop {
		result.DropCapabilities = append(result.DropCapabilities, string(name))
	}
	return result
}

func seccompProfile(ofPod *corev1.PodSecurityContext, own *corev1.SecurityContext, c located, opts ContainerOptions) (*runtimeapi.SecurityProfile, error) {
	profile, path := own.SeccompProfile, c.path.Child("securityContext")
	if profile == nil {
		profile, path = ofPod.SeccompProfile, securityPath
	}
	if profile == nil {
		return securityProfile(opts.SeccompDefault), nil
	}
	if profile.Type != corev1.SeccompProfileTypeLocalhost {
		return securityProfile(profile.Type == corev1.SeccompProfileTypeRuntimeDefault), nil
	}
	path = path.Child("seccompProfile")
	if errs := validateSeccomp(profile, path); len(errs) > 0 {
		return nil, errs[0]
	}
	return &runtimeapi.SecurityProfile{
		ProfileType:  runtimeapi.SecurityProfile_Localhost,
		LocalhostRef: filepath.Join(opts.SeccompRoot, *profile.LocalhostProfile),
	}, nil
}

// securityProfile is the runtime's default profile, or none.
func securityProfile(runtimeDefault bool) *runtimeapi.SecurityProfile {
	if runtimeDefault {
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
}

// appArmor is the container's AppArmor profile, in the form of today and in
// the one of older runtimes; nil when none is asked for. The container's field
// counts before the pod's annotation, this before the pod's field.
func appArmor(pod *corev1.Pod, c located) (*runtimeapi.SecurityProfile, string, error) {
	path := c.path.Child("securityContext", "appArmorProfile")
	profile := cmp.Or(ownSecurity(c).AppArmorProfile, annotatedAppArmor(pod, c.Name), podSecurity(pod).AppArmorProfile)
	if profile == nil {
		return nil, "", nil
	}
	switch profile.Type {
	case corev1.AppArmorProfileTypeRuntimeDefault:
		return securityProfile(true), corev1.DeprecatedAppArmorBetaProfileRuntimeDefault, nil
	case corev1.AppArmorProfileTypeUnconfined:
		return securityProfile(false), corev1.DeprecatedAppArmorBetaProfileNameUnconfined, nil
	case corev1.AppArmorProfileTypeLocalhost:
		name := deref(profile.LocalhostProfile)
		if name == "" {
			return nil, "", field.Required(path.Child("localhostProfile"), "must be set for the type Localhost")
		}
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: name},
			corev1.DeprecatedAppArmorBetaProfileNamePrefix + name, nil
	}
	return nil, "", field.NotSupported(path.Child("type"), profile.Type, appArmorTypes)
}

// annotatedAppArmor is the profile that the pod's beta annotation names.
func annotatedAppArmor(pod *corev1.Pod, container string) *corev1.AppArmorProfile {
	value := pod.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+container]
	switch value {
	case corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	case corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	}
	if name, ok := strings.CutPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix); ok {
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}

// containerNamespaces are the pod's, except for an ephemeral container that
// looks into another container's processes.
func containerNamespaces(pod *corev1.Pod, c located, opts ContainerOptions) (*runtimeapi.NamespaceOption, error) {
	options := namespaces(pod)
	target := targetOf(pod, c)
	if target == "" || options.Pid != runtimeapi.NamespaceMode_CONTAINER {
		return options, nil
	}
	if opts.TargetContainerID == "" {
		return nil, fmt.Errorf("unable to find target container %s", target)
	}
	options.Pid = runtimeapi.NamespaceMode_TARGET
	options.TargetId = opts.TargetContainerID
	return options, nil
}

func targetOf(pod *corev1.Pod, c located) string {
	if c.kind != ephemeral {
		return ""
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == c.Name {
			return pod.Spec.EphemeralContainers[i].TargetContainerName
		}
	}
	return ""
}
