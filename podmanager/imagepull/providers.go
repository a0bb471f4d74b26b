package imagepull

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"go.uber.org/zap"
)

// maxCached bounds the responses that are kept of one provider.
const maxCached = 1000

// CredentialProviders are plugins that know the credentials for images, as the
// kubelet runs them (KEP-2133; Kubernetes: Configure a kubelet image credential
// provider). Their responses are kept in memory for as long as they say. One
// value may serve several pullers.
type CredentialProviders struct {
	all []*provider
}

// ReadCredentialProviders reads the file, a CredentialProviderConfig
// (kubelet.config.k8s.io/v1, v1beta1 or v1alpha1) in YAML or JSON, and looks for
// the executables of its providers in the folder bin. Both are read now and not
// again: a change counts after a restart of the agent, as with the kubelet, while
// an executable may be replaced at any time.
//
// The error names the file, and each provider and field that cannot be used;
// then there are no providers. tokenAttributes are refused, as there are no
// tokens of service accounts.
//
// A plugin runs with the agent's rights and environment, to which the provider's
// env is added. What it writes to its standard error is not read.
func ReadCredentialProviders(file, bin string) (*CredentialProviders, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read credential providers: %w", err)
	}
	providers, err := parseProviders(content)
	if err != nil {
		return nil, fmt.Errorf("credential providers %s: %w", file, err)
	}
	if err := findPlugins(providers, bin); err != nil {
		return nil, fmt.Errorf("credential providers %s: %w", file, err)
	}
	return &CredentialProviders{all: providers}, nil
}

func findPlugins(providers []*provider, bin string) error {
	bin, err := filepath.Abs(bin) // a bare name would be looked for elsewhere
	if err != nil {
		return fmt.Errorf("folder of the plugins: %w", err)
	}
	var problems []error
	for i, p := range providers {
		p.path, err = exec.LookPath(filepath.Join(bin, p.name))
		if err != nil {
			problems = append(problems, fmt.Errorf("providers[%d] %q: name: no such plugin: %w", i, p.name, err))
		}
		p.ask = p.run
	}
	return errors.Join(problems...)
}

// logins asks all providers for the image at once, so that one that hangs does
// not add to another. What they return is in the order of the configuration.
func (c *CredentialProviders) logins(ctx context.Context, image string, log *zap.Logger) []login {
	if c == nil {
		return nil
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil
	}
	found := make([][]login, len(c.all))
	var group sync.WaitGroup
	for i, p := range c.all {
		if p.covers(named.Name()) {
			group.Go(func() { found[i] = p.logins(ctx, named, log.With(zap.String("provider", p.name))) })
		}
	}
	group.Wait()
	return slices.Concat(found...)
}

// provider is one plugin.
type provider struct {
	name, path, apiVersion string
	args, env              []string
	images                 []scope
	cacheFor               time.Duration // unless the response says otherwise
	ask                    func(ctx context.Context, request []byte) ([]byte, error)

	mu      sync.Mutex // guards the fields below
	cache   map[cacheKey]cached
	calls   map[cacheKey]*call
	goodFor string // what the last response was, empty before
}

// cacheKey is what a response is good for: name is an image, a registry, or
// empty for all.
type cacheKey struct{ goodFor, name string }

type cached struct {
	logins []login
	until  time.Time
}

// call is one call of a plugin. Others who want its key wait for it.
type call struct {
	image string

	done   chan struct{} // closed when the result below is there
	key    cacheKey      // what it is good for, if there was no error
	logins []login
	err    error
	gaveUp bool // whose call it was did not wait for its end
}

func (p *provider) covers(image string) bool {
	target, err := split(image)
	return err == nil && slices.ContainsFunc(p.images, func(s scope) bool { return s.covers(target) })
}

// keyFor is the key of the image's response when that is good for so much.
func keyFor(goodFor string, image reference.Named) cacheKey {
	switch goodFor {
	case forImage:
		return cacheKey{forImage, image.Name()}
	case forRegistry:
		return cacheKey{forRegistry, reference.Domain(image)}
	}
	return cacheKey{forAll, ""}
}

// logins returns what the plugin says of the image, or said not long ago. A
// plugin that fails has none.
func (p *provider) logins(ctx context.Context, image reference.Named, log *zap.Logger) []login {
	for {
		logins, shared, mine := p.begin(image)
		switch {
		case mine:
			p.call(ctx, shared, image, log)
			return shared.logins
		case shared == nil:
			return logins
		}
		select {
		case <-shared.done:
		case <-ctx.Done():
			return nil
		}
		if shared.serves(image) {
			return shared.logins
		}
	}
}

// begin returns the logins that are cached or, without call, a call to wait for,
// which is the caller's own to do when mine. As long as nobody knows what the
// responses are good for, there is one call at a time.
func (p *provider) begin(image reference.Named) (logins []login, shared *call, mine bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, goodFor := range []string{forImage, forRegistry, forAll} {
		if found, ok := p.cache[keyFor(goodFor, image)]; ok && now.Before(found.until) {
			return found.logins, nil, false
		}
	}
	key := keyFor(p.goodFor, image)
	if shared = p.calls[key]; shared != nil {
		return nil, shared, false
	}
	shared = &call{image: image.Name(), done: make(chan struct{})}
	if p.calls == nil {
		p.calls = map[cacheKey]*call{}
	}
	p.calls[key] = shared
	return nil, shared, true
}

// serves reports whether the result is the image's, too.
func (c *call) serves(image reference.Named) bool {
	if c.gaveUp {
		return false
	}
	return c.image == image.Name() || c.err == nil && c.key == keyFor(c.key.goodFor, image)
}

// call asks the plugin, and tells those who wait. It blocks until the plugin has
// ended.
func (p *provider) call(ctx context.Context, c *call, image reference.Named, log *zap.Logger) {
	limited, cancel := context.WithTimeout(ctx, pluginTimeout)
	defer cancel()
	answer, err := p.response(limited, image)
	switch {
	case err != nil && ctx.Err() != nil:
		c.gaveUp = true
	case err != nil:
		log.Warn("credential provider set aside", zap.String("image", image.Name()), zap.Error(err))
	case answer.malformed > 0:
		log.Warn("malformed entries of credential provider set aside", zap.String("image", image.Name()), zap.Int("entries", answer.malformed))
	}
	c.err = err
	if err == nil {
		c.key, c.logins = keyFor(answer.goodFor, image), answer.logins
	}
	p.end(c, answer)
}

func (p *provider) response(ctx context.Context, image reference.Named) (*response, error) {
	request, err := formatRequest(p.apiVersion, image.Name())
	if err != nil {
		return nil, err
	}
	content, err := p.ask(ctx, request)
	if err != nil {
		return nil, err
	}
	return parseResponse(content, p.apiVersion)
}

// end takes note of the response. After a failure, the images no longer wait for
// each other: each would have to wait until all before it have failed.
func (p *provider) end(c *call, answer *response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.calls, func(_ cacheKey, other *call) bool { return other == c })
	switch {
	case c.err == nil:
		p.goodFor = answer.goodFor
		p.keep(c, answer.cacheFor)
	case !c.gaveUp:
		p.goodFor = forImage
	}
	close(c.done)
}

// keep puts the response into the cache. When that is full, the one that would
// be dropped first goes.
func (p *provider) keep(c *call, cacheFor *time.Duration) {
	lasts := p.cacheFor
	if cacheFor != nil {
		lasts = *cacheFor
	}
	if lasts <= 0 {
		return
	}
	now := time.Now()
	maps.DeleteFunc(p.cache, func(_ cacheKey, old cached) bool { return !now.Before(old.until) })
	if len(p.cache) >= maxCached {
		delete(p.cache, slices.MinFunc(slices.Collect(maps.Keys(p.cache)), func(a, b cacheKey) int {
			if by := p.cache[a].until.Compare(p.cache[b].until); by != 0 {
				return by
			}
			return strings.Compare(a.name, b.name)
		}))
	}
	if p.cache == nil {
		p.cache = map[cacheKey]cached{}
	}
	p.cache[c.key] = cached{c.logins, now.Add(lasts)}
}
