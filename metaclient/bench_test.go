package metaclient_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/metaclient"
)

// BenchmarkDay prints what a day costs the flash, in commits and in bytes of pages
// that a commit writes, for stated loads.
func BenchmarkDay(b *testing.B) {
	for name, load := range map[string]struct {
		pods, changes int
		change        func(b *testing.B, c *metaclient.Client, deliver func(pods ...*corev1.Pod), i int)
	}{
		"idle, 50 pods": {50, 24 * 60 * 6, func(b *testing.B, c *metaclient.Client, _ func(...*corev1.Pod), i int) {
			require.NoError(b, c.ReportPodStatus(b.Context(), restarted(name("p", i%50), 1)))
		}},
		"30 pods, 50 changes": {30, 50, func(b *testing.B, c *metaclient.Client, deliver func(...*corev1.Pod), i int) {
			set := pods(30)
			set[i%30].Labels["n"] = name("v", i)
			deliver(set...)
			require.NoError(b, c.ReportPodStatus(b.Context(), restarted(name("p", i%30), int32(i+2))))
		}},
		// A restart each five minutes: it runs, and it waits.
		"one crash-looping pod of 30": {30, 2 * 288, func(b *testing.B, c *metaclient.Client, _ func(...*corev1.Pod), i int) {
			require.NoError(b, c.ReportPodStatus(b.Context(), restarted("p0", int32(i+2))))
		}},
	} {
		b.Run(name, func(b *testing.B) {
			total, bytes := 0, int64(0)
			for range b.N {
				days, written := day(b, load.pods, load.changes, load.change)
				total, bytes = total+days, bytes+written
			}
			b.ReportMetric(float64(total)/float64(b.N), "commits/day")
			b.ReportMetric(float64(bytes)/float64(b.N), "bytes/day")
		})
	}
}

func pods(n int) (set []*corev1.Pod) {
	for i := range n {
		set = append(set, pod(name("p", i)))
	}
	return set
}

// day makes the changes, each in a tick of its own.
func day(b *testing.B, n, changes int, change func(*testing.B, *metaclient.Client, func(...*corev1.Pod), int)) (made int, written int64) {
	path := b.TempDir() + "/meta.db"
	up := newFakeUpstream()
	c, err := metaclient.Open(path, up, metaclient.Config{FlushAfter: time.Hour})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	deliver := func(pods ...*corev1.Pod) { require.NoError(b, up.deliver(pods...)) }
	deliver(pods(n)...)
	for i := range n {
		require.NoError(b, c.ReportPodStatus(b.Context(), restarted(name("p", i), 1)))
	}
	require.NoError(b, c.Flush(b.Context()))
	before, began := written64(b), commits(b, path)
	for i := range changes {
		change(b, c, deliver, i)
		require.NoError(b, c.Flush(b.Context()))
	}
	written, made = written64(b)-before, commits(b, path)-began
	cancel()
	require.NoError(b, <-ended)
	require.NoError(b, c.Close())
	return made, written
}
