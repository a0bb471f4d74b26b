package imagepull

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestDockerConfigEntries(t *testing.T) {
	padded := base64.StdEncoding.EncodeToString([]byte("me:pass"))
	require.Contains(t, padded, "=")
	for name, row := range map[string]struct {
		entry     string
		want      credentials
		malformed bool
	}{
		"auth":                         {`{"auth":"` + padded + `"}`, credentials{username: "me", password: "pass"}, false},
		"auth without padding":         {`{"auth":"` + strings.TrimRight(padded, "=") + `"}`, credentials{username: "me", password: "pass"}, false},
		"auth wins":                    {`{"auth":"` + padded + `","username":"you","password":"word"}`, credentials{username: "me", password: "pass"}, false},
		"a password with a colon":      {`{"auth":"` + base64.StdEncoding.EncodeToString([]byte("me:a:b")) + `"}`, credentials{username: "me", password: "a:b"}, false},
		"user name and password":       {`{"username":"me","password":"pass","email":"me@example.com"}`, credentials{username: "me", password: "pass"}, false},
		"no password":                  {`{"username":"me"}`, credentials{username: "me"}, false},
		"identity token":               {`{"auth":"` + padded + `","identitytoken":"id"}`, credentials{identityToken: "id"}, false},
		"registry token":               {`{"registrytoken":"bearer"}`, credentials{registryToken: "bearer"}, false},
		"kept elsewhere":               {`{}`, credentials{}, false},
		"null":                         {`null`, credentials{}, false},
		"auth that is no base64":       {`{"auth":"!"}`, credentials{}, true},
		"auth without colon":           {`{"auth":"` + base64.StdEncoding.EncodeToString([]byte("me")) + `"}`, credentials{}, true},
		"password without user":        {`{"password":"pass"}`, credentials{}, true},
		"an entry that is no object":   {`"me:pass"`, credentials{}, true},
		"a user name that is a number": {`{"username":1,"password":"pass"}`, credentials{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			entries := `{"example.com":` + row.entry + `,"good.example":{"username":"good"}}`
			ofConfig, malformed, err := parseDockerConfig([]byte(`{"auths":` + entries + `,"HttpHeaders":{"User-Agent":"x"}}`))
			require.NoError(t, err)
			assert.Equal(t, row.malformed, malformed == 1)
			ofCfg, _, err := parseDockercfg([]byte(entries))
			require.NoError(t, err)
			assert.Equal(t, ofConfig, ofCfg, "both forms have the same entries")

			assert.Equal(t, "good", ofConfig[len(ofConfig)-1].username, "the others are served")
			if row.want == (credentials{}) {
				assert.Len(t, ofConfig, 1)
				return
			}
			require.Len(t, ofConfig, 2)
			assert.Equal(t, row.want, ofConfig[0].credentials)
		})
	}
}

func TestAnonymousHasNoAuth(t *testing.T) {
	assert.Nil(t, credentials{}.auth())
	auth := credentials{"me", "pass", "id", "bearer", false}.auth()
	assert.Equal(t, []string{"me", "pass", "id", "bearer", "", ""},
		[]string{auth.GetUsername(), auth.GetPassword(), auth.GetIdentityToken(), auth.GetRegistryToken(), auth.GetServerAddress(), auth.GetAuth()})
}

func TestPullSecretTypes(t *testing.T) {
	const entries = `{"example.com":{"username":"me"}}`
	for name, row := range map[string]struct {
		secret corev1.Secret
		err    error
	}{
		"config.json": {corev1.Secret{Type: "kubernetes.io/dockerconfigjson", Data: map[string][]byte{".dockerconfigjson": []byte(`{"auths":` + entries + `}`)}}, nil},
		"dockercfg":   {corev1.Secret{Type: "kubernetes.io/dockercfg", Data: map[string][]byte{".dockercfg": []byte(entries)}}, nil},
		"other type":  {corev1.Secret{Type: "Opaque", Data: map[string][]byte{".dockercfg": []byte(entries)}}, errNoPullSecret},
		"no data":     {corev1.Secret{Type: "kubernetes.io/dockerconfigjson"}, errNotDockerConfig},
		"other key":   {corev1.Secret{Type: "kubernetes.io/dockercfg", Data: map[string][]byte{".dockerconfigjson": []byte(entries)}}, errNotDockerConfig},
		"no JSON":     {corev1.Secret{Type: "kubernetes.io/dockercfg", Data: map[string][]byte{".dockercfg": []byte("x")}}, errNotDockerConfig},
	} {
		t.Run(name, func(t *testing.T) {
			logins, malformed, err := parseSecret(&row.secret)
			assert.Zero(t, malformed)
			if row.err != nil {
				assert.Equal(t, row.err, err)
				assert.Empty(t, logins)
				return
			}
			require.NoError(t, err)
			require.Len(t, logins, 1)
			assert.Equal(t, "me", logins[0].username)
		})
	}
}

func FuzzDockerConfig(f *testing.F) {
	for _, seed := range []string{
		`{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cGFzcw=="},"*.example.com:5000/a":{"username":"me","password":"p"}}}`,
		`{"auths":{"":{},"a b":{"auth":"!"},"[::1]":{"identitytoken":"x"}}}`, `{"auths":[]}`, `null`, ``,
	} {
		f.Add([]byte(seed), "example.com/a/b")
	}
	f.Fuzz(func(t *testing.T, content []byte, image string) {
		logins, malformed, err := parseDockerConfig(content)
		if err != nil {
			assert.Equal(t, errNotDockerConfig, err, "a text that quotes nothing")
			assert.Empty(t, logins)
		}
		assert.GreaterOrEqual(t, malformed, 0)
		for _, l := range logins {
			assert.NotNil(t, l.auth(), "an entry without credentials is no login")
			assert.NotEmpty(t, l.scope.labels)
			assert.NotContains(t, strings.Join(l.scope.labels, "."), "/")
		}
		assert.LessOrEqual(t, len(lookup(logins, image)), len(logins))
	})
}
