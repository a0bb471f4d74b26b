package gc_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/gc"
)

// A year in which three pods crash all day, and each day one of them is replaced by
// one of a new image, on a disk with room for 20 images: no week ends with more
// on the node than the first ones did.
func TestInAYearOfCrashesAndNewImagesNothingPilesUp(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		y := startYear(t, dir)
		defer y.collect()()
		var heap uint64
		for day := range 365 {
			y.replace(day)
			for n := range y.pods {
				y.crash(day, n)
			}
			settleFor(24*time.Hour - 3*2*2*time.Minute)
			if day%7 == 0 {
				y.requireTidy(day)
			}
			switch day {
			case 90:
				heap = heapInUse()
			case 364:
				assert.Less(t, heapInUse(), heap+4<<20, "no more memory than nine months ago")
			}
		}
	})
}

// year is a node and its pods.
type year struct {
	t      *testing.T
	client *cri.Client
	dir    string

	mu   sync.Mutex // guards pods
	pods [3]*crashingPod
}

const (
	yearImageSize = 10 << 20
	yearDisk      = 20 * yearImageSize
)

func startYear(t *testing.T, dir string) *year {
	rt := critest.Start(t, critest.Config{
		WriteLogs:  true,
		TraceLimit: -1,
		Scripts:    []critest.Script{{Runs: []critest.Run{{Duration: time.Minute, ExitCode: 1}}}},
	})
	y := &year{t: t, client: rt.Client(t), dir: dir}
	for n := range y.pods {
		y.replace(n - len(y.pods))
	}
	return y
}

// collect runs both collectors, less often than usual: a year has too many minutes.
func (y *year) collect() (stop func()) {
	containers := gc.NewContainers(y.client, gc.ContainersConfig{
		Period: 8 * time.Hour, Removed: y.removed, PodLogs: y.dir, ContainerLogs: filepath.Join(y.dir, "links"),
	})
	images := gc.NewImages(y.client, gc.ImagesConfig{
		Period: 8 * time.Hour, LookPeriod: 8 * time.Hour, Wanted: y.wanted, DiskOf: y.disk,
	})
	ctx, cancel := context.WithCancel(y.t.Context())
	var running sync.WaitGroup
	running.Go(func() { assert.NoError(y.t, containers.Run(ctx)) })
	running.Go(func() { assert.NoError(y.t, images.Run(ctx)) })
	return func() { cancel(); running.Wait() }
}

func (y *year) removed(uid types.UID) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, pod := range y.pods {
		if pod.pod.UID == uid {
			return false
		}
	}
	return true
}

func (y *year) wanted() []string {
	y.mu.Lock()
	defer y.mu.Unlock()
	var images []string
	for _, pod := range y.pods {
		images = append(images, pod.image)
	}
	return images
}

func (y *year) disk(string) (gc.Disk, error) {
	info, err := y.client.ImageFsInfo(y.t.Context())
	if err != nil {
		return gc.Disk{}, err
	}
	used := info.GetImageFilesystems()[0].GetUsedBytes().GetValue()
	return gc.Disk{Capacity: yearDisk, Available: yearDisk - min(used, yearDisk)}, nil
}

// replace deletes the pod whose day it is and puts a new one in its place.
func (y *year) replace(day int) {
	pod := &crashingPod{
		t: y.t, client: y.client, logRoot: y.dir,
		pod: podOf(fmt.Sprintf("day%d", day)), image: fmt.Sprintf("app:%d", day+len(y.pods)),
	}
	y.mu.Lock()
	y.pods[(day+len(y.pods))%len(y.pods)] = pod
	y.mu.Unlock()
	_, err := y.client.PullImage(y.t.Context(), &runtimeapi.ImageSpec{Image: pod.image}, nil, nil)
	require.NoError(y.t, err)
}

// crash is what happens to a pod in a day: its container crashes twice, then
// its sandbox is lost.
func (y *year) crash(day, n int) {
	pod := y.pods[n]
	pod.runSandbox(day + 1)
	for crash := range 2 {
		restarts := 2*day + crash
		pod.crash(restarts)
		require.NoError(y.t, crilog.Link(filepath.Join(y.dir, "links"), pod.pod, "app", fmt.Sprint(restarts),
			filepath.Join(pod.logs(), crilog.ContainerPath("app", restarts))))
	}
	pod.stopSandbox()
}

// requireTidy requires that of each pod no more is left than what may be asked for.
func (y *year) requireTidy(day int) {
	y.t.Helper()
	containers, err := y.client.ListContainers(y.t.Context(), nil)
	require.NoError(y.t, err)
	require.Len(y.t, containers, len(y.pods), "day %d: the last of each pod", day)
	sandboxes, err := y.client.ListPodSandbox(y.t.Context(), nil)
	require.NoError(y.t, err)
	require.Len(y.t, sandboxes, len(y.pods), "day %d", day)
	require.Equal(y.t, len(y.pods), y.files(0), "day %d: a log of each pod", day)
	require.LessOrEqual(y.t, y.files(fs.ModeSymlink), len(y.pods), "day %d", day)

	images, err := y.client.ListImages(y.t.Context(), nil)
	require.NoError(y.t, err)
	require.LessOrEqual(y.t, len(images), yearDisk/yearImageSize*85/100, "day %d", day)
	require.GreaterOrEqual(y.t, len(images), min(day, yearDisk/yearImageSize*75/100), "day %d: no more went than had to", day)
	for _, name := range y.wanted() {
		status, err := y.client.ImageStatus(y.t.Context(), &runtimeapi.ImageSpec{Image: name}, false)
		require.NoError(y.t, err)
		require.NotNil(y.t, status.GetImage(), "day %d: %s is needed", day, name)
	}
}

// files counts the files of a type below the directory of logs.
func (y *year) files(kind fs.FileMode) int {
	count := 0
	require.NoError(y.t, fs.WalkDir(os.DirFS(y.dir), ".", func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type() == kind && !entry.IsDir() {
			count++
		}
		return err
	}))
	return count
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
