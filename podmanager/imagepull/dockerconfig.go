package imagepull

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The errors here have a fixed text, as that of a parser quotes what it read.
var (
	errNotDockerConfig = errors.New("not a docker config")
	errNoPullSecret    = errors.New("neither of type kubernetes.io/dockerconfigjson nor kubernetes.io/dockercfg")
	errMalformed       = errors.New("malformed entry of a docker config")
)

// credentials are what a registry wants to see. The zero value is anonymous.
type credentials struct {
	username, password, identityToken, registryToken string
	// ofPod: they are not the node's, but those of a pod's pull secret.
	ofPod bool
}

// auth has no server address: the runtime would set the credentials aside when
// it pulls from a mirror or by another name.
func (c credentials) auth() *runtimeapi.AuthConfig {
	if c == (credentials{}) {
		return nil
	}
	return &runtimeapi.AuthConfig{
		Username: c.username, Password: c.password, IdentityToken: c.identityToken, RegistryToken: c.registryToken,
	}
}

// login is one entry of a docker config: credentials, and what they are for.
type login struct {
	scope scope
	credentials
}

// parseSecret returns the logins of a pull secret, and how many of its entries
// are malformed and set aside.
func parseSecret(secret *corev1.Secret) (logins []login, malformed int, err error) {
	switch secret.Type {
	case corev1.SecretTypeDockerConfigJson:
		return parseDockerConfig(secret.Data[corev1.DockerConfigJsonKey])
	case corev1.SecretTypeDockercfg:
		return parseDockercfg(secret.Data[corev1.DockerConfigKey])
	}
	return nil, 0, errNoPullSecret
}

// parseDockerConfig reads a config.json of docker.
func parseDockerConfig(content []byte) (logins []login, malformed int, err error) {
	var config struct {
		Auths map[string]json.RawMessage `json:"auths"`
	}
	if json.Unmarshal(content, &config) != nil {
		return nil, 0, errNotDockerConfig
	}
	logins, malformed = parseEntries(config.Auths)
	return logins, malformed, nil
}

// parseDockercfg reads the older form, which is nothing but the entries.
func parseDockercfg(content []byte) (logins []login, malformed int, err error) {
	var entries map[string]json.RawMessage
	if json.Unmarshal(content, &entries) != nil {
		return nil, 0, errNotDockerConfig
	}
	logins, malformed = parseEntries(entries)
	return logins, malformed, nil
}

func parseEntries(entries map[string]json.RawMessage) (logins []login, malformed int) {
	for _, registry := range slices.Sorted(maps.Keys(entries)) {
		scope, err := parseScope(registry)
		if err != nil {
			malformed++
			continue
		}
		found, err := parseCredentials(entries[registry])
		if err != nil {
			malformed++
			continue
		}
		// Where docker keeps the credentials elsewhere, it leaves an empty entry.
		if found != (credentials{}) {
			logins = append(logins, login{scope, found})
		}
	}
	return logins, malformed
}

// parseCredentials reads an entry. A login by identity token comes with a user
// name that stands for none: the runtime would take it for the user's.
func parseCredentials(content json.RawMessage) (credentials, error) {
	var entry struct {
		Username      string `json:"username"`
		Password      string `json:"password"`
		Auth          string `json:"auth"`
		IdentityToken string `json:"identitytoken"`
		RegistryToken string `json:"registrytoken"`
	}
	if json.Unmarshal(content, &entry) != nil {
		return credentials{}, errMalformed
	}
	found := credentials{
		username: entry.Username, password: entry.Password,
		identityToken: entry.IdentityToken, registryToken: entry.RegistryToken,
	}
	if entry.Auth != "" {
		var ok bool
		if found.username, found.password, ok = decodeAuth(entry.Auth); !ok {
			return credentials{}, errMalformed
		}
	}
	switch {
	case found.identityToken != "":
		found.username, found.password = "", ""
	case found.username == "" && found.password != "":
		return credentials{}, errMalformed
	}
	return found, nil
}

// decodeAuth splits base64 of "user:password", with or without padding.
func decodeAuth(auth string) (username, password string, ok bool) {
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(auth), "="))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(decoded), ":")
}
