//go:build e2e && linux

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
	"github.com/edged-project/edged/gc"
)

// diskSize is that of a disk for images, of which each test image takes about 7 %.
const (
	diskSize  = 128 << 20
	imageSize = 4 << 20
)

func eachContainerd(t *testing.T, test func(*testing.T, *containerd.Daemon, *cri.Client)) {
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) {
			daemon := containerd.StartOn(t, version, diskSize)
			client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close(context.Background()) })
			test(t, daemon, client)
		})
	}
}

func TestADiskFilledPastTheHighMarkComesDownToTheLowMark(t *testing.T) {
	eachContainerd(t, func(t *testing.T, daemon *containerd.Daemon, client *cri.Client) {
		daemon.Load("edged.test/app:running", imageSize)
		daemon.Load("edged.test/app:dead", imageSize)
		s := newStart(t, client)
		running := s.run(t, 1, "edged.test/app:running", "sleep", "100000")
		dead := s.run(t, 2, "edged.test/app:dead", "true")
		for n := 0; usedPercent(t, client) < 70; n++ {
			daemon.Load(fmt.Sprintf("edged.test/ballast:%d", n), imageSize)
		}
		before := imageNames(t, client)

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- run(ctx, []string{"-runtime", daemon.Endpoint(), "-high", "70", "-low", "50",
				"-min-age", "1s", "-period", "200ms", "-wanted", containerd.Busybox + "," + containerd.BusyboxEdited})
		}()
		assert.Eventually(t, func() bool { return usedPercent(t, client) <= 50 }, 30*time.Second, 100*time.Millisecond)
		time.Sleep(time.Second) // nor does it go on
		cancel()
		require.NoError(t, <-done)

		after := imageNames(t, client)
		t.Logf("%d images before, %d after, %d%% of the disk used", len(before), len(after), usedPercent(t, client))
		assert.Subset(t, after, []string{
			"edged.test/app:running", "edged.test/app:dead", containerd.Busybox, containerd.BusyboxEdited, containerd.Pause,
		})
		assert.Less(t, len(after), len(before))
		assert.Greater(t, usedPercent(t, client), 35, "no more went than had to")
		for id, want := range map[string]runtimeapi.ContainerState{
			running: runtimeapi.ContainerState_CONTAINER_RUNNING, dead: runtimeapi.ContainerState_CONTAINER_EXITED,
		} {
			status, err := client.ContainerStatus(t.Context(), id, false)
			require.NoError(t, err)
			assert.Equal(t, want, status.GetStatus().GetState())
		}
		s.run(t, 3, "edged.test/app:running", "true")
	})
}

func TestAContainerThatStartsWhileContainerdsImagesAreCollectedKeepsItsImage(t *testing.T) {
	const races, image = 200, "edged.test/app:raced"
	eachContainerd(t, func(t *testing.T, daemon *containerd.Daemon, client *cri.Client) {
		s := newStart(t, client)
		images := gc.NewImages(client, gc.ImagesConfig{
			MinAge: -1, Unleased: s.puller.RemoveUnleased, Keep: []string{containerd.Busybox, containerd.BusyboxEdited},
		})
		won := 0
		for race := range races {
			if !present(t, client, image) {
				daemon.Load(image, 1<<10)
			}
			collected := make(chan error, 1)
			go func() {
				time.Sleep(rand.N(30 * time.Millisecond))
				collected <- images.CollectUnused(t.Context())
			}()
			time.Sleep(rand.N(30 * time.Millisecond))
			id, imageID, notThere, err := s.container(t.Context(), race, image, corev1.PullIfNotPresent)
			require.NoError(t, <-collected)
			require.NoError(t, err, "race %d", race)
			if notThere != nil {
				require.False(t, present(t, client, image), "race %d: %v", race, notThere)
				continue
			}
			won++
			s.requireImage(t, imageID, race)
			require.True(t, present(t, client, image), "race %d: the image has lost its name", race)
			require.NoError(t, client.StartContainer(t.Context(), id))
			require.Eventually(t, func() bool { return client.RemoveContainer(t.Context(), id) == nil }, 10*time.Second, 10*time.Millisecond)
		}
		t.Logf("%d of %d starts came first", won, races)
		require.Greater(t, won, races/20)
		require.Less(t, won, races*19/20)
	})
}

// run starts a container with a command.
func (s *start) run(t *testing.T, attempt int, image string, command ...string) string {
	t.Helper()
	status, err := s.client.ImageStatus(t.Context(), &runtimeapi.ImageSpec{Image: image}, false)
	require.NoError(t, err)
	require.NotNil(t, status.GetImage(), image)
	id, err := s.client.CreateContainer(t.Context(), s.id, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "app", Attempt: uint32(attempt)},
		Image:    &runtimeapi.ImageSpec{Image: status.GetImage().GetId()},
		Command:  command,
	}, s.sandbox)
	require.NoError(t, err)
	require.NoError(t, s.client.StartContainer(t.Context(), id))
	return id
}

func present(t *testing.T, client *cri.Client, image string) bool {
	t.Helper()
	status, err := client.ImageStatus(t.Context(), &runtimeapi.ImageSpec{Image: image}, false)
	require.NoError(t, err)
	return status.GetImage() != nil
}

func imageNames(t *testing.T, client *cri.Client) []string {
	t.Helper()
	images, err := client.ListImages(t.Context(), nil)
	require.NoError(t, err)
	var names []string
	for _, image := range images {
		names = append(names, image.GetRepoTags()...)
	}
	return names
}

// usedPercent measures the disk of the images by itself.
func usedPercent(t *testing.T, client *cri.Client) int {
	t.Helper()
	info, err := client.ImageFsInfo(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, info.GetImageFilesystems())
	var disk unix.Statfs_t
	require.NoError(t, unix.Statfs(info.GetImageFilesystems()[0].GetFsId().GetMountpoint(), &disk))
	return int(100 - disk.Bavail*100/disk.Blocks)
}
