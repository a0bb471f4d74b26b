package pleg_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/pleg"
)

// BenchmarkIdleNode is what a node of 110 pods costs on which nothing happens: calls of
// the runtime a second, and the time on a processor of generator, client and the runtime
// in memory together, as they are one process. An operation is a long period.
func BenchmarkIdleNode(b *testing.B) {
	var withEvents float64
	for _, events := range []bool{true, false} {
		b.Run(fmt.Sprintf("events=%v", events), func(b *testing.B) {
			runtime := idleNode(b, events)
			runtime.ResetCalls()
			began, used := time.Now(), processorTime(b)
			for b.Loop() {
				time.Sleep(10 * time.Second)
			}
			elapsed := time.Since(began).Seconds()
			cost := (processorTime(b) - used).Seconds() / elapsed
			b.ReportMetric(100*cost, "cpu-%")
			b.ReportMetric(float64(runtime.Count())/elapsed, "calls/s")
			if events {
				withEvents = cost
			} else if withEvents > 0 {
				b.ReportMetric(cost/withEvents, "cpu/with-events")
			}
		})
	}
}

// idleNode is a runtime of 110 pods, observed until the benchmark ends.
func idleNode(b *testing.B, events bool) *critest.Runtime {
	b.Helper()
	profile := critest.Containerd16
	if events {
		profile = critest.Containerd21
	}
	runtime := critest.Start(b, critest.Config{Profile: profile, Images: []critest.Image{{Name: "app"}}})
	client := runtime.Client(b)
	for i := range 110 {
		runPod(b, client, fmt.Sprint("pod-", i))
	}
	generator := pleg.New(client, pleg.Config{})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- generator.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-done)
	})
	time.Sleep(3 * time.Second)
	require.Equal(b, events, generator.Metrics().Eventful)
	return runtime
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var usage unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &usage))
	return time.Duration(unix.TimevalToNsec(usage.Utime) + unix.TimevalToNsec(usage.Stime))
}
