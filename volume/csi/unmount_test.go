package csi_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/edged-project/edged/volume"
	"github.com/edged-project/edged/volume/csi"
)

func TestVolumeOfTwoPodsIsUnstagedAfterTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
		first, second, other := s.claimed("a", "vol"), s.claimed("b", "vol"), s.claimed("c", "another")
		for _, v := range []*volume.Volume{first, second, other} {
			require.NoError(t, s.mount(v))
		}
		s.driver.took()
		s.restart() // who has it is known from disk
		require.NoError(t, s.Register(t.Context(), socket))
		require.NoError(t, s.unmount(first))
		assert.Equal(t, []string{"NodeUnpublishVolume vol"}, s.driver.took())
		require.NoError(t, s.unmount(second))
		assert.Equal(t, []string{"NodeUnpublishVolume vol", "NodeUnstageVolume vol"}, s.driver.took())
		require.NoError(t, s.unmount(other))
		assert.Empty(t, s.remains())
	})
}

// The claim counts from Attach on, before there is anything to see.
func TestVolumeIsNotUnstagedBetweenAnotherPodsAttachAndMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
		first, second := s.claimed("a", "vol"), s.claimed("b", "vol")
		require.NoError(t, s.mount(first))
		require.NoError(t, s.Attach(t.Context(), second))
		s.driver.took()
		require.NoError(t, s.unmount(first))
		assert.Equal(t, []string{"NodeUnpublishVolume vol"}, s.driver.took())
		require.NoError(t, s.unmount(second), "although it was never mounted")
		assert.Empty(t, s.remains())
	})
}

func TestStepsAtOneVolumeComeOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
		first, second, other := s.claimed("a", "vol"), s.claimed("b", "vol"), s.claimed("c", "another")
		require.NoError(t, s.mount(first))
		release := make(chan struct{})
		s.driver.on("NodeUnstageVolume", func(any) { <-release })
		s.driver.took()
		detached, attached := make(chan error, 1), make(chan error, 1)
		go func() { detached <- s.unmount(first) }()
		synctest.Wait()
		go func() { attached <- s.Attach(t.Context(), second) }()
		synctest.Wait()
		require.NoError(t, s.Attach(t.Context(), other), "another volume does not wait")

		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.Attach(impatient, s.claimed("d", "vol")), context.DeadlineExceeded)

		close(release)
		require.NoError(t, <-detached)
		require.NoError(t, <-attached)
		assert.Equal(t, []string{"NodeUnpublishVolume vol", "NodeUnstageVolume vol", "NodeStageVolume another", "NodeStageVolume vol"}, s.driver.took())
		assert.DirExists(t, s.driver.stage.StagingTargetPath)
	})
}

// An update of the driver may have it stage no more. CSI forbids the call then, which
// would fail for ever.
func TestVolumeOfADriverThatStagesNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
		v := s.claimed("a", "vol")
		require.NoError(t, s.mount(v))
		s.driver.able = nil
		s.driver.fail("NodeUnstageVolume", codes.Unimplemented)
		s.driver.took()
		require.NoError(t, s.unmount(v))
		assert.Equal(t, []string{"NodeUnpublishVolume vol"}, s.driver.took())
		assert.Empty(t, s.remains())
	})
}

func TestUnmountBeforeTheDriverIsRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
		v := s.claimed("a", "vol")
		require.NoError(t, s.mount(v))
		s.restart()
		for _, err := range []error{
			s.Unmount(t.Context(), "a", v.Dir),
			s.Detach(t.Context(), "a", v.Dir),
		} {
			require.ErrorIs(t, err, csi.ErrNotRegistered)
			require.ErrorContains(t, err, `CSI driver "disk.example.org"`)
		}
		require.NoError(t, s.Register(t.Context(), socket))
		require.NoError(t, s.unmount(v))
		assert.Empty(t, s.remains())
	})
}

func TestStepsThatFailAreRetried(t *testing.T) {
	for _, step := range []string{"NodeUnpublishVolume", "NodeUnstageVolume"} {
		for _, code := range []codes.Code{codes.Internal, codes.Unavailable} {
			t.Run(step+code.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
					v := s.claimed("a", "vol")
					require.NoError(t, s.mount(v))
					s.driver.fail(step, code)
					require.ErrorContains(t, s.unmount(v), step)
					assert.Contains(t, data(t, v), "vol")
					s.driver.fail(step, codes.OK)
					require.NoError(t, s.unmount(v))
					assert.Empty(t, s.remains())
				})
			})
		}
	}
}

func TestVolumeThatTheDriverDoesNotKnowAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
		v := s.claimed("a", "vol")
		require.NoError(t, s.mount(v))
		s.driver.fail("NodeUnpublishVolume", codes.NotFound)
		s.driver.fail("NodeUnstageVolume", codes.NotFound)
		require.NoError(t, s.unmount(v))
		assert.Empty(t, s.remains())
	})
}

func TestDataThatCannotBeUnderstood(t *testing.T) {
	for name, content := range map[string]string{
		"empty":           "",
		"cut off":         `{"driverName":"disk.example.org","volumeHa`,
		"another type":    `["disk.example.org"]`,
		"no driver":       `{"volumeHandle":"vol"}`,
		"driver's a path": `{"driverName":"../../../../etc","volumeHandle":"vol"}`,
		"no handle":       `{"driverName":"disk.example.org"}`,
		"unknown mode":    `{"driverName":"disk.example.org","volumeHandle":"vol","volumeLifecycleMode":"Eternal"}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
				bad, good := s.claimed("a", "vol"), s.claimed("b", "vol")
				require.NoError(t, s.mount(bad))
				require.NoError(t, s.mount(good))
				file := filepath.Join(bad.Dir, "vol_data.json")
				require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
				s.driver.took()

				for _, err := range []error{
					s.Attach(t.Context(), bad),
					s.Unmount(t.Context(), "a", bad.Dir),
					s.Detach(t.Context(), "a", bad.Dir),
					func() error { _, err := s.Mount(t.Context(), bad); return err }(),
				} {
					require.ErrorContains(t, err, file+" cannot be understood")
				}
				assert.Empty(t, s.driver.took())
				require.NoError(t, s.unmount(good), "nothing is mounted for the other pod")
				assert.Equal(t, []string{"NodeUnpublishVolume vol", "NodeUnstageVolume vol"}, s.driver.took())
			})
		})
	}
}

// The kubelet's own file, as it is after a change from the kubelet to this plugin.
func TestVolumeOfTheKubeletIsTakenDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
		v := s.claimed("a", "vol")
		staging := filepath.Join(s.cfg.Root, "plugins/kubernetes.io/csi/disk.example.org", sum("vol"))
		require.NoError(t, os.MkdirAll(filepath.Join(staging, "globalmount"), 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(staging, "vol_data.json"), []byte(`{"driverName":"disk.example.org","volumeHandle":"vol"}`), 0o600))
		require.NoError(t, os.MkdirAll(filepath.Join(v.Dir, "mount"), 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(v.Dir, "vol_data.json"), []byte(`{"attachmentID":"csi-1","driverName":"disk.example.org","nodeName":"n","seLinuxMountContext":"","serviceAccountName":"","specVolID":"pv-1","volumeHandle":"vol","volumeLifecycleMode":"Persistent"}`), 0o600))
		require.NoError(t, s.unmount(v))
		assert.Equal(t, []string{"NodeUnpublishVolume vol", "NodeUnstageVolume vol"}, s.driver.took())
		assert.Empty(t, s.remains())
	})
}

func TestAFileAmongThePodsKeepsNoVolumeStaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
		v := s.claimed("a", "vol")
		require.NoError(t, s.mount(v))
		require.NoError(t, os.WriteFile(filepath.Join(s.cfg.Root, "pods/file"), nil, 0o600))
		require.NoError(t, s.unmount(v))
	})
}

func TestDirectoryWithoutDataIsRemoved(t *testing.T) {
	s := newSite(t, t.TempDir(), newFake(), csi.Config{})
	v := s.claimed("a", "vol")
	require.NoError(t, os.Mkdir(v.Dir, 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(v.Dir, ".vol_data.json.new"), nil, 0o600))
	require.NoError(t, s.unmount(v))
	assert.NoDirExists(t, v.Dir)
	assert.Empty(t, s.driver.took())
}

func TestDataThatADriverLeftStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, of := range []func(*site) string{
			func(s *site) string { return s.driver.pub.TargetPath },
			func(s *site) string { return s.driver.stage.StagingTargetPath },
		} {
			s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
			v := s.claimed("a", "vol")
			require.NoError(t, s.mount(v))
			precious := filepath.Join(of(s), "precious")
			require.NoError(t, os.MkdirAll(filepath.Dir(precious), 0o750))
			require.NoError(t, os.WriteFile(precious, nil, 0o600))
			require.ErrorContains(t, s.unmount(v), filepath.Dir(precious)+": directory not empty")
			assert.FileExists(t, precious)
			require.NoError(t, os.Remove(precious))
			require.NoError(t, s.unmount(v))
			assert.Empty(t, s.remains())
		}
	})
}
