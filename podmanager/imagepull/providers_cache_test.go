package imagepull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// asked is a plugin without process, which notes for which images it was called.
type asked struct {
	goodFor  string
	cacheFor string        // of the response; empty has none
	takes    time.Duration // for one call
	err      error

	mu     sync.Mutex // guards the fields below
	images []string
}

func (a *asked) ask(ctx context.Context, request []byte) ([]byte, error) {
	var of struct{ Image string }
	_ = json.Unmarshal(request, &of)
	a.mu.Lock()
	a.images = append(a.images, of.Image)
	number := len(a.images)
	a.mu.Unlock()
	if a.takes > 0 {
		select {
		case <-time.After(a.takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if a.err != nil {
		return nil, a.err
	}
	duration := ""
	if a.cacheFor != "" {
		duration = fmt.Sprintf(`"cacheDuration":%q,`, a.cacheFor)
	}
	return fmt.Appendf(nil, `{"apiVersion":"v","kind":"CredentialProviderResponse","cacheKeyType":%q,%s"auth":{"*.example":{"username":"call %d","password":"x"}}}`,
		a.goodFor, duration, number), nil
}

func (a *asked) providers() *CredentialProviders {
	images, _ := parsePattern("*.example")
	return &CredentialProviders{all: []*provider{{name: "p", apiVersion: "v", images: []scope{images}, cacheFor: 10 * time.Minute, ask: a.ask}}}
}

// users are those that the providers know for the image.
func users(ctx context.Context, c *CredentialProviders, image string) (names []string) {
	for _, l := range c.logins(ctx, image, zap.NewNop()) {
		names = append(names, l.username)
	}
	return names
}

func TestResponsesAreKeptForWhatTheyAreGoodFor(t *testing.T) {
	for goodFor, want := range map[string]string{
		"Image":    "call 1, call 1, call 2, call 3",
		"Registry": "call 1, call 1, call 1, call 2",
		"Global":   "call 1, call 1, call 1, call 1",
	} {
		t.Run(goodFor, func(t *testing.T) {
			plugin := &asked{goodFor: goodFor}
			c := plugin.providers()
			var got []string
			for _, image := range []string{"a.example/x:1", "a.example/x:2", "a.example/y", "b.example/x"} {
				got = append(got, users(t.Context(), c, image)...)
			}
			assert.Equal(t, want, strings.Join(got, ", "))
		})
	}
}

func TestResponsesAreKeptForAsLongAsTheySay(t *testing.T) {
	for cacheFor, want := range map[string]time.Duration{"": 10 * time.Minute, "5s": 5 * time.Second, "0s": 0, "-1s": 0} {
		t.Run("cacheDuration "+cacheFor, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plugin := &asked{goodFor: forImage, cacheFor: cacheFor}
				c := plugin.providers()
				require.Equal(t, []string{"call 1"}, users(t.Context(), c, "a.example/x"))
				if want > 0 {
					time.Sleep(want - time.Nanosecond)
					assert.Equal(t, []string{"call 1"}, users(t.Context(), c, "a.example/x"))
					time.Sleep(time.Nanosecond)
				}
				assert.Equal(t, []string{"call 2"}, users(t.Context(), c, "a.example/x"))
			})
		})
	}
}

// together asks for the images at the same time, and returns who got what when.
func together(t *testing.T, c *CredentialProviders, images ...string) []string {
	begin := time.Now()
	got := make([]string, len(images))
	var group sync.WaitGroup
	for i, image := range images {
		group.Go(func() {
			got[i] = fmt.Sprint(users(t.Context(), c, image), " after ", time.Since(begin))
		})
		synctest.Wait()
	}
	group.Wait()
	return got
}

func TestOneCallForEachKeyAtATime(t *testing.T) {
	for name, row := range map[string]struct {
		plugin *asked
		want   []string
	}{
		"Image":            {&asked{goodFor: forImage}, []string{"[call 1] after 1s", "[call 1] after 1s", "[call 2] after 2s", "[call 3] after 2s"}},
		"Registry":         {&asked{goodFor: forRegistry}, []string{"[call 1] after 1s", "[call 1] after 1s", "[call 1] after 1s", "[call 2] after 2s"}},
		"Global":           {&asked{goodFor: forAll}, []string{"[call 1] after 1s", "[call 1] after 1s", "[call 1] after 1s", "[call 1] after 1s"}},
		"Global, no cache": {&asked{goodFor: forAll, cacheFor: "0s"}, []string{"[call 1] after 1s", "[call 1] after 1s", "[call 1] after 1s", "[call 1] after 1s"}},
		"failure":          {&asked{err: errors.New("down")}, []string{"[] after 1s", "[] after 1s", "[] after 2s", "[] after 2s"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				row.plugin.takes = time.Second
				got := together(t, row.plugin.providers(), "a.example/x", "a.example/x", "a.example/y", "b.example/x")
				for i := range got { // those that wait may come on in any order
					got[i] = strings.Replace(got[i], "call 3", "call 2", 1)
					row.want[i] = strings.Replace(row.want[i], "call 3", "call 2", 1)
				}
				assert.Equal(t, row.want, got)
			})
		})
	}
}

func TestPluginHasOneMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, quick := &asked{takes: time.Hour}, &asked{goodFor: forAll}
		c := &CredentialProviders{all: append(slow.providers().all, quick.providers().all...)}
		begin := time.Now()
		assert.Equal(t, []string{"call 1"}, users(t.Context(), c, "a.example/x"))
		assert.Equal(t, time.Minute, time.Since(begin))
	})
}

func TestCallThatIsGivenUpIsMadeAgainForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plugin := &asked{goodFor: forImage, takes: 10 * time.Second}
		c := plugin.providers()
		first, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var group sync.WaitGroup
		group.Go(func() { assert.Empty(t, users(first, c, "a.example/x")) })
		synctest.Wait()
		group.Go(func() { assert.Equal(t, []string{"call 2"}, users(t.Context(), c, "a.example/x")) })
		group.Wait()
	})
}

func TestWaitingForACallCanBeGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plugin := &asked{goodFor: forImage, takes: 10 * time.Second}
		c := plugin.providers()
		var group sync.WaitGroup
		group.Go(func() { assert.Equal(t, []string{"call 1"}, users(t.Context(), c, "a.example/x")) })
		synctest.Wait()
		second, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		assert.Empty(t, users(second, c, "a.example/x"))
		assert.Equal(t, time.Second, time.Since(begin))
		group.Wait()
	})
}

func TestCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plugin := &asked{goodFor: forImage}
		c := plugin.providers()
		for i := range maxCached + 1 {
			users(t.Context(), c, fmt.Sprintf("a.example/%d", i))
			time.Sleep(time.Millisecond)
		}
		assert.Len(t, c.all[0].cache, maxCached)
		assert.NotContains(t, c.all[0].cache, cacheKey{forImage, "a.example/0"}, "the one that is dropped first")
		time.Sleep(10 * time.Minute)
		users(t.Context(), c, "a.example/new")
		assert.Len(t, c.all[0].cache, 1, "what is over goes")
	})
}

func FuzzProviderConfig(f *testing.F) {
	for _, seed := range []string{
		"apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- {name: ecr, matchImages: ['*.b:1/c'], defaultCacheDuration: 1m, apiVersion: credentialprovider.kubelet.k8s.io/v1, args: [a], env: [{name: a, value: b}]}",
		`{"apiVersion":"kubelet.config.k8s.io/v1","kind":"CredentialProviderConfig","providers":[{"name":"a","tokenAttributes":{}},null,4]}`,
		"providers: [{defaultCacheDuration: x}]", "a: &a [*a]", "",
	} {
		f.Add([]byte(seed), "a.b:1/c/d")
	}
	f.Fuzz(func(t *testing.T, content []byte, image string) {
		providers, err := parseProviders(content)
		if err != nil {
			assert.Empty(t, providers)
			return
		}
		assert.NotEmpty(t, providers)
		names := map[string]bool{}
		for _, p := range providers {
			assert.True(t, isFileName(p.name))
			assert.False(t, names[p.name])
			names[p.name] = true
			assert.NotEmpty(t, p.images)
			assert.GreaterOrEqual(t, p.cacheFor, time.Duration(0))
			p.covers(image)
		}
	})
}

func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		`{"apiVersion":"v","kind":"CredentialProviderResponse","cacheKeyType":"Image","cacheDuration":"1m","auth":{"*.a.b/c":{"username":"me","password":"x"}}}`,
		`{"apiVersion":"v","kind":"CredentialProviderResponse","cacheKeyType":"Global","auth":{"":null,"a":{"password":"x"},"b":{}}}`,
		`{"apiVersion":"v","kind":"CredentialProviderResponse","cacheKeyType":"Registry","auth":null}`, `[]`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := parseResponse(content, "v")
		if err != nil {
			assert.Contains(t, []error{errNoResponse, errOtherVersion, errCacheKeyType}, err, "a text that quotes nothing")
			return
		}
		assert.Contains(t, []string{forImage, forRegistry, forAll}, r.goodFor)
		for _, l := range r.logins {
			assert.NotEmpty(t, l.username)
			assert.NotEmpty(t, l.scope.labels)
		}
	})
}
