package podspec_test

import (
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func secured(own *corev1.SecurityContext, ofPod *corev1.PodSecurityContext) *corev1.Pod {
	return newPod(func(p *corev1.Pod) {
		p.Spec.SecurityContext = ofPod
		p.Spec.Containers[0].SecurityContext = own
	})
}

func security(t *testing.T, pod *corev1.Pod, change ...func(*podspec.ContainerOptions)) *runtimeapi.LinuxContainerSecurityContext {
	t.Helper()
	return container(t, pod, options(change...)).Linux.SecurityContext
}

func imageUser(uid *int64, name string) func(*podspec.ContainerOptions) {
	return func(o *podspec.ContainerOptions) {
		o.Image = &runtimeapi.Image{Id: "sha256:abc", Username: name}
		if uid != nil {
			o.Image.Uid = &runtimeapi.Int64Value{Value: *uid}
		}
	}
}

func TestRunAsUser(t *testing.T) {
	one, two := ptr[int64](1), ptr[int64](2)
	for name, row := range map[string]struct {
		own, ofPod, image *int64
		imageName         string
		wantUID           *int64
		wantName          string
	}{
		"container first":       {one, two, ptr[int64](3), "", one, ""},
		"then the pod":          {nil, two, ptr[int64](3), "", two, ""},
		"then the image's UID":  {nil, nil, ptr[int64](3), "", ptr[int64](3), ""},
		"then the image's name": {nil, nil, nil, "www", nil, "www"},
		"else root":             {nil, nil, nil, "", ptr[int64](0), ""},
		"spec hides the name":   {one, nil, nil, "www", one, ""},
		"zero is a user":        {ptr[int64](0), two, nil, "", ptr[int64](0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			pod := secured(&corev1.SecurityContext{RunAsUser: row.own}, &corev1.PodSecurityContext{RunAsUser: row.ofPod})
			got := security(t, pod, imageUser(row.image, row.imageName))
			assert.Equal(t, row.wantName, got.RunAsUsername)
			if row.wantUID == nil {
				assert.Nil(t, got.RunAsUser)
			} else {
				assert.Equal(t, *row.wantUID, got.RunAsUser.GetValue())
				assert.NotNil(t, got.RunAsUser)
			}
		})
	}
}

func TestRunAsGroup(t *testing.T) {
	ofPod := &corev1.PodSecurityContext{RunAsGroup: ptr[int64](7)}
	assert.Equal(t, int64(7), security(t, secured(nil, ofPod)).RunAsGroup.GetValue())
	assert.Equal(t, int64(8), security(t, secured(&corev1.SecurityContext{RunAsGroup: ptr[int64](8)}, ofPod)).RunAsGroup.GetValue())
	assert.Nil(t, security(t, secured(nil, nil)).RunAsGroup)
}

func TestRunAsNonRoot(t *testing.T) {
	yes, no := ptr(true), ptr(false)
	for name, row := range map[string]struct {
		own       *corev1.SecurityContext
		ofPod     *corev1.PodSecurityContext
		uid       *int64
		imageName string
		refused   string
	}{
		"not asked":                  {nil, nil, nil, "", ""},
		"user of the container":      {&corev1.SecurityContext{RunAsNonRoot: yes, RunAsUser: ptr[int64](5)}, nil, nil, "", ""},
		"root of the container":      {&corev1.SecurityContext{RunAsNonRoot: yes, RunAsUser: ptr[int64](0)}, nil, nil, "", "runAsUser breaks non-root policy"},
		"root of the pod":            {nil, &corev1.PodSecurityContext{RunAsNonRoot: yes, RunAsUser: ptr[int64](0)}, nil, "", "runAsUser breaks non-root policy"},
		"root of the image":          {nil, &corev1.PodSecurityContext{RunAsNonRoot: yes}, ptr[int64](0), "", "image will run as root"},
		"image that names nobody":    {nil, &corev1.PodSecurityContext{RunAsNonRoot: yes}, nil, "", "image will run as root"},
		"user of the image":          {nil, &corev1.PodSecurityContext{RunAsNonRoot: yes}, ptr[int64](5), "", ""},
		"name in the image":          {nil, &corev1.PodSecurityContext{RunAsNonRoot: yes}, nil, "www", "non-numeric user (www), cannot verify"},
		"UID makes the name known":   {nil, &corev1.PodSecurityContext{RunAsNonRoot: yes, RunAsUser: ptr[int64](5)}, nil, "www", ""},
		"container overrides pod":    {&corev1.SecurityContext{RunAsNonRoot: no}, &corev1.PodSecurityContext{RunAsNonRoot: yes}, ptr[int64](0), "", ""},
		"container stricter than it": {&corev1.SecurityContext{RunAsNonRoot: yes}, &corev1.PodSecurityContext{RunAsNonRoot: no}, ptr[int64](0), "", "image will run as root"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := secured(row.own, row.ofPod)
			_, err := podspec.Container(pod, &pod.Spec.Containers[0], options(imageUser(row.uid, row.imageName)))
			if row.refused == "" {
				assert.NoError(t, err)
				return
			}
			message := requireReason(t, err, podspec.ReasonContainerConfig)
			assert.Contains(t, message, row.refused)
			assert.Contains(t, message, "shop/web")
		})
	}
}

func TestContainerPrivileges(t *testing.T) {
	got := security(t, secured(&corev1.SecurityContext{
		Privileged:             ptr(true),
		ReadOnlyRootFilesystem: ptr(true),
		Capabilities:           &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}, Drop: []corev1.Capability{"ALL"}},
	}, nil))
	assert.True(t, got.Privileged)
	assert.True(t, got.ReadonlyRootfs)
	assert.Equal(t, []string{"NET_ADMIN"}, got.Capabilities.GetAddCapabilities())
	assert.Equal(t, []string{"ALL"}, got.Capabilities.GetDropCapabilities())

	got = security(t, secured(nil, nil))
	assert.False(t, got.Privileged)
	assert.False(t, got.ReadonlyRootfs)
	assert.Nil(t, got.Capabilities)
}

func TestNoNewPrivilegesOnlyWhenEscalationIsDenied(t *testing.T) {
	assert.False(t, security(t, secured(nil, nil)).NoNewPrivs)
	assert.False(t, security(t, secured(&corev1.SecurityContext{AllowPrivilegeEscalation: ptr(true)}, nil)).NoNewPrivs)
	assert.True(t, security(t, secured(&corev1.SecurityContext{AllowPrivilegeEscalation: ptr(false)}, nil)).NoNewPrivs)
}

func TestContainerGroupsAndLabels(t *testing.T) {
	ofPod := &corev1.PodSecurityContext{
		FSGroup: ptr[int64](3000), SupplementalGroups: []int64{4000},
		SupplementalGroupsPolicy: ptr(corev1.SupplementalGroupsPolicyStrict),
		SELinuxOptions:           &corev1.SELinuxOptions{User: "u", Role: "r", Type: "t", Level: "pod"},
	}
	strict := func(o *podspec.ContainerOptions) { o.StrictGroups = true }
	got := security(t, secured(nil, ofPod), strict)
	assert.Equal(t, []int64{3000, 4000}, got.SupplementalGroups)
	assert.Equal(t, runtimeapi.SupplementalGroupsPolicy_Strict, got.SupplementalGroupsPolicy)
	assert.Equal(t, "pod", got.SelinuxOptions.GetLevel())
	own := &corev1.SecurityContext{SELinuxOptions: &corev1.SELinuxOptions{Level: "own"}}
	assert.Equal(t, "own", security(t, secured(own, ofPod), strict).SelinuxOptions.GetLevel())

	pod := secured(nil, ofPod)
	_, err := podspec.Container(pod, &pod.Spec.Containers[0], options())
	said := requireReason(t, err, podspec.ReasonContainerConfig)
	assert.Contains(t, said, "spec.securityContext.supplementalGroupsPolicy", "the runtime would add the groups of the image")
}

func TestSeccomp(t *testing.T) {
	profile := func(kind corev1.SeccompProfileType, name ...string) *corev1.SeccompProfile {
		p := &corev1.SeccompProfile{Type: kind}
		for _, n := range name {
			p.LocalhostProfile = &n
		}
		return p
	}
	const (
		byDefault  = runtimeapi.SecurityProfile_RuntimeDefault
		unconfined = runtimeapi.SecurityProfile_Unconfined
		localhost  = runtimeapi.SecurityProfile_Localhost
	)
	for name, row := range map[string]struct {
		own, ofPod *corev1.SeccompProfile
		defaulted  bool
		want       runtimeapi.SecurityProfile_ProfileType
		ref        string
	}{
		"none is unconfined":     {nil, nil, false, unconfined, ""},
		"the node's default":     {nil, nil, true, byDefault, ""},
		"of the pod":             {nil, profile("RuntimeDefault"), false, byDefault, ""},
		"container over pod":     {profile("Unconfined"), profile("RuntimeDefault"), false, unconfined, ""},
		"unconfined over node's": {nil, profile("Unconfined"), true, unconfined, ""},
		"file of the node":       {profile("Localhost", "net/strict.json"), nil, false, localhost, "/var/lib/edged/seccomp/net/strict.json"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := secured(&corev1.SecurityContext{SeccompProfile: row.own}, &corev1.PodSecurityContext{SeccompProfile: row.ofPod})
			got := security(t, pod, func(o *podspec.ContainerOptions) {
				o.SeccompRoot, o.SeccompDefault = "/var/lib/edged/seccomp", row.defaulted
			})
			assert.Equal(t, row.want, got.Seccomp.GetProfileType())
			assert.Equal(t, row.ref, got.Seccomp.GetLocalhostRef())
		})
	}
	for name, bad := range map[string]*corev1.SeccompProfile{"no file": profile("Localhost"), "outside": profile("Localhost", "../../x")} {
		pod := secured(nil, &corev1.PodSecurityContext{SeccompProfile: bad})
		_, err := podspec.Container(pod, &pod.Spec.Containers[0], options())
		assert.Contains(t, requireReason(t, err, podspec.ReasonContainerConfig), "spec.securityContext.seccompProfile.localhostProfile", name)
	}
}

func TestAppArmor(t *testing.T) {
	profile := func(kind corev1.AppArmorProfileType, name *string) *corev1.AppArmorProfile {
		return &corev1.AppArmorProfile{Type: kind, LocalhostProfile: name}
	}
	for name, row := range map[string]struct {
		own, ofPod *corev1.AppArmorProfile
		annotation string
		legacy     string
		ref        string
	}{
		"none":                      {nil, nil, "", "", ""},
		"container":                 {profile("RuntimeDefault", nil), profile("Unconfined", nil), "unconfined", "runtime/default", ""},
		"annotation over pod":       {nil, profile("RuntimeDefault", nil), "localhost/own", "localhost/own", "own"},
		"unconfined by annotation":  {nil, nil, "unconfined", "unconfined", ""},
		"default by annotation":     {nil, nil, "runtime/default", "runtime/default", ""},
		"pod":                       {nil, profile("Localhost", ptr("strict")), "", "localhost/strict", "strict"},
		"annotation that is no one": {nil, profile("Unconfined", nil), "whatever", "unconfined", ""},
	} {
		t.Run(name, func(t *testing.T) {
			pod := secured(&corev1.SecurityContext{AppArmorProfile: row.own}, &corev1.PodSecurityContext{AppArmorProfile: row.ofPod})
			if row.annotation != "" {
				pod.Annotations = map[string]string{"container.apparmor.security.beta.kubernetes.io/app": row.annotation}
			}
			got := security(t, pod)
			assert.Equal(t, row.legacy, got.ApparmorProfile) //nolint:staticcheck // older runtimes read only this
			assert.Equal(t, row.ref, got.Apparmor.GetLocalhostRef())
			assert.Equal(t, row.legacy == "", got.Apparmor == nil)
		})
	}
	for name, bad := range map[string]*corev1.AppArmorProfile{"no name": profile("Localhost", nil), "no type": profile("", nil)} {
		pod := secured(&corev1.SecurityContext{AppArmorProfile: bad}, nil)
		_, err := podspec.Container(pod, &pod.Spec.Containers[0], options())
		assert.Contains(t, requireReason(t, err, podspec.ReasonContainerConfig), "spec.containers[0].securityContext.appArmorProfile", name)
	}
}

func TestProcMount(t *testing.T) {
	for name, own := range map[string]*corev1.SecurityContext{
		"no context": nil,
		"not set":    {},
		"default":    {ProcMount: ptr(corev1.DefaultProcMount)},
	} {
		got := security(t, secured(own, nil))
		assert.Contains(t, got.MaskedPaths, "/proc/kcore", name)
		assert.Contains(t, got.ReadonlyPaths, "/proc/sys", name)
	}
	got := security(t, secured(&corev1.SecurityContext{ProcMount: ptr(corev1.UnmaskedProcMount)}, nil))
	assert.Empty(t, got.MaskedPaths)
	assert.Empty(t, got.ReadonlyPaths)
}

func TestMaskedPathsOfTheNode(t *testing.T) {
	throttle := "/sys/devices/system/cpu/cpu0/thermal_throttle"
	opts := options(func(o *podspec.ContainerOptions) { o.MaskedPaths = []string{throttle} })
	got := container(t, newPod(), opts).Linux.SecurityContext
	assert.Contains(t, got.MaskedPaths, throttle)
	assert.Contains(t, got.MaskedPaths, "/proc/kcore", "beside what is masked everywhere")
	unmasked := secured(&corev1.SecurityContext{ProcMount: ptr(corev1.UnmaskedProcMount)}, nil)
	assert.Empty(t, container(t, unmasked, opts).Linux.SecurityContext.MaskedPaths)
}

func TestResultsShareNothing(t *testing.T) {
	first := security(t, secured(nil, nil))
	first.MaskedPaths[0] = "changed"
	assert.NotEqual(t, "changed", security(t, secured(nil, nil)).MaskedPaths[0])
}
