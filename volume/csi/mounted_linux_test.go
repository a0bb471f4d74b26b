package csi_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/edged-project/edged/volume"
	"github.com/edged-project/edged/volume/csi"
)

// mountingRoot is a root below which the test may mount, with a name that the mount
// table has escaped and behind a link. What is left mounted goes with the test.
func mountingRoot(t *testing.T) string {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); errors.Is(err, unix.EPERM) {
		t.Skip("mounting needs CAP_SYS_ADMIN")
	} else {
		require.NoError(t, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	require.NoError(t, os.Mkdir(filepath.Join(dir, `a \ root`), 0o755))
	link := filepath.Join(dir, "link")
	require.NoError(t, os.Symlink(`a \ root`, link))
	return link
}

// mountingSite is a site whose driver mounts what it publishes and stages.
func mountingSite(t *testing.T, cfg csi.Config) *site {
	driver := newFake(stages)
	driver.on("NodeStageVolume", func(req any) { mountAt(t, req.(*csipb.NodeStageVolumeRequest).StagingTargetPath) })
	driver.on("NodePublishVolume", func(req any) { mountAt(t, req.(*csipb.NodePublishVolumeRequest).TargetPath) })
	driver.on("NodeUnpublishVolume", func(req any) { unmountAt(req.(*csipb.NodeUnpublishVolumeRequest).TargetPath) })
	driver.on("NodeUnstageVolume", func(req any) { unmountAt(req.(*csipb.NodeUnstageVolumeRequest).StagingTargetPath) })
	return newSite(t, mountingRoot(t), driver, cfg)
}

func mountAt(t *testing.T, dir string) {
	if !assert.NoError(t, os.MkdirAll(dir, 0o755)) {
		return
	}
	assert.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"))
}

func unmountAt(dir string) { _ = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW) }

func TestPodThatHasItsVolumeDoesNotNeedTheDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mountingSite(t, csi.Config{})
		v := s.claimed("a", "vol")
		require.NoError(t, s.mount(v))
		s.driver.took()
		s.restart()
		require.NoError(t, s.mount(v))
		assert.Empty(t, s.driver.took())

		require.NoError(t, s.Register(t.Context(), socket))
		require.NoError(t, s.unmount(v))
		assert.Empty(t, s.remains())
	})
}

func TestVolumeIsMountedAgainAfterAReboot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mountingSite(t, csi.Config{})
		v := s.claimed("a", "vol")
		require.NoError(t, s.mount(v))
		unmountAt(filepath.Join(v.Dir, "mount"))
		unmountAt(s.driver.stage.StagingTargetPath)
		s.driver.took()
		s.driver.fail("NodePublishVolume", codes.DeadlineExceeded) // and has mounted half of it
		require.Error(t, s.mount(v))
		assert.Equal(t, []string{"NodeStageVolume vol", "NodePublishVolume vol"}, s.driver.took())
		s.driver.fail("NodePublishVolume", codes.OK)
		s.driver.on("NodeStageVolume", nil)
		s.driver.on("NodePublishVolume", nil)
		require.NoError(t, s.mount(v))
		assert.Equal(t, []string{"NodeStageVolume vol", "NodePublishVolume vol"}, s.driver.took(), "what was said before the reboot does not count")
		require.NoError(t, s.unmount(v))
	})
}

// A mount that is there after an uncertain error may be half of one.
func TestMountOfUncertainStateIsPublishedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mountingSite(t, csi.Config{Driver: ephemeral})
		v := s.inlined("a")
		s.driver.fail("NodePublishVolume", codes.DeadlineExceeded)
		require.Error(t, s.mount(v))
		s.driver.fail("NodePublishVolume", codes.OK)
		s.driver.on("NodePublishVolume", nil)
		s.driver.took()
		require.NoError(t, s.mount(v))
		assert.Len(t, s.driver.took(), 1)
		require.NoError(t, s.mount(v))
		assert.Empty(t, s.driver.took())
		require.NoError(t, s.unmount(v))
	})
}

func TestDriverThatWantsToBeCalledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mountingSite(t, csi.Config{Driver: func(string) csi.DriverSpec {
			return csi.DriverSpec{VolumeLifecycleModes: []csi.LifecycleMode{csi.Ephemeral}, RequiresRepublish: true}
		}})
		v := s.inlined("a")
		require.NoError(t, s.mount(v))
		s.driver.on("NodePublishVolume", nil)
		require.NoError(t, s.mount(v))
		assert.Len(t, s.driver.took(), 2)
		before := data(t, v)
		s.driver.fail("NodePublishVolume", codes.InvalidArgument)
		path, err := s.Mount(t.Context(), v)
		require.ErrorContains(t, err, "NodePublishVolume")
		assert.Equal(t, filepath.Join(v.Dir, "mount"), path, "it is still mounted")
		assert.Equal(t, before, data(t, v))
		s.restart()
		path, err = s.Mount(t.Context(), v)
		require.ErrorIs(t, err, csi.ErrNotRegistered)
		assert.Equal(t, filepath.Join(v.Dir, "mount"), path)
		require.NoError(t, s.Register(t.Context(), socket))
		require.NoError(t, s.unmount(v))
	})
}

// Whatever a driver says, nothing is removed behind what is mounted.
func TestDriverThatLies(t *testing.T) {
	for _, step := range []string{"NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := mountingSite(t, csi.Config{})
				v := s.claimed("a", "vol")
				at := filepath.Join(v.Dir, "mount")
				require.NoError(t, s.Attach(t.Context(), v))
				if step == "NodePublishVolume" {
					s.driver.fail(step, codes.Internal) // but it has mounted
				} else {
					s.driver.on(step, nil) // it does nothing
				}
				_, err := s.Mount(t.Context(), v)
				if err == nil {
					err = s.unmount(v)
				}
				if step == "NodeUnstageVolume" {
					at = s.driver.stage.StagingTargetPath
				}
				require.ErrorContains(t, err, at+" is still mounted")
				if step == "NodeUnpublishVolume" {
					require.ErrorContains(t, s.Detach(t.Context(), "a", v.Dir), at+" is still mounted")
				}
				assert.Contains(t, data(t, v), "vol")

				s.driver.on("NodeUnpublishVolume", func(req any) { unmountAt(req.(*csipb.NodeUnpublishVolumeRequest).TargetPath) })
				s.driver.on("NodeUnstageVolume", func(req any) { unmountAt(req.(*csipb.NodeUnstageVolumeRequest).StagingTargetPath) })
				require.NoError(t, s.unmount(v))
				assert.Empty(t, s.remains())
			})
		})
	}
}

func TestVolumeThatTheDriverDoesNotKnowButHasMounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mountingSite(t, csi.Config{})
		v := s.claimed("a", "vol")
		require.NoError(t, s.mount(v))
		for _, step := range []string{"NodeUnpublishVolume", "NodeUnstageVolume"} {
			s.driver.fail(step, codes.NotFound)
			s.driver.on(step, nil)
		}
		require.ErrorContains(t, s.unmount(v), "code = NotFound")
		unmountAt(filepath.Join(v.Dir, "mount"))
		require.ErrorContains(t, s.unmount(v), "code = NotFound")
		unmountAt(s.driver.stage.StagingTargetPath)
		require.NoError(t, s.unmount(v))
	})
}

// Who cannot say what it has mounted may have this volume.
func TestVolumeIsNotUnstagedWhileItIsUnknownWhoHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mountingSite(t, csi.Config{})
		bad, good := s.claimed("a", "vol"), s.claimed("b", "vol")
		for _, v := range []*volume.Volume{bad, good} {
			require.NoError(t, s.mount(v))
			s.driver.on("NodeStageVolume", nil)
		}
		file := filepath.Join(bad.Dir, "vol_data.json")
		require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
		s.driver.took()
		require.ErrorContains(t, s.unmount(good), file)
		assert.Equal(t, []string{"NodeUnpublishVolume vol"}, s.driver.took())
		unmountAt(filepath.Join(bad.Dir, "mount"))
		require.NoError(t, s.unmount(good))
	})
}

func TestDirectoryWithoutDataThatIsMounted(t *testing.T) {
	s := mountingSite(t, csi.Config{})
	v := s.claimed("a", "vol")
	mountAt(t, filepath.Join(v.Dir, "mount"))
	require.ErrorContains(t, s.Unmount(t.Context(), "a", v.Dir), "is still mounted")
	require.ErrorContains(t, s.Detach(t.Context(), "a", v.Dir), "is still mounted")
	unmountAt(filepath.Join(v.Dir, "mount"))
	require.NoError(t, s.unmount(v))
	assert.NoDirExists(t, v.Dir)
}
