package imagepull_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// ensure calls Ensure in the background; the error comes when it returned.
func ensure(ctx context.Context, p *imagepull.Puller, uid, image string) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, _, err := p.Ensure(ctx, pod(uid), container(image, corev1.PullAlways), nil)
		result <- err
	}()
	synctest.Wait()
	return result
}

func TestOnePullOfAnImageAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: takes(time.Minute)}
		puller := imagepull.New(runtime, imagepull.Config{})
		var results []<-chan error
		for _, uid := range []string{"a", "b", "c"} {
			results = append(results, ensure(t.Context(), puller, uid, "nginx"))
		}
		begin := time.Now()
		for _, result := range results {
			require.NoError(t, <-result)
		}
		assert.Equal(t, time.Minute, time.Since(begin))
		assert.Equal(t, []string{"nginx:latest"}, runtime.pulls())
	})
}

func TestSharedPullFailsForAllAndEachBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: func(ctx context.Context, image string) error {
			return errors.Join(takes(time.Second)(ctx, image), errors.New("no"))
		}}
		puller := imagepull.New(runtime, imagepull.Config{})
		first, second := ensure(t.Context(), puller, "a", "nginx"), ensure(t.Context(), puller, "b", "nginx")
		assert.ErrorContains(t, <-first, "no")
		assert.ErrorContains(t, <-second, "no")
		requireReason(t, puller, "a", "nginx", imagepull.ReasonBackOff)
		requireReason(t, puller, "b", "nginx", imagepull.ReasonBackOff)
		assert.Len(t, runtime.pulls(), 1)
	})
}

func TestWhoGivesUpLeavesThePullToTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: takes(time.Minute)}
		puller := imagepull.New(runtime, imagepull.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		first, second := ensure(ctx, puller, "a", "nginx"), ensure(t.Context(), puller, "b", "nginx")

		cancel() // of the one who started it
		err := <-first
		require.ErrorIs(t, err, context.Canceled)
		var waiting *imagepull.Error
		assert.False(t, errors.As(err, &waiting), "who gave up shows no reason")

		require.NoError(t, <-second)
		assert.Len(t, runtime.pulls(), 1)
	})
}

func TestTheLastToGiveUpEndsThePull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: takes(time.Hour)}
		puller := imagepull.New(runtime, imagepull.Config{})
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		first, second := ensure(ctx, puller, "a", "nginx"), ensure(ctx, puller, "b", "nginx")
		require.ErrorIs(t, <-first, context.DeadlineExceeded)
		require.ErrorIs(t, <-second, context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(begin))
		assert.Zero(t, runtime.running, "it has ended, not only been told to")

		runtime.pull = nil
		_, _, err := puller.Ensure(t.Context(), pod("a"), container("nginx", corev1.PullAlways), nil)
		require.NoError(t, err, "giving up leaves no back-off")
	})
}

// A runtime may take its time to end a pull: who comes meanwhile does not share
// its fate, and does not pull beside it.
func TestNewcomerWaitsForTheEndOfAPullGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := true
		runtime := &fakeRuntime{pull: func(ctx context.Context, _ string) error {
			if !slow {
				return nil
			}
			<-ctx.Done()
			time.Sleep(5 * time.Second)
			return ctx.Err()
		}}
		puller := imagepull.New(runtime, imagepull.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		first := ensure(ctx, puller, "a", "nginx")
		cancel()
		synctest.Wait()

		slow = false
		second := ensure(t.Context(), puller, "b", "nginx")
		impatient, cancelImpatient := context.WithTimeout(t.Context(), time.Second)
		defer cancelImpatient()
		third := ensure(impatient, puller, "c", "nginx")
		require.ErrorIs(t, <-third, context.DeadlineExceeded)
		assert.Len(t, runtime.pulls(), 1)

		require.ErrorIs(t, <-first, context.Canceled)
		require.NoError(t, <-second)
		assert.Equal(t, 1, runtime.most)
		assert.Len(t, runtime.pulls(), 2)
	})
}

func TestParallelPullsAreBounded(t *testing.T) {
	for limit, seconds := range map[int]int{0: 4, 1: 10, 2: 5, 20: 1} { // 0 is the default of 3
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runtime := &fakeRuntime{pull: takes(time.Second)}
				puller := imagepull.New(runtime, imagepull.Config{MaxParallel: limit})
				begin := time.Now()
				var results []<-chan error
				for i := range 10 {
					results = append(results, ensure(t.Context(), puller, "a", fmt.Sprintf("image-%d", i)))
				}
				for _, result := range results {
					require.NoError(t, <-result)
				}
				assert.Equal(t, time.Duration(seconds)*time.Second, time.Since(begin))
				assert.LessOrEqual(t, runtime.most, cmp.Or(limit, 3))
				if limit == 1 {
					assert.True(t, slices.IsSorted(runtime.pulls()), "in the order of asking")
				}
			})
		})
	}
}

func TestWaitingForATurnCanBeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: takes(time.Hour)}
		puller := imagepull.New(runtime, imagepull.Config{MaxParallel: 1})
		begin := time.Now()
		first := ensure(t.Context(), puller, "a", "slow")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, <-ensure(ctx, puller, "b", "queued"), context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(begin))
		require.NoError(t, <-first)
		assert.Equal(t, []string{"slow:latest"}, runtime.pulls())
	})
}

// hangsOn is a pull that never ends for images whose names begin with "hangs",
// and takes d for all others.
func hangsOn(d time.Duration) func(context.Context, string) error {
	return func(ctx context.Context, image string) error {
		if strings.HasPrefix(image, "hangs") {
			<-ctx.Done()
			return ctx.Err()
		}
		return takes(d)(ctx, image)
	}
}

func TestHangingPullsDoNotHoldUpTheOthersForEver(t *testing.T) {
	for name, row := range map[string]struct {
		slowAfter, want time.Duration
	}{
		"by default":    {0, time.Minute},
		"as configured": {5 * time.Second, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				puller := imagepull.New(&fakeRuntime{pull: hangsOn(time.Second)}, imagepull.Config{SlowAfter: row.slowAfter})
				ctx, cancel := context.WithCancel(t.Context())
				begin := time.Now()
				var hanging []<-chan error
				for i := range 3 {
					hanging = append(hanging, ensure(ctx, puller, "a", fmt.Sprintf("hangs-%d", i)))
				}
				require.NoError(t, <-ensure(t.Context(), puller, "b", "nginx"))
				assert.Equal(t, row.want+time.Second, time.Since(begin))

				begin = time.Now()
				require.NoError(t, <-ensure(t.Context(), puller, "c", "redis"))
				assert.Equal(t, time.Second, time.Since(begin), "the slow count no longer")

				cancel()
				for _, result := range hanging {
					require.ErrorIs(t, <-result, context.Canceled, "it went on")
				}
			})
		})
	}
}

// The number of pulls at once grows by MaxParallel in SlowAfter at most, and
// the slow ones give back no more than they took.
func TestSlowPullsGrowByMaxParallelAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: takes(150 * time.Second)}
		puller := imagepull.New(runtime, imagepull.Config{MaxParallel: 2})
		var results []<-chan error
		for i := range 20 {
			results = append(results, ensure(t.Context(), puller, "a", fmt.Sprintf("image-%d", i)))
		}
		time.Sleep(time.Second)
		for _, want := range []int{2, 4, 6, 6, 6, 6, 6, 6, 6, 6, 4, 2, 0} { // each minute two begin; two end in the middle of the third
			assert.Equal(t, want, runtime.pulling())
			time.Sleep(time.Minute)
		}
		assert.Equal(t, 6, runtime.most)
		for _, result := range results {
			require.NoError(t, <-result)
		}
		assert.Len(t, runtime.pulls(), 20)
	})
}

func TestPullHasNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: func(ctx context.Context, image string) error {
			_, limited := ctx.Deadline()
			assert.False(t, limited)
			return takes(48*time.Hour)(ctx, image)
		}}
		require.NoError(t, <-ensure(t.Context(), imagepull.New(runtime, imagepull.Config{}), "a", "nginx"))
	})
}

func TestInspectThatIsGivenUpIsNoInspectError(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	runtime := &fakeRuntime{statusErr: context.Canceled}
	_, _, err := imagepull.New(runtime, imagepull.Config{}).Ensure(ctx, pod("a"), container("nginx", corev1.PullIfNotPresent), nil)
	require.ErrorIs(t, err, context.Canceled)
	var waiting *imagepull.Error
	assert.False(t, errors.As(err, &waiting))
}
