package podsync_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
)

func TestMountsAreReadOnlyAllTheWayDownWhereTheRuntimeCan(t *testing.T) {
	for _, row := range []struct {
		name    string
		profile critest.Profile
		mode    corev1.RecursiveReadOnlyMode
		want    bool
		waiting string
		asked   bool
	}{
		{"enabled", critest.Containerd21, corev1.RecursiveReadOnlyEnabled, true, "", true},
		{"if possible", critest.Containerd21, corev1.RecursiveReadOnlyIfPossible, true, "", true},
		{"disabled", critest.Containerd21, corev1.RecursiveReadOnlyDisabled, false, "", false},
		{"if possible, and it is not", critest.Containerd16, corev1.RecursiveReadOnlyIfPossible, false, "", true},
		{"enabled, and it is not possible", critest.Containerd16, corev1.RecursiveReadOnlyEnabled, false, "CreateContainerConfigError", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{Profile: row.profile})
				var mounts []*runtimeapi.Mount
				pod := podOf("a")
				pod.Spec.HostNetwork = true // asks for no network
				pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
				pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{
					Name: "data", MountPath: "/data", ReadOnly: true, RecursiveReadOnly: &row.mode,
				}}
				s.volumes.paths = map[string]string{"data": t.TempDir()}
				_, err := s.syncerOn(&spy{
					Runtime: s.client,
					created: func(config *runtimeapi.ContainerConfig) { mounts = config.Mounts },
				}).Sync(t.Context(), pod)
				asked := len(s.runtime.Calls("Status")) > 0
				assert.Equal(t, row.asked, asked)
				if row.waiting != "" {
					require.Error(t, err)
					assert.Equal(t, row.waiting, s.last().Waiting["a"].Reason)
					return
				}
				require.NoError(t, err)
				for _, mount := range mounts {
					if mount.ContainerPath == "/data" {
						assert.Equal(t, row.want, mount.RecursiveReadOnly)
						return
					}
				}
				t.Error("not mounted")
			})
		})
	}
}

func TestStrictGroupsAreForRuntimesThatKeepToThem(t *testing.T) {
	for _, row := range []struct {
		name    string
		profile critest.Profile
		policy  corev1.SupplementalGroupsPolicy
		waiting string
		asked   bool
	}{
		{"strict", critest.Containerd21, corev1.SupplementalGroupsPolicyStrict, "", true},
		{"strict, and it is not possible", critest.Containerd16, corev1.SupplementalGroupsPolicyStrict, "CreateContainerConfigError", true},
		{"merged", critest.Containerd16, corev1.SupplementalGroupsPolicyMerge, "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{Profile: row.profile})
				pod := podOf("a")
				pod.Spec.HostNetwork = true // asks for no network
				pod.Spec.SecurityContext = &corev1.PodSecurityContext{SupplementalGroupsPolicy: &row.policy}
				_, err := s.syncer().Sync(t.Context(), pod)
				assert.Equal(t, row.asked, len(s.runtime.Calls("Status")) > 0)
				if row.waiting == "" {
					require.NoError(t, err)
					return
				}
				require.ErrorContains(t, err, "spec.securityContext.supplementalGroupsPolicy")
				assert.Equal(t, row.waiting, s.last().Waiting["a"].Reason)
				assert.Empty(t, s.runtime.Calls("CreateContainer"))
			})
		})
	}
}
