package imagepull_test

import (
	"context"
	"errors"
	"testing"

	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const digest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestPullPolicies(t *testing.T) {
	for name, row := range map[string]struct {
		policy  corev1.PullPolicy
		present bool
		pulls   int
		reason  string
	}{
		"always, present":         {corev1.PullAlways, true, 1, ""},
		"always, absent":          {corev1.PullAlways, false, 1, ""},
		"if not present, present": {corev1.PullIfNotPresent, true, 0, ""},
		"if not present, absent":  {corev1.PullIfNotPresent, false, 1, ""},
		"never, present":          {corev1.PullNever, true, 0, ""},
		"never, absent":           {corev1.PullNever, false, 0, imagepull.ReasonNeverPull},
		"no policy":               {"", true, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			runtime := &fakeRuntime{}
			if row.present {
				runtime.present = []string{"nginx:1"}
			}
			image, _, err := imagepull.New(runtime, imagepull.Config{}).Ensure(t.Context(), pod("a"), container("nginx:1", row.policy), nil)
			assert.Len(t, runtime.pulls(), row.pulls)
			if row.reason != "" {
				var waiting *imagepull.Error
				require.ErrorAs(t, err, &waiting)
				assert.Equal(t, row.reason, waiting.WaitingReason())
				assert.Equal(t, `Container image "nginx:1" is not present with pull policy of Never`, waiting.Error())
				assert.Zero(t, waiting.RetryAt())
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "sha256:nginx:1", image.GetId())
			assert.Equal(t, "www", image.GetUsername())
			assert.Equal(t, uint64(7), image.GetSize())
		})
	}
}

func TestImageNames(t *testing.T) {
	for image, want := range map[string]string{
		"nginx":                          "nginx:latest",
		"nginx:1.27":                     "nginx:1.27",
		"registry.local:5000/team/app":   "registry.local:5000/team/app:latest",
		"registry.local:5000/team/app:2": "registry.local:5000/team/app:2",
		"nginx" + digest:                 "nginx" + digest,
		"nginx:1.27" + digest:            "nginx:1.27" + digest,
	} {
		t.Run(image, func(t *testing.T) {
			runtime := &fakeRuntime{}
			_, _, err := imagepull.New(runtime, imagepull.Config{}).Ensure(t.Context(), pod("a"), container(image, corev1.PullIfNotPresent), nil)
			require.NoError(t, err)
			assert.Equal(t, []string{want}, runtime.pulls())
			assert.Equal(t, want, runtime.asked[0], "looked up by the same name")
		})
	}
}

func TestInvalidImageNamesAreNotPulled(t *testing.T) {
	for _, image := range []string{"http://nginx", "Nginx", " nginx", "nginx:", "nginx@sha256:abc", "nginx:a b", ""} {
		t.Run(image, func(t *testing.T) {
			runtime := &fakeRuntime{}
			puller := imagepull.New(runtime, imagepull.Config{})
			for range 2 { // and it stays so
				waiting := wait(t, puller, "a", image, imagepull.ReasonInvalidName)
				assert.Contains(t, waiting.Error(), "Failed to apply default image tag")
				assert.Contains(t, waiting.Error(), "couldn't parse image name")
				assert.Zero(t, waiting.RetryAt())
			}
			assert.Zero(t, runtime.calls())
		})
	}
}

func TestInspectError(t *testing.T) {
	cause := status.Error(codes.Unavailable, "runtime is down")
	runtime := &fakeRuntime{statusErr: cause}
	_, _, err := imagepull.New(runtime, imagepull.Config{}).Ensure(t.Context(), pod("a"), container("nginx:1", corev1.PullIfNotPresent), nil)
	var waiting *imagepull.Error
	require.ErrorAs(t, err, &waiting)
	assert.Equal(t, imagepull.ReasonInspect, waiting.WaitingReason())
	assert.Equal(t, `Failed to inspect image "nginx:1": runtime is down`, waiting.Error())
	assert.ErrorIs(t, err, cause)
	assert.Empty(t, runtime.pulls())
}

func TestPulledImageThatIsNotThere(t *testing.T) {
	waiting := wait(t, imagepull.New(&fakeRuntime{loses: true}, imagepull.Config{}), "a", "nginx:1", imagepull.ReasonInspect)
	assert.Contains(t, waiting.Error(), `"nginx:1"`)
}

func TestPullErrorsHaveTheRuntimesWords(t *testing.T) {
	for name, row := range map[string]struct {
		err     error
		reason  string
		message string
	}{
		"bare":        {errors.New("no such host"), imagepull.ReasonPull, "no such host"},
		"with a code": {status.Error(codes.NotFound, "nginx:1: not found"), imagepull.ReasonPull, "nginx:1: not found"},
		"registry": {
			errors.New("RegistryUnavailable: 503"), "RegistryUnavailable", "image pull failed for nginx:1 because the registry is unavailable: 503",
		},
		"signature": {
			status.Error(codes.Unknown, "SignatureValidationFailed: no key"), "SignatureValidationFailed", "image pull failed for nginx:1 because the signature validation failed: no key",
		},
	} {
		t.Run(name, func(t *testing.T) {
			runtime := &fakeRuntime{pull: func(context.Context, string) error { return row.err }}
			waiting := wait(t, imagepull.New(runtime, imagepull.Config{}), "a", "nginx:1", row.reason)
			assert.Equal(t, row.message, waiting.Error())
			assert.ErrorIs(t, waiting, row.err)
		})
	}
}

func TestPullIsForThePodsSandbox(t *testing.T) {
	runtime := &fakeRuntime{}
	sandbox := &runtimeapi.PodSandboxConfig{Hostname: "web"}
	annotated := pod("a")
	annotated.Annotations = map[string]string{"snapshotter": "lazy"}
	_, _, err := imagepull.New(runtime, imagepull.Config{}).Ensure(t.Context(), annotated, container("nginx", corev1.PullAlways), sandbox)
	require.NoError(t, err)
	assert.Same(t, sandbox, runtime.sandbox)
	assert.Equal(t, map[string]string{"snapshotter": "lazy"}, runtime.spec.GetAnnotations())
}
