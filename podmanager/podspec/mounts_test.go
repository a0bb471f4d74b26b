package podspec_test

import (
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// withMounts are options with one volume and the agent's files.
func withMounts(o *podspec.ContainerOptions) {
	o.Mounts = map[string]string{"data": "/volumes/data"}
	o.HostsFile, o.TermMessageFile = "/pods/etc-hosts", "/pods/app/0a1b2c3d"
	o.PodIPs = []string{"10.0.0.9"}
}

// text of mounts: host path -> container path.
func paths(mounts []*runtimeapi.Mount) []string {
	var text []string
	for _, m := range mounts {
		text = append(text, m.HostPath+" -> "+m.ContainerPath)
	}
	return text
}

func TestMountsInOrder(t *testing.T) {
	pod := completePod(t, mount(corev1.VolumeMount{Name: "data", MountPath: "srv"}))
	config := container(t, pod, options(withMounts))
	assert.Equal(t, []string{
		"/volumes/data -> /srv",
		"/pods/etc-hosts -> /etc/hosts",
		"/pods/app/0a1b2c3d -> /dev/termination-log",
	}, paths(config.Mounts))
	for _, m := range config.Mounts[1:] {
		assert.False(t, m.Readonly, m.ContainerPath)
		assert.True(t, m.SelinuxRelabel, m.ContainerPath)
	}
}

func TestHostsFileIsMounted(t *testing.T) {
	const hosts = "/pods/etc-hosts -> /etc/hosts"
	own := mount(corev1.VolumeMount{Name: "data", MountPath: "/etc/hosts"})
	beside := mount(corev1.VolumeMount{Name: "data", MountPath: "/etc/hosts/"})
	host := spec(func(s *corev1.PodSpec) { s.HostNetwork = true })
	for name, row := range map[string]struct {
		change func(*corev1.Pod)
		ips    []string
		want   bool
	}{
		"with an address":        {func(*corev1.Pod) {}, []string{"10.0.0.9"}, true},
		"without an address":     {func(*corev1.Pod) {}, nil, false},
		"on the host's network":  {host, nil, true},
		"not over the pod's own": {own, []string{"10.0.0.9"}, false},
		"only exactly its own":   {beside, []string{"10.0.0.9"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			opts := options(withMounts, func(o *podspec.ContainerOptions) { o.PodIPs = row.ips })
			got := paths(container(t, completePod(t, row.change), opts).Mounts)
			if row.want {
				assert.Contains(t, got, hosts)
			} else {
				assert.NotContains(t, got, hosts)
			}
		})
	}
}

func TestAgentFilesAreOptional(t *testing.T) {
	config := container(t, completePod(t), options(func(o *podspec.ContainerOptions) { o.PodIPs = []string{"10.0.0.9"} }))
	assert.Empty(t, config.Mounts)
}

func TestTerminationMessagePath(t *testing.T) {
	pod := completePod(t, app(func(c *corev1.Container) { c.TerminationMessagePath = "out/last-words" }))
	got := paths(container(t, pod, options(func(o *podspec.ContainerOptions) { o.TermMessageFile = "/pods/x" })).Mounts)
	assert.Equal(t, []string{"/pods/x -> /out/last-words"}, got)
}

func TestMountOfAVolumeThatIsNotThere(t *testing.T) {
	pod := completePod(t, mount(corev1.VolumeMount{Name: "data", MountPath: "/srv"}))
	_, err := podspec.Container(pod, &pod.Spec.Containers[0], options())
	message := requireReason(t, err, podspec.ReasonContainerConfig)
	assert.Contains(t, message, `"data"`)
	assert.Contains(t, message, `"app"`)
}

func TestMountPropagation(t *testing.T) {
	for mode, want := range map[corev1.MountPropagationMode]runtimeapi.MountPropagation{
		"":                                     runtimeapi.MountPropagation_PROPAGATION_PRIVATE,
		corev1.MountPropagationNone:            runtimeapi.MountPropagation_PROPAGATION_PRIVATE,
		corev1.MountPropagationHostToContainer: runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER,
		corev1.MountPropagationBidirectional:   runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL,
	} {
		m := corev1.VolumeMount{Name: "data", MountPath: "/srv", MountPropagation: &mode}
		if mode == "" {
			m.MountPropagation = nil
		}
		config := container(t, newPod(mount(m)), options(withMounts))
		assert.Equal(t, want, config.Mounts[0].Propagation, mode)
	}
	pod := newPod(mount(corev1.VolumeMount{Name: "data", MountPath: "/srv", MountPropagation: ptr(corev1.MountPropagationMode("Up"))}))
	_, err := podspec.Container(pod, &pod.Spec.Containers[0], options(withMounts))
	assert.Contains(t, requireReason(t, err, podspec.ReasonContainerConfig), "spec.containers[0].volumeMounts[0].mountPropagation")
}

func TestReadOnlyMounts(t *testing.T) {
	for name, row := range map[string]struct {
		source           corev1.VolumeSource
		mountReadOnly    bool
		readOnly, labels bool
	}{
		"emptyDir":            {corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, false, false, true},
		"emptyDir, read-only": {corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, true, true, true},
		"hostPath":            {corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/x"}}, false, false, false},
		"configMap":           {corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}, false, true, true},
		"secret":              {corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}, false, true, true},
		"projected":           {corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}, false, true, true},
		"downwardAPI":         {corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{}}, false, true, true},
		"claim":               {corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}, false, false, false},
		"claim, read-only":    {corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c", ReadOnly: true}}, false, true, false},
		"csi, read-only":      {corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d", ReadOnly: ptr(true)}}, false, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(mount(corev1.VolumeMount{Name: "data", MountPath: "/srv", ReadOnly: row.mountReadOnly}), volume(row.source))
			got := container(t, pod, options(withMounts)).Mounts[0]
			assert.Equal(t, row.readOnly, got.Readonly)
			assert.Equal(t, row.labels, got.SelinuxRelabel)
		})
	}
}

func TestRecursiveReadOnly(t *testing.T) {
	const enabled, ifPossible = corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible
	for name, row := range map[string]struct {
		mode      corev1.RecursiveReadOnlyMode
		supported bool
		readOnly  bool
		want, ok  bool
	}{
		"disabled":                     {corev1.RecursiveReadOnlyDisabled, true, true, false, true},
		"enabled":                      {enabled, true, true, true, true},
		"enabled, cannot":              {enabled, false, true, false, false},
		"if possible":                  {ifPossible, true, true, true, true},
		"if possible, cannot":          {ifPossible, false, true, false, true},
		"enabled on a writable mount":  {enabled, true, false, false, false},
		"something else":               {"Always", true, true, false, false},
		"possible on a writable mount": {ifPossible, false, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(mount(corev1.VolumeMount{Name: "data", MountPath: "/srv", ReadOnly: row.readOnly, RecursiveReadOnly: &row.mode}))
			opts := options(withMounts, func(o *podspec.ContainerOptions) { o.RecursiveReadOnly = row.supported })
			config, err := podspec.Container(pod, &pod.Spec.Containers[0], opts)
			if !row.ok {
				assert.Contains(t, requireReason(t, err, podspec.ReasonContainerConfig), "spec.containers[0].volumeMounts[0].recursiveReadOnly")
				return
			}
			assert.NoError(t, err)
			assert.Equal(t, row.want, config.Mounts[0].RecursiveReadOnly)
		})
	}
}
