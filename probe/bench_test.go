package probe_test

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/probe"
)

// hourly are pods with three probes each, which are due in an hour.
func hourly(pods int) ([]*corev1.Pod, []corev1.PodStatus) {
	var specs []*corev1.Pod
	var statuses []corev1.PodStatus
	for i := range pods {
		pod := podWith(does("live", after(3600)), does("ready", after(3600)), nil)
		pod.UID = types.UID(fmt.Sprint(i))
		pod.Spec.Containers[0].StartupProbe = nil
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "side", LivenessProbe: does("live", after(3600))})
		status := runs(fmt.Sprint(i))
		side := status.ContainerStatuses[0]
		side.Name, side.ContainerID = "side", side.ContainerID+"s"
		status.ContainerStatuses = append(status.ContainerStatuses, side)
		specs, statuses = append(specs, pod), append(statuses, status)
	}
	return specs, statuses
}

// held is what the heap, the stacks and the goroutines grew by.
func held(grow func()) (bytes, goroutines float64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	was := runtime.NumGoroutine()
	grow()
	goroutines = float64(runtime.NumGoroutine() - was)
	runtime.GC()
	runtime.ReadMemStats(&after)
	return float64(after.HeapAlloc+after.StackInuse) - float64(before.HeapAlloc+before.StackInuse), goroutines
}

// BenchmarkThreeThousandProbes shows what a probe costs that waits, beside one that has
// a goroutine and a ticker of its own, as the kubelet's have.
func BenchmarkThreeThousandProbes(b *testing.B) {
	const pods, probes = 1000, 3000
	specs, statuses := hourly(pods)
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		m, done := probe.New(&fakeExecer{}, probe.Config{}), make(chan error, 1)
		bytes, goroutines := held(func() {
			go func() { done <- m.Run(ctx) }()
			for i := range specs {
				m.Set(specs[i], statuses[i])
			}
		})
		require.Equal(b, probes, m.Metrics().Probes)
		cancel()
		require.NoError(b, <-done)

		ended := make(chan struct{})
		baseline, _ := held(func() {
			for range probes {
				go func() {
					ticker := time.NewTicker(time.Hour)
					defer ticker.Stop()
					select {
					case <-ticker.C:
					case <-ended:
					}
				}()
			}
			time.Sleep(50 * time.Millisecond)
		})
		close(ended)
		time.Sleep(50 * time.Millisecond)
		b.ReportMetric(bytes/probes, "B/probe")
		b.ReportMetric(goroutines, "goroutines")
		b.ReportMetric(baseline/probes, "baseline-B/probe")
		b.ReportMetric(baseline/bytes, "baseline/ours")
	}
	runtime.KeepAlive(specs)
}

// BenchmarkIdle shows the processor time that 110 pods with three probes each take, each
// probe of which runs every 10s and whose commands cost nothing.
func BenchmarkIdle(b *testing.B) {
	specs, statuses := hourly(110)
	for _, pod := range specs {
		for i := range pod.Spec.Containers {
			for _, spec := range []*corev1.Probe{pod.Spec.Containers[i].LivenessProbe, pod.Spec.Containers[i].ReadinessProbe} {
				if spec != nil {
					spec.InitialDelaySeconds = 0
				}
			}
		}
	}
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), 12*time.Second)
		m := probe.New(&fakeExecer{}, probe.Config{MaxExecs: 1})
		used := processorTime(b)
		began := time.Now()
		for i := range specs {
			m.Set(specs[i], statuses[i])
		}
		require.NoError(b, m.Run(ctx))
		cancel()
		b.ReportMetric(100*float64(processorTime(b)-used)/float64(time.Since(began)), "%cpu")
		b.ReportMetric(float64(m.Metrics().Checks), "checks")
	}
}

func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
