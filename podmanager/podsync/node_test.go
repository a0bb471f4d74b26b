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

// A board boots before its network is up, and roams.
func TestStartsGetTheAddressesAndTheResolverOfTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		var address, resolver string
		s.hostIPs = func() []string {
			if address == "" {
				return nil
			}
			return []string{address}
		}
		s.dns = func() *runtimeapi.DNSConfig { return &runtimeapi.DNSConfig{Servers: []string{resolver}} }
		var gotAddress, gotResolver string
		syncer := s.syncerOn(&spy{
			Runtime: s.client,
			run:     func(config *runtimeapi.PodSandboxConfig) { gotResolver = config.GetDnsConfig().GetServers()[0] },
			created: func(config *runtimeapi.ContainerConfig) { gotAddress = string(config.Envs[0].Value) },
		})
		pod := podOf("a")
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "HOST", ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.hostIP"},
		}}}

		resolver = "192.0.2.53"
		_, err := syncer.Sync(t.Context(), pod)
		require.Error(t, err)
		assert.Equal(t, "CreateContainerConfigError", s.last().Waiting["a"].Reason)
		assert.Equal(t, "192.0.2.53", gotResolver)

		address = "192.0.2.7"
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, "192.0.2.7", gotAddress)

		address, resolver = "198.51.100.7", "198.51.100.53"
		require.NoError(t, s.runtime.KillSandbox(s.runtime.SandboxID("web")))
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, "198.51.100.7", gotAddress)
		assert.Equal(t, "198.51.100.53", gotResolver)
	})
}
