package imagepull_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// secrets are the secrets of the namespace shop, by name.
type secrets map[string]*corev1.Secret

func (s secrets) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	secret := s[name]
	if secret == nil || namespace != "shop" {
		return nil, fmt.Errorf("secret %s/%s not found", namespace, name)
	}
	return secret, nil
}

// config is a docker config with a user, whose password is "hunter2", for each
// pair of registry and name.
func config(pairs ...string) string {
	entries := ""
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			entries += ","
		}
		entries += fmt.Sprintf(`%q:{"username":%q,"password":"hunter2"}`, pairs[i], pairs[i+1])
	}
	return `{"auths":{` + entries + `}}`
}

func secret(content string) *corev1.Secret {
	return &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(content)}}
}

// podWith is a pod with pull secrets.
func podWith(uid string, names ...string) *corev1.Pod {
	p := pod(uid)
	for _, name := range names {
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return p
}

// denies says so with the user's name.
func denies(auth *runtimeapi.AuthConfig) error {
	return status.Error(codes.Unknown, "denied: "+auth.GetUsername())
}

const private = "registry.example/team/app:1"

// pull pulls the private image for the pod.
func pull(t *testing.T, puller *imagepull.Puller, pod *corev1.Pod) error {
	t.Helper()
	_, release, err := puller.Ensure(t.Context(), pod, container(private, corev1.PullAlways), nil)
	if err == nil {
		release()
	}
	return err
}

func dockerConfig(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestCredentialsAreTriedInOrderUntilOneSucceeds(t *testing.T) {
	runtime := &fakeRuntime{}
	puller := imagepull.New(runtime, imagepull.Config{
		Secrets: secrets{
			"wide":   secret(config("registry.example", "wide", "other.example", "other")),
			"narrow": secret(config("registry.example/team", "narrow")),
			"rotated": {Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{
				corev1.DockerConfigKey: []byte(`{"registry.example":{"username":"rotated"},"registry.example/other":{"username":"no"}}`)}},
		},
		DockerConfig: dockerConfig(t, config("registry.example/team/app", "node", "*.example", "node2")),
	})
	all := []string{"narrow", "wide", "rotated", "node", "node2"}
	for i, admitted := range all {
		runtime.auths = nil
		runtime.admits = func(auth *runtimeapi.AuthConfig) error {
			if auth.GetUsername() == admitted {
				return nil
			}
			return errors.New("denied")
		}
		require.NoError(t, pull(t, puller, podWith("a", "wide", "narrow", "", "rotated")))
		assert.Equal(t, all[:i+1], runtime.users())
	}
	assert.Equal(t, "hunter2", runtime.auths[0].GetPassword())
}

func TestSameCredentialsAreTriedOnce(t *testing.T) {
	runtime := &fakeRuntime{admits: denies}
	same := config("registry.example", "me")
	puller := imagepull.New(runtime, imagepull.Config{Secrets: secrets{"a": secret(same), "b": secret(same)}, DockerConfig: dockerConfig(t, same)})
	require.Error(t, pull(t, puller, podWith("a", "a", "b", "a")))
	assert.Equal(t, []string{"me"}, runtime.users())
}

func TestWithoutCredentialsThereIsOneAnonymousTry(t *testing.T) {
	for name, cfg := range map[string]imagepull.Config{
		"none":              {},
		"of others":         {Secrets: secrets{"s": secret(config("other.example", "me"))}, DockerConfig: dockerConfig(t, config("registry.example/other", "node"))},
		"no docker config":  {DockerConfig: filepath.Join(t.TempDir(), "none.json")},
		"unreadable":        {DockerConfig: t.TempDir()},
		"no config at all":  {DockerConfig: dockerConfig(t, "hunter2")},
		"malformed entries": {DockerConfig: dockerConfig(t, `{"auths":{"registry.example":{"auth":"hunter2"}}}`)},
	} {
		t.Run(name, func(t *testing.T) {
			runtime := &fakeRuntime{admits: denies}
			err := pull(t, imagepull.New(runtime, cfg), podWith("a", "s"))
			require.EqualError(t, err, "denied: ")
			assert.Equal(t, []*runtimeapi.AuthConfig{nil}, runtime.auths)
		})
	}
}

func TestErrorsOfAllTriesAreTold(t *testing.T) {
	first, second := status.Error(codes.NotFound, "no such image"), errors.New("no such user")
	for name, row := range map[string]struct {
		errs []error
		want string
	}{
		"different": {[]error{first, second}, "[no such image, no such user]"},
		"same":      {[]error{second, errors.New("no such user")}, "no such user"},
	} {
		t.Run(name, func(t *testing.T) {
			errs := row.errs
			runtime := &fakeRuntime{admits: func(*runtimeapi.AuthConfig) error {
				err := errs[0]
				errs = errs[1:]
				return err
			}}
			puller := imagepull.New(runtime, imagepull.Config{Secrets: secrets{"s": secret(config("registry.example", "a", "*.example", "b"))}})
			err := pull(t, puller, podWith("a", "s"))
			require.EqualError(t, err, row.want)
			assert.ErrorIs(t, err, row.errs[0])
			assert.ErrorIs(t, err, row.errs[1])
		})
	}
}

func TestNodesDockerConfigIsReadAtEachPull(t *testing.T) {
	path := dockerConfig(t, config("registry.example", "old"))
	runtime := &fakeRuntime{}
	puller := imagepull.New(runtime, imagepull.Config{DockerConfig: path})
	require.NoError(t, pull(t, puller, pod("a")))
	require.NoError(t, os.WriteFile(path, []byte(config("registry.example", "new")), 0o600))
	require.NoError(t, pull(t, puller, pod("a")))
	assert.Equal(t, []string{"old", "new"}, runtime.users())
}

func TestSecretsThatAreNotToBeHadAreNotFatal(t *testing.T) {
	for name, row := range map[string]struct {
		missing *corev1.Secret
	}{
		"missing":    {nil},
		"other type": {&corev1.Secret{Type: corev1.SecretTypeOpaque}},
		"malformed":  {secret("hunter2")},
	} {
		t.Run(name, func(t *testing.T) {
			runtime, events := &fakeRuntime{}, &recorder{}
			puller := imagepull.New(runtime, imagepull.Config{
				Secrets: secrets{"s": row.missing, "good": secret(config("registry.example", "me"))}, Recorder: events,
			})
			require.NoError(t, pull(t, puller, podWith("a", "s", "good")))
			assert.Equal(t, []string{"me"}, runtime.users())
			assert.NotContains(t, events.text(), "FailedToRetrieveImagePullSecret")

			runtime.admits = denies
			require.Error(t, pull(t, puller, podWith("a", "s", "", "good", "t")))
			assert.Contains(t, events.text(), "a: Warning FailedToRetrieveImagePullSecret: "+
				"Unable to retrieve some image pull secrets (s, t); attempting to pull the image may not succeed.")
		})
	}
}

func TestNoSourceOfSecretsIsAsAMissingSecret(t *testing.T) {
	events := &recorder{}
	puller := imagepull.New(&fakeRuntime{admits: denies}, imagepull.Config{Recorder: events})
	require.Error(t, pull(t, puller, podWith("a", "s")))
	assert.Contains(t, events.text(), "some image pull secrets (s)")
}

func TestSecretsAreReadForAPullOnly(t *testing.T) {
	asked := 0
	puller := imagepull.New(&fakeRuntime{present: []string{private}}, imagepull.Config{Secrets: counted{&asked}})
	for _, policy := range []corev1.PullPolicy{corev1.PullIfNotPresent, corev1.PullNever} {
		_, _, err := puller.Ensure(t.Context(), podWith("a", "s"), container(private, policy), nil)
		require.NoError(t, err)
	}
	assert.Zero(t, asked)
	require.NoError(t, pull(t, puller, podWith("a", "s")))
	assert.Equal(t, 1, asked)
}

type counted struct{ asked *int }

func (c counted) Secret(context.Context, string, string) (*corev1.Secret, error) {
	*c.asked++
	return nil, errors.New("none")
}

func TestPullsAreSharedByThoseWithTheSameCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: takes(time.Minute), admits: func(auth *runtimeapi.AuthConfig) error {
			if auth == nil {
				return errors.New("denied")
			}
			return nil
		}}
		mine := secret(config("registry.example", "me"))
		puller := imagepull.New(runtime, imagepull.Config{Secrets: secrets{"mine": mine, "same": mine.DeepCopy()}})
		begin := time.Now()
		results := map[string]chan error{}
		for uid, names := range map[string][]string{"a": {"mine"}, "b": {"same", "missing"}, "stranger": nil} {
			results[uid] = make(chan error, 1)
			go func() { results[uid] <- pull(t, puller, podWith(uid, names...)) }()
			synctest.Wait()
		}
		require.NoError(t, <-results["a"])
		require.NoError(t, <-results["b"])
		require.EqualError(t, <-results["stranger"], "denied")
		assert.Equal(t, time.Minute, time.Since(begin))
		assert.ElementsMatch(t, []string{"me", ""}, runtime.users())
	})
}

func TestWhoGivesUpTriesNoMoreCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := &fakeRuntime{pull: takes(time.Minute)}
		puller := imagepull.New(runtime, imagepull.Config{DockerConfig: dockerConfig(t, config("registry.example", "a", "*.example", "b"))})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, <-ensure(ctx, puller, "a", private), context.DeadlineExceeded)
		assert.Equal(t, []string{"a"}, runtime.users())
	})
}

func TestCorrectedSecretIsUsedAfterTheBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := secrets{"s": secret(config("registry.example", "wrong"))}
		runtime := &fakeRuntime{admits: func(auth *runtimeapi.AuthConfig) error {
			if auth.GetUsername() == "right" {
				return nil
			}
			return denies(auth)
		}}
		puller := imagepull.New(runtime, imagepull.Config{Secrets: known})
		require.EqualError(t, pull(t, puller, podWith("a", "s")), "denied: wrong")
		known["s"] = secret(config("registry.example", "right"))
		require.EqualError(t, pull(t, puller, podWith("a", "s")), `Back-off pulling image "`+private+`": ErrImagePull: denied: wrong`)
		time.Sleep(10 * time.Second)
		require.NoError(t, pull(t, puller, podWith("a", "s")))
	})
}

func TestNoSecretIsToldToAnybody(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	events := &recorder{}
	for name, content := range map[string]string{
		"good":      config("registry.example", "me"),
		"no JSON":   "hunter2",
		"string":    `"hunter2"`,
		"number":    `{"auths":{"registry.example":{"username":"me","password":42424242}}}`,
		"auth":      `{"auths":{"registry.example":{"auth":"hunter2"}}}`,
		"registry":  `{"auths":{"https://me:hunter2@":{"auth":"hunter2"},"":{"auth":"hunter2"}}}`,
		"bad auths": `{"auths":"hunter2"}`,
	} {
		puller := imagepull.New(&fakeRuntime{admits: denies}, imagepull.Config{
			Secrets: secrets{"s": secret(content)}, DockerConfig: dockerConfig(t, content), Recorder: events, Logger: zap.New(core),
		})
		err := pull(t, puller, podWith("a", "s"))
		require.Error(t, err, name)
		assert.NotRegexp(t, "hunter2|42424242", fmt.Sprintf("%v %+v", err, err), name)
	}
	assert.NotEmpty(t, logs.All())
	for _, entry := range logs.All() {
		assert.NotRegexp(t, "hunter2|42424242", fmt.Sprint(entry.Message, entry.ContextMap()))
	}
	assert.NotRegexp(t, "hunter2|42424242", events.text())
}
