package imagepull_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func ended(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestImageIsLeasedFromTheDecisionToTheRelease(t *testing.T) {
	for _, policy := range []corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever} {
		t.Run(string(policy), func(t *testing.T) {
			var puller *imagepull.Puller
			runtime := &fakeRuntime{present: []string{"nginx:latest"}}
			runtime.onStatus = func() { assert.True(t, puller.Leased("docker.io/library/nginx:latest"), "while it is looked for") }
			puller = imagepull.New(runtime, imagepull.Config{})
			_, release, err := puller.Ensure(t.Context(), pod("a"), container("nginx", policy), nil)
			require.NoError(t, err)
			for _, name := range []string{"sha256:nginx:latest", "nginx", "nginx:latest", "docker.io/library/nginx:latest"} {
				assert.True(t, puller.Leased(name), name)
			}
			assert.False(t, puller.Leased("nginx:1"))
			assert.False(t, puller.Leased("sha256:other"))
			release()
			assert.False(t, puller.Leased("nginx"))
			assert.False(t, puller.Leased("sha256:nginx:latest"))
		})
	}
}

func TestDigestIsLeasedAsTheRuntimeListsIt(t *testing.T) {
	puller := imagepull.New(&fakeRuntime{}, imagepull.Config{})
	_, release, err := puller.Ensure(t.Context(), pod("a"), container("nginx:1"+digest, corev1.PullAlways), nil)
	require.NoError(t, err)
	assert.True(t, puller.Leased("docker.io/library/nginx"+digest))
	release()
	assert.False(t, puller.Leased("docker.io/library/nginx"+digest))
}

func TestImageUnderPullIsLeased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		puller := imagepull.New(&fakeRuntime{pull: takes(time.Minute)}, imagepull.Config{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		result := ensure(ctx, puller, "a", "nginx")
		assert.True(t, puller.Leased("nginx:latest"))
		require.Error(t, <-result)
		assert.False(t, puller.Leased("nginx:latest"), "who gave up holds nothing")
	})
}

func TestFailedPullHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		puller := imagepull.New(&fakeRuntime{pull: fails("no")}, imagepull.Config{})
		for _, reason := range []string{imagepull.ReasonPull, imagepull.ReasonBackOff} {
			requireReason(t, puller, "a", "nginx", reason)
			assert.False(t, puller.Leased("nginx"))
		}
	})
}

func TestEachLeaseEndsOnce(t *testing.T) {
	puller := imagepull.New(&fakeRuntime{}, imagepull.Config{})
	var releases []func()
	for i := range 2 {
		_, release, err := puller.Ensure(t.Context(), pod(fmt.Sprint(i)), container("nginx", corev1.PullIfNotPresent), nil)
		require.NoError(t, err)
		releases = append(releases, release)
	}
	releases[0]()
	releases[0]()
	assert.True(t, puller.Leased("nginx"), "by the other")
	releases[1]()
	assert.False(t, puller.Leased("nginx"))
	releases[1]()
	assert.False(t, puller.Leased("nginx"))
}

func TestALeasedImageIsNotRemoved(t *testing.T) {
	puller := imagepull.New(&fakeRuntime{present: []string{"nginx:latest"}}, imagepull.Config{})
	_, release, err := puller.Ensure(t.Context(), pod("a"), container("nginx", corev1.PullNever), nil)
	require.NoError(t, err)
	never := func() error { t.Error("removed"); return nil }
	for _, names := range [][]string{{"sha256:nginx:latest"}, {"sha256:other", "docker.io/library/nginx:latest"}} {
		removed, err := puller.RemoveUnleased(names, never)
		require.NoError(t, err)
		assert.False(t, removed, names)
	}
	release()
	busy := errors.New("busy")
	removed, err := puller.RemoveUnleased([]string{"sha256:nginx:latest"}, func() error {
		again, err := puller.RemoveUnleased([]string{"sha256:nginx:latest"}, never)
		assert.False(t, again, "another removal is under way")
		return errors.Join(busy, err)
	})
	require.ErrorIs(t, err, busy)
	assert.True(t, removed)
}

// A removal by all names of the image, or by the ID alone, takes a while; a start
// that begins meanwhile finds the image still there, and then it is gone.
func TestAStartLooksForTheImageWhenItsRemovalHasEnded(t *testing.T) {
	for _, names := range [][]string{{"sha256:nginx:latest", "docker.io/library/nginx:latest"}, {"sha256:nginx:latest"}} {
		for _, policy := range []corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever} {
			t.Run(fmt.Sprint(policy, len(names)), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					runtime := &fakeRuntime{present: []string{"nginx:latest"}}
					puller := imagepull.New(runtime, imagepull.Config{})
					go func() {
						removed, err := puller.RemoveUnleased(names, func() error {
							time.Sleep(time.Second)
							runtime.mu.Lock()
							defer runtime.mu.Unlock()
							runtime.present = nil
							return nil
						})
						assert.True(t, removed)
						assert.NoError(t, err)
					}()
					synctest.Wait()
					_, _, err := puller.Ensure(t.Context(), pod("a"), container("nginx", policy), nil)
					var waiting *imagepull.Error
					switch {
					case policy == corev1.PullNever:
						require.ErrorAs(t, err, &waiting)
						assert.Equal(t, imagepull.ReasonNeverPull, waiting.WaitingReason())
					case policy == corev1.PullAlways && len(names) == 1:
						require.ErrorAs(t, err, &waiting) // pulled under a name that the removal did not know
						assert.Equal(t, imagepull.ReasonInspect, waiting.WaitingReason())
					default:
						require.NoError(t, err)
						assert.Equal(t, []string{"nginx:latest"}, runtime.pulled, "it was gone and is there again")
					}
				})
			})
		}
	}
}

func TestAStartThatIsGivenUpDoesNotWaitForARemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		puller := imagepull.New(&fakeRuntime{present: []string{"nginx:latest"}}, imagepull.Config{})
		go func() {
			_, _ = puller.RemoveUnleased([]string{"sha256:nginx:latest"}, func() error { time.Sleep(time.Hour); return nil })
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, _, err := puller.Ensure(ctx, pod("a"), container("nginx", corev1.PullIfNotPresent), nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(began))
		assert.False(t, puller.Leased("nginx"))
		time.Sleep(time.Hour)
	})
}
