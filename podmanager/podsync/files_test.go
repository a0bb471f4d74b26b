package podsync_test

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
)

func TestOnlyTheMessageFilesOfContainersThatAreThereAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a", "b"), s.syncer()
		files := func(container string) []string {
			found, err := filepath.Glob(filepath.Join(s.logs, "root/pods/uid-1/containers", container, "*"))
			require.NoError(t, err)
			return found
		}
		for i := range pod.Spec.Containers {
			pod.Spec.Containers[i].TerminationMessagePath = "/dev/termination-log"
		}
		restart := func() {
			require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "a"), 1))
			time.Sleep(time.Hour)
			_, err := syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		first, other := files("a"), files("b")
		require.Len(t, first, 1)
		restart()
		require.Len(t, files("a"), 2)
		assert.Contains(t, files("a"), first[0], "the container that has it is still there")

		for _, c := range s.state(pod).ContainersNamed("a") {
			if c.Exited() {
				require.NoError(t, s.client.RemoveContainer(t.Context(), c.GetId()))
			}
		}
		restart()
		assert.Len(t, files("a"), 2)
		assert.NotContains(t, files("a"), first[0])
		assert.Equal(t, other, files("b"))
	})
}

func TestTheFilesOfAPodAreItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		_, err := s.syncer().Sync(t.Context(), podOf("a"))
		require.NoError(t, err)
		for path, want := range map[string]os.FileMode{"": 0o750, "etc-hosts": 0o644, "containers/a": 0o750} {
			info, err := os.Stat(filepath.Join(s.logs, "root/pods/uid-1", path))
			require.NoError(t, err)
			assert.Equal(t, want, info.Mode().Perm(), path)
		}
	})
}

func TestSeccompProfilesAreBelowTheRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a")
		pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{
			Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: new("strict.json"),
		}}
		var profile string
		_, err := s.syncerOn(&spy{Runtime: s.client, created: func(config *runtimeapi.ContainerConfig) {
			profile = config.GetLinux().GetSecurityContext().GetSeccomp().GetLocalhostRef()
		}}).Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, s.logs+"/root/seccomp/strict.json", profile)
	})
}

func TestWhatASandboxLacksIsAnEventWhenItIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		pod.Spec.DNSPolicy = corev1.DNSNone
		pod.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}}
		const warning = "Warning DNSConfigForming web: Nameserver limits were exceeded, some nameservers have been omitted, " +
			"the applied nameserver line is: 192.0.2.1 192.0.2.2 192.0.2.3"
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Contains(t, s.events, warning)

		s.events = nil
		require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "a"), 1))
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.NotContains(t, s.events, warning)
	})
}
