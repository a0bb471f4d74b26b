package gc_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/gc"
)

var _ gc.ImageRuntime = (*cri.Client)(nil)

func TestBelowTheMarkARoundIsOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newImageDisk()
		disk.add("a", 840, 840)
		defer background(t, disk.collector(gc.ImagesConfig{}))()
		settleFor(time.Second)
		assert.Equal(t, "ImageFsInfo; ListImages; ListContainers", disk.since(), "one look to begin with")
		settleFor(20 * time.Second)
		assert.Equal(t, "ImageFsInfo; ImageFsInfo; ImageFsInfo; ImageFsInfo", disk.since(), "each 5 seconds")
		settleFor(10 * time.Minute)
		assert.Equal(t, 2, strings.Count(disk.since(), "ListImages"), "a look each 5 minutes")
	})
}

func TestPastTheHighMarkTheLeastRecentlyUsedGoUntilTheLowMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newImageDisk()
		for _, id := range []string{"a", "b", "c", "d"} {
			disk.add(id, 100, 100)
		}
		for _, id := range []string{"a", "b", "c"} {
			disk.use("of "+id, id)
		}
		defer background(t, disk.collector(gc.ImagesConfig{}))()
		settleFor(time.Second)
		disk.unuse("of c")
		settleFor(time.Hour)
		disk.unuse("of a")
		settleFor(time.Hour)
		disk.fill(449) // 84.9 %: not above, as begun percents count, but at the mark
		disk.since()
		settleFor(5 * time.Second)
		assert.Equal(t, "a b c", disk.left(), "d was never used")
		disk.fill(560) // 86 %
		settleFor(5 * time.Second)
		assert.Equal(t, "a b", disk.left(), "c was used least recently")
		disk.fill(800)
		settleFor(5 * time.Second)
		assert.Equal(t, "b", disk.left())
		settleFor(time.Hour)
		assert.Equal(t, "b", disk.left(), "b is in use")
	})
}

func TestImagesThatShareLayersGoOnGoingUntilTheDiskIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newImageDisk()
		for n := range 9 {
			disk.add(fmt.Sprint(n), 100, 20)
		}
		disk.fill(690) // 87 % with the images; 4 of them have the 70 bytes that are too many
		defer background(t, disk.collector(gc.ImagesConfig{}))()
		settleFor(time.Second)
		assert.Equal(t, "1 2 3 4 5 6 7 8", disk.left(), "by its size one is enough")
		settleFor(4 * time.Second)
		assert.Equal(t, "2 3 4 5 6 7 8", disk.left(), "though below the high mark by now")
		settleFor(time.Minute)
		assert.Equal(t, "4 5 6 7 8", disk.left(), "no more than are needed")
	})
}

func TestWhatMayNotBeRemovedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newImageDisk()
		for _, id := range []string{"pinned", "used", "wanted", "kept", "pause", "leased", "unused"} {
			disk.add(id, 100, 100)
		}
		disk.images[0].Pinned = true
		disk.use("container", "used")
		disk.fill(300)
		images := disk.collector(gc.ImagesConfig{
			Wanted: func() []string { return []string{"wanted:1"} },
			Keep:   []string{"kept:1"},
			Unleased: func(names []string, remove func() error) (bool, error) {
				if slices.Contains(names, "docker.io/library/leased:1") {
					return false, nil
				}
				return true, remove()
			},
		})
		require.ErrorIs(t, images.Collect(t.Context()), gc.ErrNotEnough)
		assert.Equal(t, "pinned used wanted kept pause leased", disk.left())
		require.NoError(t, images.CollectUnused(t.Context()))
		assert.Equal(t, "pinned used wanted kept pause leased", disk.left())
	})
}

func TestAContainerThatComesBetweenThePlanAndTheRemovalKeepsItsImage(t *testing.T) {
	disk := newImageDisk()
	disk.add("a", 100, 100)
	disk.add("b", 100, 100)
	var wanted []string
	images := disk.collector(gc.ImagesConfig{
		Wanted: func() []string { return wanted },
		Unleased: func(names []string, remove func() error) (bool, error) {
			if names[0] == "a" {
				disk.use("came meanwhile", "a")
			} else {
				wanted = []string{"b:1"}
			}
			return true, remove()
		},
	})
	require.NoError(t, images.CollectUnused(t.Context()))
	assert.Equal(t, "a b", disk.left())
}

// Between the plan and the removal the image gets a name that a pod wants, or is pinned.
func TestAnImageThatIsNamedOrPinnedAnewBetweenThePlanAndTheRemovalStays(t *testing.T) {
	disk := newImageDisk()
	for _, id := range []string{"a", "named", "pinned", "leased", "gone"} {
		disk.add(id, 100, 100)
	}
	disk.onRemove = func(string) {
		disk.mu.Lock()
		defer disk.mu.Unlock()
		for n, image := range disk.images {
			again := &runtimeapi.Image{Id: image.Id, RepoTags: append(slices.Clone(image.RepoTags), "docker.io/library/"+image.Id+":2"), Size: image.Size}
			again.Pinned = image.Id == "pinned"
			disk.images[n] = again
		}
		disk.images = slices.DeleteFunc(disk.images, func(image *runtimeapi.Image) bool { return image.Id == "gone" })
	}
	images := disk.collector(gc.ImagesConfig{
		Wanted: func() []string { return []string{"named:2"} },
		Unleased: func(names []string, remove func() error) (bool, error) {
			if slices.Contains(names, "docker.io/library/leased:2") {
				return false, nil
			}
			return true, remove()
		},
	})
	require.NoError(t, images.CollectUnused(t.Context()))
	assert.Equal(t, "named pinned leased", disk.left())
	calls := disk.since()
	assert.NotContains(t, calls, "RemoveImage gone")
	assert.Equal(t, 1, strings.Count(calls, "ListImages"), "that each is looked at again makes no list of all")
}

func TestYoungImagesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newImageDisk()
		disk.add("a", 100, 100)
		disk.fill(800)
		images := disk.collector(gc.ImagesConfig{MinAge: 2 * time.Minute})
		defer background(t, images)()
		settleFor(time.Minute)
		require.NoError(t, images.CollectUnused(t.Context()))
		assert.Equal(t, "a", disk.left())
		settleFor(time.Minute + 5*time.Second)
		assert.Empty(t, disk.left())
	})
}

func TestImagesThatWereIdleForLongGoWithSpaceToSpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newImageDisk()
		for _, id := range []string{"never", "once", "always"} {
			disk.add(id, 10, 10)
			if id != "never" {
				disk.use("of "+id, id)
			}
		}
		defer background(t, disk.collector(gc.ImagesConfig{HighThresholdPercent: 100, MaxAge: 24 * time.Hour}))()
		settleFor(time.Hour)
		disk.unuse("of once")
		settleFor(23 * time.Hour)
		assert.Equal(t, "never once always", disk.left())
		settleFor(10 * time.Minute)
		assert.Equal(t, "once always", disk.left())
		settleFor(time.Hour)
		assert.Equal(t, "always", disk.left())
	})
}

func TestAgedImagesAreFreedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newImageDisk()
		disk.add("old", 50, 50)
		images := disk.collector(gc.ImagesConfig{MaxAge: time.Hour})
		require.NoError(t, images.Collect(t.Context()))
		settleFor(2 * time.Hour)
		disk.add("new", 50, 50)
		disk.fill(800)
		require.NoError(t, images.Collect(t.Context()))
		assert.Equal(t, 1, strings.Count(disk.since(), "RemoveImage old"))
		assert.Empty(t, disk.left(), "90 % were used: it took both to come to 80 %")
	})
}

func TestAFullDiskWithNothingToRemoveIsToldOnceAndLookedAtEachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, told := newImageDisk(), &events{}
		core, logs := observer.New(zap.InfoLevel)
		disk.fill(900)
		defer background(t, disk.collector(gc.ImagesConfig{Recorder: told, NodeName: "edge", Logger: zap.New(core)}))()
		settleFor(5 * time.Hour)
		assert.Equal(t, 1, logs.Len())
		require.Len(t, told.all(), 1)
		assert.Equal(t, "Node edge Warning FreeDiskSpaceFailed: collect images: not enough images may be removed: "+
			"90% of the disk is used, 100 bytes more should be freed", told.all()[0])
		assert.InDelta(t, 300, strings.Count(disk.since(), "ListImages"), 5)

		disk.fill(500)
		settleFor(time.Hour)
		assert.Equal(t, "images are collected again", logs.All()[1].Message)
		disk.fill(900)
		settleFor(time.Hour)
		assert.Len(t, told.all(), 2, "it came to that anew")
		assert.Equal(t, 3, logs.Len())
	})
}

func TestOneImageThatCannotBeRemovedHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newImageDisk()
		core, logs := observer.New(zap.WarnLevel)
		for _, id := range []string{"a", "b", "c"} {
			disk.add(id, 60, 60)
		}
		disk.fill(700) // 88 %
		disk.fail("RemoveImage a", errors.New("busy"))
		images := disk.collector(gc.ImagesConfig{Logger: zap.New(core)})
		require.ErrorContains(t, images.Collect(t.Context()), `remove image "a": busy`)
		assert.Equal(t, "a", disk.left())
		defer background(t, images)()
		settleFor(time.Hour)
		assert.LessOrEqual(t, logs.Len(), 1)

		disk.fail("RemoveImage a", nil)
		disk.fill(900)
		settleFor(2 * time.Minute)
		assert.Empty(t, disk.left())
	})
}

func TestARuntimeThatFailsIsToldOnceAndAskedAgain(t *testing.T) {
	for _, call := range []string{"ImageFsInfo", "ListImages", "ListContainers"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := newImageDisk()
				core, logs := observer.New(zap.InfoLevel)
				disk.add("a", 100, 100)
				disk.fill(800)
				disk.fail(call, errors.New("unavailable"))
				defer background(t, disk.collector(gc.ImagesConfig{Logger: zap.New(core)}))()
				settleFor(3 * time.Hour)
				assert.Equal(t, "a", disk.left(), "who cannot see the users removes nothing")
				require.Equal(t, 1, logs.Len())
				assert.Equal(t, "images not collected", logs.All()[0].Message)
				assert.Equal(t, zap.WarnLevel, logs.All()[0].Level)
				disk.fail(call, nil)
				settleFor(10 * time.Second)
				assert.Empty(t, disk.left())
			})
		})
	}
}

func TestADiskWithoutSizeIsAnEvent(t *testing.T) {
	disk, told := newImageDisk(), &events{}
	disk.capacity = 0
	err := disk.collector(gc.ImagesConfig{Recorder: told, NodeName: "edge"}).Collect(t.Context())
	require.ErrorContains(t, err, `measure file system of images at "/images": capacity is 0`)
	require.Len(t, told.all(), 1)
	assert.Contains(t, told.all()[0], "Node edge Warning InvalidDiskCapacity: ")
}

// separate is a runtime with several file systems.
type separate struct {
	*imageDisk
	images, containers []string
}

func (s *separate) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	info := &runtimeapi.ImageFsInfoResponse{}
	for _, mountpoint := range s.images {
		info.ImageFilesystems = append(info.ImageFilesystems, &runtimeapi.FilesystemUsage{FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: mountpoint}})
	}
	for _, mountpoint := range s.containers {
		info.ContainerFilesystems = append(info.ContainerFilesystems, &runtimeapi.FilesystemUsage{FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: mountpoint}})
	}
	return info, nil
}

func TestTheFullestFileSystemOfImagesCounts(t *testing.T) {
	disks := func(mountpoint string) (gc.Disk, error) {
		switch mountpoint {
		case "/full":
			return gc.Disk{Capacity: 100, Available: 5}, nil
		case "/empty":
			return gc.Disk{Capacity: 100, Available: 200}, nil // more than there can be
		default:
			return gc.Disk{}, errors.New("no such file or directory")
		}
	}
	for name, test := range map[string]struct {
		images, containers []string
		left, err          string
	}{
		"of several":              {images: []string{"/empty", "/full", "/empty"}, left: "", err: "95% of the disk"},
		"that of containers not":  {images: []string{"/empty"}, containers: []string{"/full"}, left: "a"},
		"one that is not there":   {images: []string{"/away"}, left: "a", err: `measure file system of images at "/away": no such file`},
		"none":                    {left: "a", err: "the runtime reports no file system of images"},
		"more available than all": {images: []string{"/empty"}, left: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newImageDisk()
			disk.add("a", 1, 1)
			err := gc.NewImages(&separate{disk, test.images, test.containers}, gc.ImagesConfig{MinAge: -1, DiskOf: disks}).Collect(t.Context())
			assert.Equal(t, test.left, disk.left())
			if test.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.err)
			}
		})
	}
}

func TestNothingIsRemovedBeforeThePodsAreKnownNorWhileImagesAreHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newImageDisk()
		core, logs := observer.New(zap.WarnLevel)
		disk.add("a", 100, 100)
		disk.fill(800)
		var mu sync.Mutex
		ready, hold := false, true
		is := func(what *bool) func() bool {
			return func() bool { mu.Lock(); defer mu.Unlock(); return *what }
		}
		images := disk.collector(gc.ImagesConfig{
			Ready: is(&ready), Hold: is(&hold), MaxAge: time.Hour, Logger: zap.New(core),
		})
		defer background(t, images)()
		settleFor(3 * time.Hour)
		require.NoError(t, images.CollectUnused(t.Context()))
		assert.Empty(t, disk.since())

		mu.Lock()
		ready = true
		mu.Unlock()
		settleFor(3 * time.Hour)
		require.NoError(t, images.CollectUnused(t.Context()))
		assert.Equal(t, "a", disk.left())
		require.Equal(t, 1, logs.Len())
		assert.Equal(t, "disk of images is full, and they are held", logs.All()[0].Message)
		assert.InDelta(t, 36, strings.Count(disk.since(), "ListImages"), 2, "no more than to know the users")

		mu.Lock()
		hold = false
		mu.Unlock()
		settleFor(10 * time.Second)
		assert.Empty(t, disk.left())
	})
}

// The upstream is lost while images are removed.
func TestAHoldThatComesWhileImagesAreRemovedKeepsTheOthers(t *testing.T) {
	for name, row := range map[string]struct {
		collect func(*gc.Images, context.Context) error
		told    string
	}{
		"for want of space":  {(*gc.Images).Collect, "disk of images is full, and they are held"},
		"all that is unused": {(*gc.Images).CollectUnused, ""},
	} {
		t.Run(name, func(t *testing.T) {
			disk, told := newImageDisk(), &events{}
			core, logs := observer.New(zap.WarnLevel)
			for _, id := range []string{"a", "b", "c"} {
				disk.add(id, 50, 50)
			}
			disk.fill(800)
			hold := false
			disk.onRemove = func(string) { hold = true }
			images := disk.collector(gc.ImagesConfig{Hold: func() bool { return hold }, Recorder: told, Logger: zap.New(core)})
			err := row.collect(images, t.Context())
			assert.Equal(t, "b c", disk.left())
			assert.Empty(t, told.all(), "more may be removed later")
			if row.told == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, "images are held")
			assert.Equal(t, row.told, logs.All()[0].Message)
		})
	}
}

func TestCollectUnusedDoesNotAskTheDisk(t *testing.T) {
	disk := newImageDisk()
	disk.add("a", 1, 1)
	disk.add("b", 1, 1)
	disk.use("of a", "a")
	disk.fail("ImageFsInfo", errors.New("unavailable"))
	require.NoError(t, disk.collector(gc.ImagesConfig{}).CollectUnused(t.Context()))
	assert.Equal(t, "a", disk.left())
}

func TestWithAHighMarkOf100AndNoMaxAgeNothingIsRemovedByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newImageDisk()
		disk.add("a", 1000, 1000)
		disk.fail("ImageFsInfo", errors.New("unavailable"))
		images := disk.collector(gc.ImagesConfig{HighThresholdPercent: 100})
		defer background(t, images)()
		settleFor(24 * time.Hour)
		calls := disk.since()
		assert.NotContains(t, calls, "ImageFsInfo", "it is of no account how full the disk is")
		assert.InDelta(t, 288, strings.Count(calls, "ListImages"), 5)
		require.NoError(t, images.Collect(t.Context()))
		assert.Equal(t, "a", disk.left())
	})
}

// A node that is about to evict a pod has no time to learn how old its images are.
func TestWithAHighMarkOf100TheAgeOfImagesIsKnownAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newImageDisk()
		disk.add("old", 1, 1)
		images := disk.collector(gc.ImagesConfig{HighThresholdPercent: 100, MinAge: 2 * time.Minute})
		defer background(t, images)()
		settleFor(24 * time.Hour)
		disk.add("new", 1, 1)
		require.NoError(t, images.CollectUnused(t.Context()))
		assert.Equal(t, "new", disk.left())
	})
}

func TestARoundOfImagesEndsWithItsContext(t *testing.T) {
	disk := newImageDisk()
	ctx, cancel := context.WithCancel(t.Context())
	disk.add("a", 1, 1)
	disk.add("b", 1, 1)
	disk.onRemove = func(string) { cancel() }
	require.ErrorIs(t, disk.collector(gc.ImagesConfig{}).CollectUnused(ctx), context.Canceled)
	assert.Equal(t, "b", disk.left())
	require.ErrorIs(t, disk.collector(gc.ImagesConfig{}).Collect(ctx), context.Canceled)
}

func TestRoundsAtOnceDoNotGetInEachOthersWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newImageDisk()
		for n := range 20 {
			disk.add(fmt.Sprint(n), 1, 1)
		}
		disk.onRemove = func(string) { time.Sleep(time.Second) }
		images := disk.collector(gc.ImagesConfig{})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { assert.NoError(t, images.CollectUnused(t.Context())) })
		}
		all.Wait()
		assert.Equal(t, 20, strings.Count(disk.since(), "RemoveImage"))
	})
}

func TestInvalidImagePolicyIsRefused(t *testing.T) {
	for want, cfg := range map[string]gc.ImagesConfig{
		"":                                {},
		"HighThresholdPercent is 101":     {HighThresholdPercent: 101},
		"HighThresholdPercent is -1":      {HighThresholdPercent: -1},
		"LowThresholdPercent is -1":       {LowThresholdPercent: -1},
		"LowThresholdPercent is 101":      {LowThresholdPercent: 101},
		"LowThresholdPercent is 86, it":   {LowThresholdPercent: 86},
		"MaxAge is 1m0s, it must be 0 or": {MaxAge: time.Minute},
		"MaxAge is -1s":                   {MaxAge: -time.Second},
	} {
		t.Run(want, func(t *testing.T) {
			if want == "" {
				require.NoError(t, cfg.Validate())
				require.NoError(t, gc.ImagesConfig{HighThresholdPercent: 3}.Validate(), "the low mark follows the high one")
				return
			}
			require.ErrorContains(t, cfg.Validate(), want)
			images := gc.NewImages(newImageDisk(), cfg)
			require.ErrorContains(t, images.Run(t.Context()), want)
			require.ErrorContains(t, images.Collect(t.Context()), want)
			require.ErrorContains(t, images.CollectUnused(t.Context()), want)
		})
	}
}

func BenchmarkIdleRound(b *testing.B) {
	disk := newImageDisk()
	images := disk.collector(gc.ImagesConfig{})
	if err := images.Collect(b.Context()); err != nil {
		b.Fatal(err)
	}
	disk.since()
	b.ReportAllocs()
	for b.Loop() {
		if err := images.Collect(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(disk.calls))/float64(b.N), "calls/op")
}
