package imagepull_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestBackOffDoublesToFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: fails("no such host")}
		puller := imagepull.New(runtime, imagepull.Config{})
		for i, delay := range []time.Duration{10, 20, 40, 80, 160, 300, 300, 300} {
			failed := wait(t, puller, "a", "nginx:1", imagepull.ReasonPull)
			assert.Equal(t, "no such host", failed.Error())
			assert.Equal(t, delay*time.Second, time.Until(failed.RetryAt()))

			time.Sleep(delay*time.Second - time.Nanosecond)
			waiting := wait(t, puller, "a", "nginx:1", imagepull.ReasonBackOff)
			assert.Equal(t, `Back-off pulling image "nginx:1": ErrImagePull: no such host`, waiting.Error())
			assert.Equal(t, failed.RetryAt(), waiting.RetryAt())
			assert.Len(t, runtime.pulls(), i+1)
			time.Sleep(time.Nanosecond)
		}
	})
}

func TestNoPullWhileBackingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: fails("no")}
		puller := imagepull.New(runtime, imagepull.Config{})
		requireReason(t, puller, "a", "nginx:1", imagepull.ReasonPull)
		for _, policy := range []corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent} {
			_, _, err := puller.Ensure(t.Context(), pod("a"), container("nginx:1", policy), nil)
			assert.ErrorContains(t, err, "Back-off")
		}
		assert.Len(t, runtime.pulls(), 1)

		_, _, err := puller.Ensure(t.Context(), pod("a"), container("nginx:1", corev1.PullNever), nil)
		assert.ErrorContains(t, err, "Never", "what is never pulled does not back off")
	})
}

// Somebody imports it by hand, as one does without a network, or another pod has it
// pulled with its secret.
func TestImageThatHasComeByOtherMeansEndsTheBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: fails("no route to host")}
		puller := imagepull.New(runtime, imagepull.Config{})
		requireReason(t, puller, "a", "nginx:1", imagepull.ReasonPull)
		runtime.present = append(runtime.present, "nginx:1")
		requireReason(t, puller, "a", "nginx:1", imagepull.ReasonBackOff) // what is pulled always

		image, release, err := puller.Ensure(t.Context(), pod("a"), container("nginx:1", corev1.PullIfNotPresent), nil)
		require.NoError(t, err)
		release()
		assert.Equal(t, "sha256:nginx:1", image.GetId())
		requireReason(t, puller, "a", "nginx:1", imagepull.ReasonPull)
		assert.Len(t, runtime.pulls(), 2)
	})
}

func TestBackOffNamesTheImageAsTheUserDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		puller := imagepull.New(&fakeRuntime{pull: fails("RegistryUnavailable: 503")}, imagepull.Config{})
		requireReason(t, puller, "a", "nginx", "RegistryUnavailable")
		waiting := wait(t, puller, "a", "nginx", imagepull.ReasonBackOff)
		assert.Equal(t, `Back-off pulling image "nginx": RegistryUnavailable: image pull failed for nginx because the registry is unavailable: 503`, waiting.Error())
	})
}

func TestBackOffIsOfPodAndImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: fails("no")}
		puller := imagepull.New(runtime, imagepull.Config{})
		requireReason(t, puller, "a", "nginx", imagepull.ReasonPull)
		requireReason(t, puller, "a", "nginx:latest", imagepull.ReasonBackOff) // of another container
		requireReason(t, puller, "a", "redis", imagepull.ReasonPull)
		requireReason(t, puller, "b", "nginx", imagepull.ReasonPull)
		assert.Equal(t, []string{"nginx:latest", "redis:latest", "nginx:latest"}, runtime.pulls())
	})
}

func TestFailureIsForgottenAfterTenMinutes(t *testing.T) {
	for name, row := range map[string]struct {
		pause time.Duration
		want  time.Duration
	}{
		"ten minutes": {10 * time.Minute, 20 * time.Second},
		"more":        {10*time.Minute + time.Second, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				puller := imagepull.New(&fakeRuntime{pull: fails("no")}, imagepull.Config{})
				requireReason(t, puller, "a", "nginx", imagepull.ReasonPull)
				time.Sleep(row.pause)
				failed := wait(t, puller, "a", "nginx", imagepull.ReasonPull)
				assert.Equal(t, row.want, time.Until(failed.RetryAt()))
			})
		})
	}
}

func TestSuccessEndsTheBackOffOfItsImageOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: fails("no")}
		puller := imagepull.New(runtime, imagepull.Config{})
		requireReason(t, puller, "a", "nginx", imagepull.ReasonPull)
		requireReason(t, puller, "b", "nginx", imagepull.ReasonPull)
		time.Sleep(9 * time.Second)
		requireReason(t, puller, "a", "redis", imagepull.ReasonPull)
		time.Sleep(time.Second)

		runtime.pull = nil
		_, _, err := puller.Ensure(t.Context(), pod("a"), container("nginx", corev1.PullAlways), nil)
		require.NoError(t, err)

		runtime.pull = fails("no again")
		failed := wait(t, puller, "a", "nginx", imagepull.ReasonPull)
		assert.Equal(t, 10*time.Second, time.Until(failed.RetryAt()), "starts over")
		requireReason(t, puller, "a", "redis", imagepull.ReasonBackOff)
		failed = wait(t, puller, "b", "nginx", imagepull.ReasonPull)
		assert.Equal(t, 20*time.Second, time.Until(failed.RetryAt()), "goes on")
	})
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		puller := imagepull.New(&fakeRuntime{pull: fails("no")}, imagepull.Config{})
		for _, uid := range []string{"a", "b"} {
			requireReason(t, puller, uid, "nginx", imagepull.ReasonPull)
			requireReason(t, puller, uid, "redis", imagepull.ReasonPull)
		}
		puller.Forget("a")
		puller.Forget("a")
		puller.Forget("nobody")
		requireReason(t, puller, "a", "nginx", imagepull.ReasonPull)
		requireReason(t, puller, "a", "redis", imagepull.ReasonPull)
		requireReason(t, puller, "b", "nginx", imagepull.ReasonBackOff)
		requireReason(t, puller, "b", "redis", imagepull.ReasonBackOff)
	})
}

func TestBackOffCanBeConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		puller := imagepull.New(&fakeRuntime{pull: fails("no")}, imagepull.Config{InitialBackoff: time.Minute, MaxBackoff: 3 * time.Second})
		for range 3 {
			failed := wait(t, puller, "a", "nginx", imagepull.ReasonPull)
			assert.Equal(t, 3*time.Second, time.Until(failed.RetryAt()), "the first is bounded too")
			time.Sleep(3 * time.Second)
		}
	})
}
