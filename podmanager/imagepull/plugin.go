package imagepull

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	pluginTimeout = time.Minute // for one call, as in the kubelet
	maxAnswer     = 1 << 20     // of a plugin, in bytes
)

// What a response is good for (cacheKeyType).
const (
	forImage    = "Image"
	forRegistry = "Registry"
	forAll      = "Global"
)

// The errors here have a fixed text, as what a plugin writes may be secret.
var (
	errAnswerTooLong = errors.New("the plugin wrote more than 1 MiB")
	errNoResponse    = errors.New("the plugin wrote no CredentialProviderResponse")
	errOtherVersion  = errors.New("apiVersion of the response is not that of the request")
	errCacheKeyType  = errors.New("cacheKeyType of the response is none of Image, Registry, Global")
)

// response is what a plugin answered.
type response struct {
	logins    []login
	malformed int    // entries that were set aside
	goodFor   string // forImage, forRegistry or forAll
	cacheFor  *time.Duration
}

// formatRequest is the CredentialProviderRequest for the image.
func formatRequest(apiVersion, image string) ([]byte, error) {
	return json.Marshal(map[string]string{"apiVersion": apiVersion, "kind": "CredentialProviderRequest", "image": image})
}

// parseResponse reads a CredentialProviderResponse of the version.
func parseResponse(content []byte, apiVersion string) (*response, error) {
	var answer struct {
		APIVersion    string                     `json:"apiVersion"`
		Kind          string                     `json:"kind"`
		CacheKeyType  string                     `json:"cacheKeyType"`
		CacheDuration *metav1.Duration           `json:"cacheDuration"`
		Auth          map[string]json.RawMessage `json:"auth"`
	}
	if json.Unmarshal(content, &answer) != nil || answer.Kind != "CredentialProviderResponse" {
		return nil, errNoResponse
	}
	if answer.APIVersion != apiVersion {
		return nil, errOtherVersion
	}
	if !slices.Contains([]string{forImage, forRegistry, forAll}, answer.CacheKeyType) {
		return nil, errCacheKeyType
	}
	r := &response{goodFor: answer.CacheKeyType}
	if answer.CacheDuration != nil {
		r.cacheFor = &answer.CacheDuration.Duration
	}
	r.logins, r.malformed = parseAuth(answer.Auth)
	return r, nil
}

// parseAuth reads the entries of a response, which have nothing but a user name
// and a password.
func parseAuth(entries map[string]json.RawMessage) (logins []login, malformed int) {
	for _, registry := range slices.Sorted(maps.Keys(entries)) {
		var entry struct {
			Username string `json:"username"`
			Password string `json:"password"`
		}
		scope, err := parseScope(registry)
		if err != nil || json.Unmarshal(entries[registry], &entry) != nil || entry.Username == "" && entry.Password != "" {
			malformed++
			continue
		}
		if entry.Username != "" {
			logins = append(logins, login{scope, credentials{username: entry.Username, password: entry.Password}})
		}
	}
	return logins, malformed
}

// run calls the plugin of the provider, as KEP-2133 has it, and returns what it
// wrote. What it writes to its standard error is not read: nobody knows whether
// it is secret. It ends with ctx, and so do the processes that it started.
func (p *provider) run(ctx context.Context, request []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdin = bytes.NewReader(request)
	answer := &bounded{}
	cmd.Stdout = answer
	cmd.WaitDelay = time.Second // for a process that keeps the output open
	killWithChildren(cmd)
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("the plugin has not ended: %w", context.Cause(ctx))
	case answer.tooLong:
		return nil, errAnswerTooLong
	case err != nil:
		return nil, fmt.Errorf("run the plugin: %w", err)
	}
	return answer.Bytes(), nil
}

// bounded keeps what is written as long as it is not too long.
type bounded struct {
	content bytes.Buffer
	tooLong bool
}

func (b *bounded) Bytes() []byte { return b.content.Bytes() }

func (b *bounded) Write(content []byte) (int, error) {
	if b.content.Len()+len(content) > maxAnswer {
		b.tooLong = true
		return 0, errAnswerTooLong
	}
	return b.content.Write(content)
}
