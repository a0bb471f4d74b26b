package main

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

// BenchmarkIdle is what a whole agent costs on a full node where nothing happens, with
// events and without: CPU in percent of a core and calls of the runtime in a second.
// The runtime in memory is in the same process, and what it costs is in the figure.
func BenchmarkIdle(b *testing.B) {
	for name, profile := range map[string]critest.Profile{"events": critest.Newest, "no-events": critest.Containerd16} {
		b.Run(name, func(b *testing.B) {
			const pods, period = 110, 20 * time.Second
			fake := critest.New(critest.Config{Profile: profile})
			defer fake.Close()
			client, err := fake.Dial(b.Context(), cri.Config{})
			require.NoError(b, err)
			defer client.Close(context.Background())
			upstream := newCloud()
			for i := range pods {
				upstream.pods = append(upstream.pods, podNamed(fmt.Sprintf("idle-%03d", i), corev1.RestartPolicyAlways, "app"))
			}
			opts := options{runtime: memory, root: b.TempDir(), nodeName: "bench"}.withPaths()
			a, err := newAgent(client, upstream, opts, zap.NewNop())
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

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
