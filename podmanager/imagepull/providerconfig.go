package imagepull

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// The group versions that there are. All of a group read the same here.
const (
	configGroup = "kubelet.config.k8s.io/"
	pluginGroup = "credentialprovider.kubelet.k8s.io/"
)

var groupVersions = []string{"v1", "v1beta1", "v1alpha1"}

// providerConfig is a provider of a CredentialProviderConfig. The structs are
// our own, as the module k8s.io/kubelet would come for three of its types.
type providerConfig struct {
	Name                 string           `json:"name"`
	MatchImages          []string         `json:"matchImages"`
	DefaultCacheDuration *metav1.Duration `json:"defaultCacheDuration"`
	APIVersion           string           `json:"apiVersion"`
	Args                 []string         `json:"args"`
	Env                  []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"env"`
	TokenAttributes json.RawMessage `json:"tokenAttributes"`
}

// parseProviders reads a CredentialProviderConfig in YAML or JSON. The error
// names all that is wrong, by provider and field, and quotes no value but names:
// arguments and variables may be secret.
func parseProviders(content []byte) ([]*provider, error) {
	content, err := yaml.YAMLToJSONStrict(content)
	if err != nil {
		return nil, errors.New("not YAML or JSON, or with a key twice")
	}
	var config struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Providers  []json.RawMessage `json:"providers"`
	}
	if err := decodeStrict(content, &config); err != nil {
		return nil, err
	}
	var problems []error
	if !isVersionOf(configGroup, config.APIVersion) {
		problems = append(problems, fmt.Errorf("apiVersion: must be one of %s", versionsOf(configGroup)))
	}
	if config.Kind != "CredentialProviderConfig" {
		problems = append(problems, errors.New("kind: must be CredentialProviderConfig"))
	}
	if len(config.Providers) == 0 {
		problems = append(problems, errors.New("providers: there is none"))
	}
	var providers []*provider
	for i, raw := range config.Providers {
		p, bad := parseProvider(raw)
		name := nameOf(raw)
		if slices.ContainsFunc(providers, func(other *provider) bool { return other.name == name }) {
			bad = append(bad, errors.New("name: another provider has it too"))
		}
		for _, err := range bad {
			problems = append(problems, fmt.Errorf("providers[%d] %q: %w", i, name, err))
		}
		providers = append(providers, p)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return providers, nil
}

// parseProvider returns the provider, and what is wrong with it.
func parseProvider(raw json.RawMessage) (p *provider, problems []error) {
	var config providerConfig
	if err := decodeStrict(raw, &config); err != nil {
		return &provider{}, []error{err}
	}
	p = &provider{name: config.Name, apiVersion: config.APIVersion, args: config.Args}
	fail := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !isFileName(config.Name) {
		fail("name: must be that of an executable, without folder or space")
	}
	if !isVersionOf(pluginGroup, config.APIVersion) {
		fail("apiVersion: must be one of %s", versionsOf(pluginGroup))
	}
	switch {
	case config.DefaultCacheDuration == nil:
		fail("defaultCacheDuration: is missing")
	case config.DefaultCacheDuration.Duration < 0:
		fail("defaultCacheDuration: is negative")
	default:
		p.cacheFor = config.DefaultCacheDuration.Duration
	}
	if len(config.MatchImages) == 0 {
		fail("matchImages: there is none")
	}
	for i, pattern := range config.MatchImages {
		images, err := parsePattern(pattern)
		if err != nil {
			fail("matchImages[%d]: %q %w", i, pattern, err)
		}
		p.images = append(p.images, images)
	}
	for i, variable := range config.Env {
		if variable.Name == "" || strings.ContainsAny(variable.Name, "=\x00") {
			fail("env[%d].name: is no name of a variable", i)
		}
		p.env = append(p.env, variable.Name+"="+variable.Value)
	}
	if len(config.TokenAttributes) > 0 && string(config.TokenAttributes) != "null" {
		fail("tokenAttributes: service account tokens are not supported")
	}
	return p, problems
}

// isFileName reports whether the name is that of a file in a folder.
func isFileName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\\ \t\r\n\x00")
}

// parsePattern reads one of matchImages: a host, whose labels may have wildcards,
// with or without port and path.
func parsePattern(pattern string) (scope, error) {
	if strings.Contains(pattern, "://") {
		return scope{}, errors.New("must be without scheme")
	}
	s, err := split(pattern)
	if err != nil {
		return scope{}, errors.New("has no host")
	}
	for _, label := range s.labels {
		if _, err := path.Match(label, ""); err != nil {
			return scope{}, errors.New("has a malformed wildcard")
		}
	}
	return s, nil
}

// decodeStrict decodes, and names the field that does not fit or is unknown.
func decodeStrict(raw []byte, into any) error {
	unknown, err := strictjson.UnmarshalStrict(raw, into)
	var misfit *json.UnmarshalTypeError
	switch {
	case errors.As(err, &misfit) && misfit.Field != "":
		return fmt.Errorf("%s: must be of type %s", misfit.Field, misfit.Type)
	case err != nil && hasBadDuration(raw):
		return errors.New("defaultCacheDuration: must be a duration such as 10m")
	case err != nil:
		return errors.New("must be an object with the documented fields")
	}
	return errors.Join(unknown...)
}

// hasBadDuration reports whether raw has a duration that is none: the decoder does
// not say which field has an encoding of its own.
func hasBadDuration(raw []byte) bool {
	var of struct {
		Duration json.RawMessage `json:"defaultCacheDuration"`
	}
	if json.Unmarshal(raw, &of) != nil || of.Duration == nil {
		return false
	}
	var text string
	if json.Unmarshal(of.Duration, &text) != nil {
		return true
	}
	_, err := time.ParseDuration(text)
	return err != nil
}

// nameOf is the name of a provider whatever else it has.
func nameOf(raw json.RawMessage) string {
	var named struct {
		Name json.RawMessage `json:"name"`
	}
	var name string
	if json.Unmarshal(raw, &named) == nil {
		_ = json.Unmarshal(named.Name, &name)
	}
	return name
}

func isVersionOf(group, apiVersion string) bool {
	version, found := strings.CutPrefix(apiVersion, group)
	return found && slices.Contains(groupVersions, version)
}

func versionsOf(group string) string {
	return group + strings.Join(groupVersions, ", "+group)
}
