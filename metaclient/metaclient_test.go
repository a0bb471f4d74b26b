package metaclient_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/metaclient"
)

func TestOpenNeedsAnUpstream(t *testing.T) {
	_, err := metaclient.Open(storePath(t), nil, metaclient.Config{})
	require.ErrorContains(t, err, "upstream")
}

func TestStoredPodsAreHandedOnWhileTheUpstreamIsSilent(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"), pod("b"))
	for name, tc := range map[string]struct {
		after, want time.Duration
	}{
		"default":  {0, 200 * time.Millisecond},
		"set":      {3 * time.Second, 3 * time.Second},
		"negative": {-1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var rec recorder
				c := mustOpen(t, copyFile(t, path), watchFunc(silent), metaclient.Config{OnPods: rec.onPods, CacheAfter: tc.after})
				stop := start(t, c)
				defer stop()
				if tc.want > 0 {
					time.Sleep(tc.want - time.Millisecond)
					synctest.Wait()
					require.Empty(t, rec.all())
					time.Sleep(time.Millisecond)
				}
				synctest.Wait()
				require.Len(t, rec.all(), 1)
				assert.Equal(t, []string{"a", "b"}, rec.last(t).names)
				assert.False(t, rec.last(t).complete)
				time.Sleep(time.Hour)
				assert.Len(t, rec.all(), 1, "the stored set is handed on once")
			})
		})
	}
}

func TestStoredPodsAreNotHandedOnAfterACompleteSet(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("old"))
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		up := newFakeUpstream()
		stop := start(t, mustOpen(t, path, up, metaclient.Config{OnPods: rec.onPods}))
		defer stop()
		time.Sleep(199 * time.Millisecond)
		require.NoError(t, up.deliver(pod("new")))
		time.Sleep(time.Minute)
		require.Len(t, rec.all(), 1)
		assert.Equal(t, []string{"new"}, rec.last(t).names)
		assert.True(t, rec.last(t).complete)
	})
}

func TestCompleteSetFollowsTheStoredOne(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("gone"), pod("kept"))
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		up := newFakeUpstream()
		stop := start(t, mustOpen(t, path, up, metaclient.Config{OnPods: rec.onPods}))
		defer stop()
		time.Sleep(time.Hour)
		require.NoError(t, up.deliver(pod("kept"), pod("added")))
		calls := rec.all()
		require.Len(t, calls, 2)
		assert.Equal(t, []string{"gone", "kept"}, calls[0].names)
		assert.Equal(t, []string{"added", "kept"}, calls[1].names)
		assert.True(t, calls[1].complete)
	})
}

func TestEmptyFirstSetIsHandedOnAsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		up := newFakeUpstream()
		stop := start(t, mustOpen(t, storePath(t), up, metaclient.Config{OnPods: rec.onPods}))
		defer stop()
		require.NoError(t, up.deliver())
		require.Len(t, rec.all(), 1)
		assert.Empty(t, rec.last(t).pods)
		assert.True(t, rec.last(t).complete)
	})
}

func TestSetIsDurableBeforeItIsHandedOn(t *testing.T) {
	path := storePath(t)
	up := newFakeUpstream()
	var found [][]string
	stop := start(t, mustOpen(t, path, up, metaclient.Config{OnPods: func([]*corev1.Pod, bool) {
		// A copy of the file is what a kill at this instant would leave.
		found = append(found, names(stored(t, copyFile(t, path))))
	}, CacheAfter: time.Hour}))
	require.NoError(t, up.deliver(pod("a")))
	require.NoError(t, up.deliver(pod("a"), pod("b")))
	require.NoError(t, up.deliver())
	stop()
	assert.Equal(t, [][]string{{"a"}, {"a", "b"}, {}}, found)
}

func TestSetThatCannotBeStoredIsNotHandedOnAndAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		attempts := 0
		c := mustOpen(t, storePath(t), watchFunc(func(ctx context.Context, deliver func([]*corev1.Pod) error) error {
			attempts++
			return deliver([]*corev1.Pod{pod("a")})
		}), metaclient.Config{OnPods: rec.onPods})
		require.NoError(t, c.Close()) // from now on the store refuses everything
		stop := start(t, c)
		time.Sleep(time.Minute)
		stop()
		assert.Empty(t, rec.all())
		assert.Greater(t, attempts, 3)
	})
}

func TestFailingUpstreamLosesNothingAndIsRetriedLessAndLess(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		var attempts []time.Time
		c := mustOpen(t, path, watchFunc(func(context.Context, func([]*corev1.Pod) error) error {
			attempts = append(attempts, time.Now())
			return errors.New("no route to cloud")
		}), metaclient.Config{OnPods: rec.onPods})
		stop := start(t, c)
		time.Sleep(24 * time.Hour)
		stop()
		require.Len(t, rec.all(), 1)
		assert.Equal(t, []string{"a"}, rec.last(t).names)
		assert.False(t, rec.last(t).complete, "an error is not a set")

		require.Greater(t, len(attempts), 24*60-1)
		for i := 1; i < len(attempts); i++ {
			full := min(time.Second<<min(i-1, 6), time.Minute)
			wait := attempts[i].Sub(attempts[i-1])
			assert.GreaterOrEqual(t, wait, full/2)
			assert.Less(t, wait, full)
		}
	})
}

func TestUpstreamThatReturnsIsWatchedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs, seen := observer.New(zap.InfoLevel)
		attempts := 0
		c := mustOpen(t, storePath(t), watchFunc(func(ctx context.Context, deliver func([]*corev1.Pod) error) error {
			if attempts++; attempts <= 3 {
				return nil
			}
			if err := deliver(nil); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		}), metaclient.Config{Logger: zap.New(logs)})
		stop := start(t, c)
		time.Sleep(time.Minute)
		stop()
		assert.Equal(t, 4, attempts)
		assert.Equal(t, 1, seen.FilterMessage("upstream watch failed, will retry").Len(), "a row of failures is logged once")
		assert.Equal(t, 1, seen.FilterMessage("upstream answers again").Len())
	})
}

func TestRunEndsWhileTheUpstreamDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := mustOpen(t, storePath(t), watchFunc(func(ctx context.Context, deliver func([]*corev1.Pod) error) error {
			for {
				if err := deliver([]*corev1.Pod{pod("a")}); err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
		}), metaclient.Config{})
		stop := start(t, c)
		time.Sleep(time.Second)
		stop()
	})
}

func TestNobodySharesPointers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		up := newFakeUpstream()
		c := mustOpen(t, storePath(t), up, metaclient.Config{OnPods: rec.onPods})
		stop := start(t, c)
		defer stop()
		given := pod("a")
		require.NoError(t, up.deliver(given))
		given.Labels["app"] = "changed by the upstream"
		rec.last(t).pods[0].Labels["app"] = "changed by the callee"
		first, err := c.Pods(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "a", first[0].Labels["app"])
		first[0].Labels["app"] = "changed by a reader"
		second, err := c.Pods(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "a", second[0].Labels["app"])
	})
}

func TestPodsAreAsDelivered(t *testing.T) {
	path := storePath(t)
	want := pod("a")
	want.Spec.TerminationGracePeriodSeconds = new(int64)
	want.DeletionTimestamp = new(at(1700000000))
	fill(t, path, want)
	got := stored(t, path)
	require.Len(t, got, 1)
	assert.Equal(t, want.Spec, got[0].Spec)
	assert.True(t, want.DeletionTimestamp.Equal(got[0].DeletionTimestamp))
}

func TestReadsReportsAndSetsMayCross(t *testing.T) {
	up := newFakeUpstream()
	c := mustOpen(t, storePath(t), up, metaclient.Config{OnPods: func([]*corev1.Pod, bool) {}})
	stop := start(t, c)
	defer stop()
	require.NoError(t, up.deliver(pod("a"), pod("b")))
	var others sync.WaitGroup
	for range 3 {
		others.Go(func() {
			for i := range 10 {
				status := corev1.PodStatus{Phase: corev1.PodRunning, ObservedGeneration: int64(i)}
				assert.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), status)))
				pods, err := c.Pods(t.Context())
				assert.NoError(t, err)
				assert.Contains(t, names(pods), "a")
				assert.NoError(t, c.Release(t.Context(), "uid-of-b"))
			}
		})
	}
	for range 10 {
		require.NoError(t, up.deliver(pod("a")))
		require.NoError(t, up.deliver(pod("a"), pod("b")))
	}
	others.Wait()
}

func TestPodsWithAnEndedContextFails(t *testing.T) {
	c := mustOpen(t, storePath(t), watchFunc(silent), metaclient.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Pods(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, c.Release(ctx, "u"), context.Canceled)
}
