package imagepull

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// loginsFor has a login for each registry, whose user is named like it.
func loginsFor(t *testing.T, registries ...string) []login {
	t.Helper()
	var logins []login
	for _, registry := range registries {
		s, err := parseScope(registry)
		require.NoError(t, err)
		logins = append(logins, login{s, credentials{username: registry}})
	}
	return logins
}

func TestWhichCredentialsAreForAnImage(t *testing.T) {
	for name, row := range map[string]struct {
		registry, image string
		match           bool
	}{
		"host":                         {"example.com", "example.com/app:1", true},
		"other host":                   {"example.com", "example.org/app", false},
		"host as suffix":               {"example.com", "bad-example.com/app", false},
		"scheme":                       {"https://example.com", "example.com/app", true},
		"plain scheme":                 {"http://example.com/", "example.com/app", true},
		"API v1":                       {"https://example.com/v1/", "example.com/app", true},
		"API v2":                       {"https://example.com/v2/", "example.com/app", true},
		"API and path":                 {"example.com/v2/team", "example.com/team/app", true},
		"wildcard label":               {"*.example.com", "eu.example.com/app", true},
		"wildcard is one label":        {"*.example.com", "a.b.example.com/app", false},
		"wildcard needs a label":       {"*.example.com", "example.com/app", false},
		"wildcard within a label":      {"eu-*.example.com", "eu-1.example.com/app", true},
		"wildcards":                    {"*.example.*", "eu.example.org/app", true},
		"one wildcard":                 {"*", "example.com/app", false},
		"question mark":                {"r?.example.com", "r1.example.com/app", true},
		"letters":                      {"r[12].example.com", "r1.example.com/app", true},
		"bad wildcard":                 {`a\`, "localhost/app", false},
		"port":                         {"example.com:5000", "example.com:5000/app", true},
		"port of the image only":       {"example.com", "example.com:5000/app", false},
		"port of the credentials only": {"example.com:5000", "example.com/app", false},
		"other port":                   {"example.com:5000", "example.com:5001/app", false},
		"wildcard and port":            {"*.example.com:5000", "eu.example.com:5000/app", true},
		"address":                      {"127.0.0.1:5000", "127.0.0.1:5000/app", true},
		"IPv6":                         {"[::1]:5000", "[::1]:5000/app", true},
		"localhost":                    {"localhost:5000", "localhost:5000/app", true},
		"path":                         {"example.com/team", "example.com/team/app", true},
		"whole path":                   {"example.com/team/app", "example.com/team/app:1", true},
		"path, digest":                 {"example.com/team", "example.com/team/app" + "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", true},
		"other path":                   {"example.com/other", "example.com/team/app", false},
		"longer path":                  {"example.com/team/app/x", "example.com/team/app", false},
		"path is a prefix of letters":  {"example.com/team", "example.com/teams/app", true},
		"path that ends":               {"example.com/team/", "example.com/teams/app", false},
		"wildcard in the path":         {"example.com/*", "example.com/team/app", false},
		"docker hub, as logged in":     {"https://index.docker.io/v1/", "nginx", true},
		"docker hub, organisation":     {"https://index.docker.io/v1/", "grafana/grafana:1", true},
		"docker hub, in full":          {"index.docker.io", "docker.io/library/nginx", true},
		"docker hub, in full too":      {"index.docker.io", "index.docker.io/library/nginx", true},
		"docker hub by its domain":     {"docker.io", "nginx", true},
		"docker hub, path":             {"docker.io/grafana", "grafana/grafana", true},
		"docker hub, other path":       {"docker.io/grafana", "nginx", false},
		"docker hub is not for all":    {"index.docker.io", "example.com/nginx", false},
		"a port that is none":          {"example.com:port", "example.com/app", false},
		"user in the name":             {"me:pass@example.com", "example.com/app", false},
		"no name":                      {"example.com", "Example", false},
	} {
		t.Run(name, func(t *testing.T) {
			found := lookup(loginsFor(t, row.registry), row.image)
			if !row.match {
				assert.Empty(t, found)
				return
			}
			assert.Equal(t, []credentials{{username: row.registry}}, found)
		})
	}
}

func TestTheMostSpecificCredentialsComeFirst(t *testing.T) {
	logins := loginsFor(t, "*.example.com", "eu.example.com", "eu.example.com/team/app", "us.example.com", "eu.example.com/team")
	again := login{logins[1].scope, credentials{username: "rotated"}}
	before := append(logins, again)
	var users []string
	for _, c := range lookup(before, "eu.example.com/team/app") {
		users = append(users, c.username)
	}
	assert.Equal(t, []string{"eu.example.com/team/app", "eu.example.com/team", "eu.example.com", "rotated", "*.example.com"}, users)
	assert.Equal(t, "*.example.com", before[0].username, "what was given is not reordered")
}

func TestDockerHubsLoginYieldsToItsDomain(t *testing.T) {
	found := lookup(loginsFor(t, "https://index.docker.io/v1/", "docker.io"), "nginx")
	assert.Equal(t, []credentials{{username: "docker.io"}}, found)
}

func TestMalformedRegistries(t *testing.T) {
	for _, registry := range []string{"", "https://", "/path"} {
		_, err := parseScope(registry)
		assert.Equal(t, errMalformed, err, registry)
	}
}

func FuzzLookup(f *testing.F) {
	for _, seed := range [][2]string{
		{"example.com", "example.com/app"}, {"*.example.com:5000/a", "eu.example.com:5000/a/b"},
		{"https://index.docker.io/v1/", "nginx"}, {"[::1]", "[::1]/a"}, {`[a-\`, "a"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, registry, image string) {
		s, err := parseScope(registry)
		if err != nil {
			assert.Equal(t, errMalformed, err, "a text that quotes nothing")
			return
		}
		for range lookup([]login{{s, credentials{username: "me"}}}, image) {
			name, err := withDefaultTag(image)
			require.NoError(t, err, "what has no name has no credentials")
			assert.Len(t, lookup([]login{{s, credentials{username: "me"}}}, name), 1, "the tag does not matter")
		}
	})
}
