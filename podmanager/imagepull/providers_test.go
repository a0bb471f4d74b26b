package imagepull_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// plugins is a folder of shell scripts, and the configuration that names them.
type plugins struct {
	folder    string
	providers []string
}

func newPlugins(t *testing.T) *plugins {
	t.Helper()
	return &plugins{folder: t.TempDir()}
}

// add has a plugin for the images; its script runs in the folder.
func (p *plugins) add(t *testing.T, name, images, script string) {
	t.Helper()
	content := "#!/bin/sh\ncd " + p.folder + "\necho >>calls-" + name + "\n" + script + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(p.folder, name), []byte(content), 0o700))
	p.providers = append(p.providers, fmt.Sprintf(`{name: %s, matchImages: [%q], defaultCacheDuration: 10m, `+
		`apiVersion: credentialprovider.kubelet.k8s.io/v1, args: [get, "a b"], env: [{name: SECRET, value: hunter2}]}`, name, images))
}

func (p *plugins) read(t *testing.T) *imagepull.CredentialProviders {
	t.Helper()
	file := filepath.Join(p.folder, "config.yaml")
	content := "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders: [" + strings.Join(p.providers, ", ") + "]\n"
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	read, err := imagepull.ReadCredentialProviders(file, p.folder)
	require.NoError(t, err)
	return read
}

// calls is how often the plugin was called.
func (p *plugins) calls(name string) int {
	content, _ := os.ReadFile(filepath.Join(p.folder, "calls-"+name))
	return strings.Count(string(content), "\n")
}

// answers is a script that knows one user, with the password "hunter2".
func answers(registry, name string) string {
	return answersWith(registry, name, "hunter2")
}

func answersWith(registry, name, word string) string {
	return fmt.Sprintf(`echo '{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse","cacheKeyType":"Registry",`+
		`"auth":{%q:{"username":%q,"password":%q}}}'`, registry, name, word)
}

func TestPluginsComeAfterSecretsAndTheNodesDockerConfig(t *testing.T) {
	scripts := newPlugins(t)
	scripts.add(t, "wide", "*.example", answers("*.example", "wide"))
	scripts.add(t, "narrow", "registry.example/team", answers("registry.example/team/app", "narrow"))
	scripts.add(t, "again", "registry.example", answers("*.example", "again"))
	scripts.add(t, "other", "registry.example:5000", answers("*.example", "other"))
	runtime := &fakeRuntime{admits: denies}
	puller := imagepull.New(runtime, imagepull.Config{
		Secrets:             secrets{"s": secret(config("*.example", "pod"))},
		DockerConfig:        dockerConfig(t, config("*.example", "node")),
		CredentialProviders: scripts.read(t),
	})
	require.Error(t, pull(t, puller, podWith("a", "s")))
	assert.Equal(t, []string{"pod", "node", "narrow", "wide", "again"}, runtime.users())
	assert.Zero(t, scripts.calls("other"))
}

func TestPluginSeesRequestArgumentsAndEnvironment(t *testing.T) {
	scripts := newPlugins(t)
	scripts.add(t, "plugin", "registry.example", `cat >stdin; echo "$#,$1,$2,$SECRET,$FROM_AGENT" >seen; `+answers("registry.example", "me"))
	t.Setenv("FROM_AGENT", "inherited")
	require.NoError(t, pull(t, imagepull.New(&fakeRuntime{}, imagepull.Config{CredentialProviders: scripts.read(t)}), pod("a")))
	request, err := os.ReadFile(filepath.Join(scripts.folder, "stdin"))
	require.NoError(t, err)
	assert.JSONEq(t, `{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"registry.example/team/app"}`, string(request))
	seen, err := os.ReadFile(filepath.Join(scripts.folder, "seen"))
	require.NoError(t, err)
	assert.Equal(t, "2,get,a b,hunter2,inherited\n", string(seen))
}

func TestFailingPluginDoesNotHinderTheOthers(t *testing.T) {
	for name, row := range map[string]struct{ script, want string }{
		"exit status":    {"echo hunter2; echo hunter2 >&2; exit 3", "exit status 3"},
		"killed":         {"kill -9 $$", "signal: killed"},
		"nothing":        {"", "no CredentialProviderResponse"},
		"no JSON":        {"echo hunter2", "no CredentialProviderResponse"},
		"other version":  {strings.Replace(answers("registry.example", "me"), "/v1", "/v1beta1", 1), "apiVersion"},
		"other key type": {strings.Replace(answers("registry.example", "me"), "Registry", "hunter2", 1), "cacheKeyType"},
		"malformed":      {strings.Replace(answers("registry.example", "me"), `:"me"`, `:42`, 1), "malformed entries"},
		"endless":        {"while :; do echo hunter2hunter2hunter2hunter2hunter2; done", "more than 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			scripts := newPlugins(t)
			scripts.add(t, "bad", "registry.example", row.script)
			scripts.add(t, "good", "registry.example", answers("registry.example", "good"))
			core, logs := observer.New(zapcore.DebugLevel)
			runtime := &fakeRuntime{}
			puller := imagepull.New(runtime, imagepull.Config{CredentialProviders: scripts.read(t), Logger: zap.New(core)})
			require.NoError(t, pull(t, puller, pod("a")))
			assert.Equal(t, []string{"good"}, runtime.users())
			told := ""
			for _, entry := range logs.FilterLevelExact(zapcore.WarnLevel).All() {
				told += fmt.Sprint(entry.Message, entry.ContextMap())
			}
			assert.Contains(t, told, row.want)
			assert.Contains(t, told, "provider:bad")
			assert.NotContains(t, told, "hunter2")
		})
	}
}

func TestConfigurationThatCannotBeUsed(t *testing.T) {
	const good = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- {name: ecr, matchImages: [a.b], defaultCacheDuration: 1m, apiVersion: credentialprovider.kubelet.k8s.io/v1}\n"
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "ecr"), []byte("#!/bin/sh\n"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "text"), nil, 0o600))
	file := filepath.Join(t.TempDir(), "providers.yaml")
	for name, row := range map[string]struct{ old, new, want string }{
		"unusable":        {"apiVersion", "{apiVersion", "not YAML or JSON"},
		"list":            {good, "[]", "must be an object"},
		"version":         {"kubelet.config.k8s.io/v1\n", "kubelet.config.k8s.io/v2\n", "apiVersion: must be one of kubelet.config.k8s.io/v1, "},
		"kind":            {"CredentialProviderConfig", "Pod", "kind: must be"},
		"no providers":    {good[strings.Index(good, "providers"):], "", "providers: there is none"},
		"unknown":         {"name: ecr", "name: ecr, hunger: 1", `providers[0] "ecr": unknown field "hunger"`},
		"type":            {"[a.b]", "4242", `providers[0] "ecr": matchImages: must be of type []string`},
		"no name":         {"name: ecr, ", "", `providers[0] "": name: must be`},
		"folder in name":  {"name: ecr", "name: ../ecr", `providers[0] "../ecr": name: must be`},
		"space in name":   {"name: ecr", "name: e cr", `name: must be`},
		"parent folder":   {"name: ecr", "name: ..", `name: must be`},
		"no images":       {"[a.b]", "[]", `"ecr": matchImages: there is none`},
		"scheme":          {"[a.b]", "[a.b, https://a.b]", `"ecr": matchImages[1]: "https://a.b" must be without scheme`},
		"no host":         {"[a.b]", "[/a]", `matchImages[0]: "/a" has no host`},
		"wildcard":        {"[a.b]", `["[.b"]`, `matchImages[0]: "[.b" has a malformed wildcard`},
		"no duration":     {"defaultCacheDuration: 1m, ", "", `"ecr": defaultCacheDuration: is missing`},
		"bad duration":    {"1m", "hunter2", `"ecr": defaultCacheDuration: must be a duration`},
		"number":          {"1m", "4242", `"ecr": defaultCacheDuration: must be of type string`},
		"negative":        {"1m", "-1m", `"ecr": defaultCacheDuration: is negative`},
		"plugin version":  {"credentialprovider.kubelet.k8s.io/v1", "v1", `"ecr": apiVersion: must be one of credentialprovider.kubelet.k8s.io/v1, `},
		"variable":        {"name: ecr", "name: ecr, env: [{value: hunter2}]", `"ecr": env[0].name: is no name`},
		"variable's type": {"name: ecr", "name: ecr, env: [{name: a, value: 4242}]", `"ecr": env.value: must be of type string`},
		"tokens":          {"name: ecr", "name: ecr, tokenAttributes: {cacheType: Token}", `"ecr": tokenAttributes: service account tokens are not supported`},
		"empty tokens":    {"name: ecr", "name: ecr, tokenAttributes: {}", `"ecr": tokenAttributes: `},
		"twice":           {good, good + strings.SplitN(good, "\n", 4)[3], `providers[1] "ecr": name: another provider has it too`},
		"no plugin":       {"name: ecr", "name: gcr", `providers[0] "gcr": name: no such plugin`},
		"no executable":   {"name: ecr", "name: text", `providers[0] "text": name: no such plugin`},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, good, row.old)
			require.NoError(t, os.WriteFile(file, []byte(strings.Replace(good, row.old, row.new, 1)), 0o600))
			_, err := imagepull.ReadCredentialProviders(file, bin)
			require.ErrorContains(t, err, row.want)
			assert.Contains(t, err.Error(), file)
			assert.NotRegexp(t, "hunter2|4242", err.Error())
		})
	}
	t.Run("missing", func(t *testing.T) {
		_, err := imagepull.ReadCredentialProviders(file+".none", bin)
		require.ErrorIs(t, err, os.ErrNotExist)
	})
	t.Run("all is told at once", func(t *testing.T) {
		content := strings.NewReplacer("[a.b]", "[]", "1m", "-1m").Replace(good)
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		_, err := imagepull.ReadCredentialProviders(file, bin)
		require.ErrorContains(t, err, `"ecr": matchImages`)
		require.ErrorContains(t, err, `"ecr": defaultCacheDuration`)
	})
	for _, version := range []string{"v1", "v1beta1", "v1alpha1"} {
		t.Run(version, func(t *testing.T) {
			content := strings.ReplaceAll(good, "k8s.io/v1", "k8s.io/"+version)
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
			_, err := imagepull.ReadCredentialProviders(file, bin)
			require.NoError(t, err)
		})
	}
}
