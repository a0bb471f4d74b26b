package csi_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/edged-project/edged/volume"
	"github.com/edged-project/edged/volume/csi"
)

// Whenever the agent dies, what is needed to take the volume down is on disk.
func TestDataIsOnDiskBeforeTheDriverIsCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{Driver: ephemeral})
		for _, v := range []*volume.Volume{s.claimed("a", "vol"), s.inlined("b")} {
			seen := map[string]string{}
			for _, method := range []string{"NodeStageVolume", "NodePublishVolume"} {
				s.driver.on(method, func(any) { seen[method] = data(t, v) })
			}
			require.NoError(t, s.mount(v))
			assert.Len(t, seen, map[bool]int{true: 2, false: 1}[v.Persistent != nil])
			for method, content := range seen {
				assert.Contains(t, content, `"driverName":"disk.example.org"`, method)
				assert.NotContains(t, content, "published", method)
			}
		}
	})
}

func TestAgentThatDiedBetweenSaveAndPublish(t *testing.T) {
	for name, goesOn := range map[string]func(*site, *volume.Volume) error{
		"mounts":   func(s *site, v *volume.Volume) error { return errors.Join(s.mount(v), s.unmount(v)) },
		"unmounts": func(s *site, v *volume.Volume) error { return s.unmount(v) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
				v := s.claimed("a", "vol")
				ctx, die := context.WithCancel(t.Context())
				s.driver.on("NodePublishVolume", func(any) { die() })
				s.driver.hang("NodePublishVolume", true)
				require.NoError(t, s.Attach(ctx, v))
				_, err := s.Mount(ctx, v)
				require.Error(t, err)
				s.driver.hang("NodePublishVolume", false)
				require.NoError(t, os.WriteFile(filepath.Join(v.Dir, ".vol_data.json.new"), []byte("{"), 0o600), "a power cut")

				s.restart()
				require.NoError(t, s.Register(t.Context(), socket))
				s.driver.took()
				require.NoError(t, goesOn(s, v))
				calls := s.driver.took()
				assert.Equal(t, []string{"NodeUnpublishVolume vol", "NodeUnstageVolume vol"}, calls[len(calls)-2:])
				assert.Empty(t, s.remains())
			})
		})
	}
}

func TestFinalErrorsLeaveNothingAndUncertainOnesKeepAll(t *testing.T) {
	uncertain := map[codes.Code]bool{
		codes.Canceled: true, codes.DeadlineExceeded: true, codes.Unavailable: true, codes.ResourceExhausted: true, codes.Aborted: true,
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		t.Run(code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, t.TempDir(), newFake(stages), csi.Config{Driver: ephemeral})
				check := func(step string, v *volume.Volume) {
					t.Helper()
					s.driver.fail(step, code)
					err := s.mount(v)
					require.ErrorContains(t, err, `CSI driver "disk.example.org": `+step)
					assert.Equal(t, code, status.Code(err))
					s.driver.fail(step, codes.OK)
				}
				persistent, inline := s.claimed("a", "vol"), s.inlined("b")
				check("NodeStageVolume", persistent)
				check("NodePublishVolume", inline)
				if !uncertain[code] {
					assert.Empty(t, s.remains())
				} else {
					assert.Len(t, s.remains(), 6, "%v", s.remains())
				}
				check("NodePublishVolume", persistent)
				assert.Contains(t, data(t, persistent), "vol", "it is staged in any case")

				require.NoError(t, s.unmount(persistent))
				require.NoError(t, s.unmount(inline))
				assert.Empty(t, s.remains())
				calls := strings.Join(s.driver.took(), "\n")
				assert.Contains(t, calls, "NodeUnstageVolume vol")
				assert.Equal(t, uncertain[code], strings.Contains(calls, "NodeUnpublishVolume csi-"))
			})
		})
	}
}

// Neither a call that left open what was done, nor a success before a reboot, is undone
// by a later refusal: the driver is told when the pod goes.
func TestFinalErrorOfALaterMountKeepsTheRecord(t *testing.T) {
	for _, code := range []codes.Code{codes.DeadlineExceeded, codes.OK} {
		for name, of := range map[string]func(*site) *volume.Volume{
			"inline":     func(s *site) *volume.Volume { return s.inlined("a") },
			"persistent": func(s *site) *volume.Volume { return s.claimed("a", "vol") },
		} {
			t.Run(name+" after "+code.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSite(t, t.TempDir(), newFake(), csi.Config{Driver: ephemeral})
					v := of(s)
					s.driver.fail("NodePublishVolume", code)
					assert.Equal(t, code, status.Code(s.mount(v)))
					s.driver.fail("NodePublishVolume", codes.Internal)
					require.Error(t, s.mount(v))
					s.driver.took()
					require.NoError(t, s.unmount(v))
					assert.Len(t, s.driver.took(), 1)
					assert.Empty(t, s.remains())
				})
			})
		}
	}
}

func TestFinalErrorForASecondPodLeavesTheFirstOneItsVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
		first, second := s.claimed("a", "vol"), s.claimed("b", "vol")
		require.NoError(t, s.mount(first))
		s.driver.fail("NodeStageVolume", codes.InvalidArgument)
		require.Error(t, s.mount(second))
		assert.NoDirExists(t, second.Dir)
		assert.DirExists(t, s.driver.stage.StagingTargetPath)
		require.NoError(t, s.unmount(first))
		assert.Empty(t, s.remains())
	})
}

// What the driver may have done before is not undone by its refusal.
func TestFinalErrorOfALaterAttachKeepsTheClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
		v := s.claimed("a", "vol")
		s.driver.fail("NodePublishVolume", codes.Unavailable)
		require.Error(t, s.mount(v))
		before := data(t, v)
		s.driver.fail("NodeStageVolume", codes.InvalidArgument)
		require.ErrorContains(t, s.mount(v), "NodeStageVolume")
		assert.Equal(t, before, data(t, v))
		s.driver.took()
		require.NoError(t, s.unmount(v))
		assert.Equal(t, []string{"NodeUnpublishVolume vol", "NodeUnstageVolume vol"}, s.driver.took())
	})
}

func TestAnotherVolumeInTheSamePlaceWaitsForTheFirstToGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
		v, other := s.claimed("a", "vol"), s.claimed("a", "other")
		require.NoError(t, s.mount(v))
		before := data(t, v)
		require.ErrorContains(t, s.Attach(t.Context(), other), `has the volume "vol" of the driver "disk.example.org"`)
		_, err := s.Mount(t.Context(), other)
		require.ErrorContains(t, err, `has the volume "vol"`)
		assert.Equal(t, before, data(t, v))
		require.NoError(t, s.unmount(v))
		require.NoError(t, s.mount(other))
		require.NoError(t, s.unmount(other))
		assert.Empty(t, s.remains())
	})
}

func TestDriverThatHangs(t *testing.T) {
	for _, step := range []string{"NodeGetCapabilities", "NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume"} {
		t.Run(step, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
				v := s.claimed("a", "vol")
				s.driver.hang(step, true)
				start := time.Now()
				err := s.mount(v)
				if err == nil {
					err = s.unmount(v)
				}
				require.ErrorContains(t, err, `CSI driver "disk.example.org": `+step)
				assert.Equal(t, codes.DeadlineExceeded, status.Code(err))
				assert.Equal(t, 2*time.Minute, time.Since(start))

				s.driver.hang(step, false)
				require.NoError(t, s.mount(v))
				require.NoError(t, s.unmount(v))
				assert.Empty(t, s.remains())
			})
		})
	}
}

func TestMountAgainAfterARestartBeforeTheDriverIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
		v := s.claimed("a", "vol")
		require.NoError(t, s.mount(v))
		s.restart()
		err := s.mount(v)
		require.ErrorIs(t, err, csi.ErrNotRegistered)
		require.EqualError(t, err, `CSI driver "disk.example.org" is not registered on this node`)
		assert.Contains(t, data(t, v), "published")
	})
}
