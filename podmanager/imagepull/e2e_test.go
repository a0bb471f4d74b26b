//go:build linux && e2e

package imagepull_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestPullsOnContainerd(t *testing.T) {
	open, private := startRegistry(t, false), startRegistry(t, true)
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) {
			daemon := containerd.Start(t, version)
			client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close(context.Background()) })
			for name, test := range map[string]func(*testing.T, *site){
				"anonymous":                        pullsAnonymously,
				"right secret":                     pullsWithTheRightSecret,
				"wrong secret, corrected":          pullsWhenTheSecretIsCorrected,
				"missing secret":                   tellsOfAMissingSecret,
				"missing secret that nobody needs": pullsWithoutASecretThatNobodyNeeds,
				"secret for another path":          leavesTheSecretOfAnotherPath,
				"several secrets":                  triesOneSecretAfterTheOther,
				"node's credentials":               pullsWithTheNodesCredentials,
				"present, of another's secret":     provesWhatIsPresent,
				"plugin":                           pullsWithAPlugin,
				"plugin, wrong":                    pullsWhenThePluginIsCorrected,
				"plugins, failing and wrong":       triesOnePluginAfterTheOther,
			} {
				t.Run(name, func(t *testing.T) {
					test(t, &site{open: open, private: private, runtime: &seen{Runtime: client}, client: client, secrets: secrets{}, events: &recorder{}})
				})
			}
		})
	}
}

// site is where a test pulls: registries, a runtime, secrets and events.
type site struct {
	open, private *registry
	runtime       *seen
	client        *cri.Client
	secrets       secrets
	events        *recorder
}

// seen notes which users were tried.
type seen struct {
	imagepull.Runtime
	users []string
}

func (s *seen) PullImage(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	s.users = append(s.users, auth.GetUsername())
	return s.Runtime.PullImage(ctx, image, auth, sandbox)
}

func (s *site) puller(cfg imagepull.Config) *imagepull.Puller {
	cfg.Secrets, cfg.Recorder = s.secrets, s.events
	return imagepull.New(s.runtime, cfg)
}

// ensure pulls the image, of which the runtime has nothing before.
func (s *site) ensure(t *testing.T, puller *imagepull.Puller, image string, names ...string) error {
	t.Helper()
	require.NoError(t, s.client.RemoveImage(t.Context(), &runtimeapi.ImageSpec{Image: image}))
	pod := podWith("a", names...)
	sandbox := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID)}}
	got, release, err := puller.Ensure(t.Context(), pod, container(image, corev1.PullIfNotPresent), sandbox)
	if err != nil {
		return err
	}
	assert.True(t, puller.Leased(got.GetId()))
	for _, tag := range got.GetRepoTags() {
		assert.True(t, puller.Leased(tag), tag)
	}
	assert.Contains(t, got.GetRepoTags(), image)
	release()
	assert.False(t, puller.Leased(got.GetId()))
	return nil
}

// login is a pull secret for the place in a registry.
func login(place, name, word string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{
		corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"username":%q,"password":%q}}}`, place, name, word),
	}}
}

// requireDenied requires that the pull failed, with the runtime's words.
func (s *site) requireDenied(t *testing.T, err error, image string) {
	t.Helper()
	var waiting *imagepull.Error
	require.ErrorAs(t, err, &waiting)
	require.Equal(t, imagepull.ReasonPull, waiting.WaitingReason())
	require.Regexp(t, "failed to pull and unpack image.*"+image+".*(401 Unauthorized|no basic auth credentials|authorization failed)", waiting.Error())
	require.NotContains(t, waiting.Error(), "rpc error")
}

func pullsAnonymously(t *testing.T, s *site) {
	image := s.open.publish(t, "public/app")
	require.NoError(t, s.ensure(t, s.puller(imagepull.Config{}), image))
	assert.Equal(t, []string{""}, s.runtime.users)
	assert.Regexp(t, `Normal Pulled: Successfully pulled image "`+image+`" in .*s \(.*s including waiting\)\. Image size: [1-9]\d* bytes\.$`, s.events.text())
}

func pullsWithTheRightSecret(t *testing.T, s *site) {
	image := s.private.publish(t, "right/app")
	s.secrets["s"] = login(s.private.address+"/right", user, password)
	require.NoError(t, s.ensure(t, s.puller(imagepull.Config{}), image, "s"))
	assert.Equal(t, []string{user}, s.runtime.users)
}

func pullsWhenTheSecretIsCorrected(t *testing.T, s *site) {
	image := s.private.publish(t, "wrong/app")
	s.secrets["s"] = login(s.private.address, user, "hunter2")
	puller := s.puller(imagepull.Config{InitialBackoff: time.Second})
	err := s.ensure(t, puller, image, "s")
	s.requireDenied(t, err, image)
	events := s.events.text()
	assert.Contains(t, events, `Warning Failed: Failed to pull image "`+image+`": `)
	assert.NotContains(t, events+err.Error(), "hunter2")
	assert.NotContains(t, events, "FailedToRetrieveImagePullSecret")

	s.secrets["s"] = login(s.private.address, user, password)
	err = s.ensure(t, puller, image, "s")
	var waiting *imagepull.Error
	require.ErrorAs(t, err, &waiting)
	require.Equal(t, imagepull.ReasonBackOff, waiting.WaitingReason())
	require.Contains(t, waiting.Error(), `Back-off pulling image "`+image+`": ErrImagePull: failed to pull`)
	assert.Contains(t, s.events.text(), "Normal BackOff: ")
	assert.Len(t, s.runtime.users, 1)

	time.Sleep(time.Until(waiting.RetryAt()))
	require.NoError(t, s.ensure(t, puller, image, "s"))
}

func tellsOfAMissingSecret(t *testing.T, s *site) {
	image := s.private.publish(t, "missing/app")
	s.requireDenied(t, s.ensure(t, s.puller(imagepull.Config{}), image, "s"), image)
	assert.Equal(t, []string{""}, s.runtime.users)
	assert.Contains(t, s.events.text(), "Warning FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (s); attempting to pull the image may not succeed.")
}

func pullsWithoutASecretThatNobodyNeeds(t *testing.T, s *site) {
	image := s.open.publish(t, "public/other")
	require.NoError(t, s.ensure(t, s.puller(imagepull.Config{}), image, "s"))
	assert.NotContains(t, s.events.text(), "FailedToRetrieveImagePullSecret")
}

func leavesTheSecretOfAnotherPath(t *testing.T, s *site) {
	image := s.private.publish(t, "path/app")
	s.secrets["path"] = login(s.private.address+"/another", user, password)
	s.secrets["port"] = login("127.0.0.1:1", user, password)
	s.secrets["host"] = login("*.0.0.2:"+s.private.address[len("127.0.0.1:"):], user, password)
	s.requireDenied(t, s.ensure(t, s.puller(imagepull.Config{}), image, "path", "port", "host"), image)
	assert.Equal(t, []string{""}, s.runtime.users, "anonymously, as no secret is for it")
}

func triesOneSecretAfterTheOther(t *testing.T, s *site) {
	image := s.private.publish(t, "several/app")
	s.secrets["wide"] = login("*.0.0.*:"+s.private.address[len("127.0.0.1:"):], user, password)
	s.secrets["narrow"] = login(s.private.address+"/several", "stranger", "hunter2")
	require.NoError(t, s.ensure(t, s.puller(imagepull.Config{}), image, "wide", "narrow"))
	assert.Equal(t, []string{"stranger", user}, s.runtime.users)
}

func pullsWithTheNodesCredentials(t *testing.T, s *site) {
	image := s.private.publish(t, "node/app")
	s.secrets["s"] = login(s.private.address, "stranger", "hunter2")
	node := login(s.private.address, user, password).Data[corev1.DockerConfigJsonKey]
	puller := s.puller(imagepull.Config{DockerConfig: dockerConfig(t, string(node))})
	require.NoError(t, s.ensure(t, puller, image, "s"))
	assert.Equal(t, []string{"stranger", user}, s.runtime.users)
}

func pullsWithAPlugin(t *testing.T, s *site) {
	image := s.private.publish(t, "plugin/app")
	scripts := newPlugins(t)
	scripts.add(t, "right", s.private.address, answersWith(s.private.address, user, password))
	puller := s.puller(imagepull.Config{CredentialProviders: scripts.read(t)})
	require.NoError(t, s.ensure(t, puller, image))
	require.NoError(t, s.ensure(t, puller, s.private.publish(t, "plugin/other")))
	assert.Equal(t, []string{user, user}, s.runtime.users)
	assert.Equal(t, 1, scripts.calls("right"), "the response is good for the registry")
}

func pullsWhenThePluginIsCorrected(t *testing.T, s *site) {
	image := s.private.publish(t, "plugin/wrong")
	scripts := newPlugins(t)
	scripts.add(t, "wrong", s.private.address, answers(s.private.address, user))
	err := s.ensure(t, s.puller(imagepull.Config{CredentialProviders: scripts.read(t)}), image)
	s.requireDenied(t, err, image)
	assert.NotContains(t, s.events.text()+err.Error(), "hunter2")

	scripts = newPlugins(t)
	scripts.add(t, "wrong", s.private.address, answersWith(s.private.address, user, password))
	require.NoError(t, s.ensure(t, s.puller(imagepull.Config{CredentialProviders: scripts.read(t)}), image))
}

func triesOnePluginAfterTheOther(t *testing.T, s *site) {
	image := s.private.publish(t, "plugin/several")
	scripts := newPlugins(t)
	scripts.add(t, "fails", s.private.address, "exit 1")
	scripts.add(t, "wrong", s.private.address, answers(s.private.address, "stranger"))
	scripts.add(t, "right", s.private.address, answersWith(s.private.address, user, password))
	s.secrets["s"] = login(s.private.address, "outsider", "hunter2")
	require.NoError(t, s.ensure(t, s.puller(imagepull.Config{CredentialProviders: scripts.read(t)}), image, "s"))
	assert.Equal(t, []string{"outsider", "stranger", user}, s.runtime.users)
}

func provesWhatIsPresent(t *testing.T, s *site) {
	image, preloaded := s.private.publish(t, "guarded/app"), s.private.publish(t, "preloaded/app")
	s.secrets["s"] = login(s.private.address, user, password)
	cfg := imagepull.Config{Records: t.TempDir()}
	require.NoError(t, s.ensure(t, s.puller(cfg), image, "s"))
	_, err := s.client.PullImage(t.Context(), &runtimeapi.ImageSpec{Image: preloaded}, &runtimeapi.AuthConfig{Username: user, Password: password}, nil)
	require.NoError(t, err)

	puller := s.puller(cfg) // of the next agent
	get := func(image string, policy corev1.PullPolicy, names ...string) error {
		_, release, err := puller.Ensure(t.Context(), podWith("b", names...), container(image, policy), nil)
		if err == nil {
			release()
		}
		return err
	}
	require.NoError(t, get(image, corev1.PullNever, "s"))
	require.NoError(t, get(preloaded, corev1.PullIfNotPresent))
	assert.Equal(t, []string{user}, s.runtime.users, "nobody was asked")
	var waiting *imagepull.Error
	require.ErrorAs(t, get(image, corev1.PullNever), &waiting)
	assert.Equal(t, imagepull.ReasonNeverPull, waiting.WaitingReason())
	s.requireDenied(t, get(image, corev1.PullIfNotPresent), image)
	assert.Equal(t, []string{user, ""}, s.runtime.users)
}
