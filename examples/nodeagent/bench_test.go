package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/metaclient/manifests"
	"github.com/edged-project/edged/podmanager/podspec"
)

// BenchmarkIdle is what a whole agent costs on a full node where nothing happens, with
// events and without: CPU in percent of a core and calls of the runtime in a second.
// It has a folder of manifests, logs and a disk to watch, and the time for what is done
// each minute, as is a look at each pod. The runtime in memory is in the same process, and
// what it costs is in the figure; it gives pods no interfaces and no cgroups, and what these
// cost is not.
func BenchmarkIdle(b *testing.B) {
	for _, row := range []struct {
		name    string
		profile critest.Profile
	}{{"events", critest.Newest}, {"no-events", critest.Containerd16}} {
		b.Run(row.name, func(b *testing.B) {
			const pods, period = 110, 90 * time.Second
			root := b.TempDir()
			fake := critest.New(critest.Config{Profile: row.profile, WriteLogs: true})
			fake.SetImageFs(root, 0)
			defer fake.Close()
			client, err := fake.Dial(b.Context(), cri.Config{})
			require.NoError(b, err)
			defer client.Close(context.Background())
			opts := options{
				root: root, podLogs: root + "/log/pods", containerLogs: root + "/log/containers", nodeName: "bench",
				evictionHard: "memory.available<1", imagesHigh: 99, imagesLow: 98, // watched, and never come to
			}.withPaths()
			a, err := newAgent(client, folderOf(b, pods), opts, zap.NewNop())
			require.NoError(b, err)
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- a.run(ctx) }()
			require.Eventually(b, func() bool { return (&running{agent: a}).allRunning(pods) }, time.Minute, 100*time.Millisecond)
			time.Sleep(5 * time.Second)
			fake.ResetCalls()
			var percent float64
			for range b.N {
				before := cpuTime()
				time.Sleep(period)
				percent = 100 * float64(cpuTime()-before) / float64(period)
			}
			b.ReportMetric(percent, "%-of-a-core")
			b.ReportMetric(float64(len(fake.Calls()))/(period.Seconds()*float64(b.N)), "calls/s")
			b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
			runtime.GC()
			var memory runtime.MemStats
			runtime.ReadMemStats(&memory)
			b.ReportMetric(float64(memory.HeapAlloc)/(1<<20), "heap-MiB")
			cancel()
			require.NoError(b, <-done)
			a.close()
		})
	}
}

// folderOf is a folder of that many manifests.
func folderOf(b *testing.B, pods int) *manifests.Source {
	dir := b.TempDir()
	for i := range pods {
		manifest := fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: idle-%d}, spec: {containers: [{name: app, image: app}]}}", i)
		require.NoError(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), []byte(manifest), 0o600))
	}
	return manifests.New(dir, manifests.Config{NodeName: "bench", Complete: podspec.Complete})
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
