package manifests_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/manifests"
)

const hidden = "correct-horse-battery-staple"

// conf is a manifest of a good ConfigMap.
const conf = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {mode: fast}\n"

// cred is a manifest of a good Secret.
const cred = "apiVersion: v1\nkind: Secret\nmetadata: {name: cred}\nstringData: {password: " + hidden + "}\n"

func configMapRef(name string) metaclient.Ref {
	return metaclient.Ref{Kind: metaclient.KindConfigMap, Namespace: "default", Name: name}
}

func secretRef(name string) metaclient.Ref {
	return metaclient.Ref{Kind: metaclient.KindSecret, Namespace: "default", Name: name}
}

// object reads a folder with a single file and returns its only object, nil if
// there is none.
func object(t *testing.T, content string) (metav1.Object, []manifests.Problem) {
	t.Helper()
	dir := folder(t, map[string]string{"a.yaml": content})
	w := watch(t, dir, manifests.Config{})
	w.eventually(t)
	for _, o := range w.pushed() {
		return o, w.src.Problems()
	}
	return nil, w.src.Problems()
}

func TestWhatAConfigMapBecomes(t *testing.T) {
	o, problems := object(t, `
apiVersion: v1
kind: ConfigMap
metadata: {name: conf, labels: {a: b}, resourceVersion: "7", uid: u, creationTimestamp: "2020-01-01T00:00:00Z", managedFields: [{manager: kubectl}]}
data: {mode: fast, empty: ""}
binaryData: {logo: AAEC}
immutable: true
`)
	require.Empty(t, problems)
	assert.Equal(t, &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "conf", UID: "u", Labels: map[string]string{"a": "b"}},
		Data:       map[string]string{"mode": "fast", "empty": ""},
		BinaryData: map[string][]byte{"logo": {0, 1, 2}},
		Immutable:  new(true),
	}, o)
}

func TestWhatASecretBecomes(t *testing.T) {
	o, problems := object(t, `
apiVersion: v1
kind: Secret
metadata: {name: cred, namespace: prod}
data: {user: YW5u, password: b2xk}
stringData: {password: new}
`)
	require.Empty(t, problems)
	assert.Equal(t, &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "cred"},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{"user": []byte("ann"), "password": []byte("new")},
	}, o, "stringData is written over data")
}

func TestBadObjectsAreSetAsideWithFileObjectAndFieldButNoValue(t *testing.T) {
	secret := func(rest string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: cred}\n" + rest
	}
	base64ed := base64.StdEncoding.EncodeToString([]byte(hidden))
	for name, tc := range map[string]struct {
		doc            string
		object         string
		field, message string
	}{
		"no name":          {"apiVersion: v1\nkind: ConfigMap\ndata: {a: b}", "ConfigMap", "metadata.name", "Required value"},
		"bad name":         {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: A_B}", "ConfigMap default/A_B", "metadata.name", "lowercase RFC 1123 subdomain"},
		"key is a path":    {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {../x: " + hidden + "}", "ConfigMap default/c", "data[../x]", "a valid config key"},
		"key is dots":      {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {'..': " + hidden + "}", "ConfigMap default/c", "data[..]", "must not be '..'"},
		"key twice":        {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\nbinaryData: {a: AA==}", "ConfigMap default/c", "data[a]", "is also a key of binaryData"},
		"large configmap":  {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: " + strings.Repeat("x", 1<<20) + ", b: z}", "ConfigMap default/c", "data", "values have 1048577 bytes, at most 1048576 are allowed"},
		"number in data":   {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {port: 80}", "ConfigMap default/c", "data.port", "must be string, not number"},
		"large secret":     {secret("stringData: {a: " + strings.Repeat("x", 1<<20) + ", b: z}"), "Secret default/cred", "data", "at most 1048576"},
		"not base64":       {secret("data: {password: " + hidden + "!}"), "Secret default/cred", "data.password", "illegal base64"},
		"no text":          {secret("stringData: {password: {" + hidden + ": 1}}"), "Secret default/cred", "stringData.password", "must be string, not object"},
		"number":           {secret("stringData: {password: 4711081599}"), "Secret default/cred", "stringData.password", "must be string, not number"},
		"anchor":           {secret("stringData: {password: *" + hidden + "}"), "", "", "unknown anchor"},
		"key of a secret":  {secret("data: {a/b: " + base64ed + "}"), "Secret default/cred", "data[a/b]", "a valid config key"},
		"tls without key":  {secret("type: kubernetes.io/tls\nstringData: {tls.crt: " + hidden + "}"), "Secret default/cred", "data[tls.key]", "Required value: a secret of type kubernetes.io/tls has it"},
		"basic auth":       {secret("type: kubernetes.io/basic-auth\nstringData: {x: " + hidden + "}"), "Secret default/cred", "data[username]", "Required value"},
		"ssh":              {secret("type: kubernetes.io/ssh-auth\nstringData: {x: " + hidden + "}"), "Secret default/cred", "data[ssh-privatekey]", "Required value"},
		"docker config":    {secret("type: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: " + hidden + "}"), "Secret default/cred", "data[.dockerconfigjson]", "is not valid JSON"},
		"no docker config": {secret("type: kubernetes.io/dockercfg"), "Secret default/cred", "data[.dockercfg]", "Required value"},
		"token":            {secret("type: kubernetes.io/service-account-token"), "Secret default/cred", "metadata.annotations[kubernetes.io/service-account.name]", "Required value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, map[string]string{"a.yaml": tc.doc + "\n---\n" + conf})
			w := watch(t, dir, manifests.Config{})
			w.eventually(t)
			require.Len(t, w.pushed(), 1, "the others go on")
			assert.Equal(t, "conf", w.pushed()[0].GetName())
			require.NotEmpty(t, w.src.Problems())
			p := w.src.Problems()[0]
			assert.Equal(t, "a.yaml", p.File)
			assert.Equal(t, 1, p.Document)
			assert.Equal(t, tc.object, p.Object)
			assert.Equal(t, tc.field, p.Field)
			assert.Contains(t, p.Message, tc.message)
			assert.False(t, p.Warning)
			for _, p := range w.src.Problems() {
				assert.NotContains(t, strings.ReplaceAll(p.String(), "stringData.password", ""), hidden)
				assert.NotContains(t, p.String(), "4711081599")
			}
		})
	}
}

func TestConfigMapsAndSecretsComeChangeAndGo(t *testing.T) {
	bothWays(t, func(t *testing.T, cfg manifests.Config) {
		dir := folder(t, map[string]string{"all.yaml": web + "---\n" + conf + "---\n" + cred})
		src := manifests.New(dir, cfg)
		_, err := src.Get(t.Context(), configMapRef("conf"))
		require.ErrorIs(t, err, metaclient.ErrOffline, "not read yet is not the same as not there")

		w := watch(t, dir, cfg)
		w.eventually(t, "default/web")
		require.Len(t, w.pushed(), 2)
		o, err := w.src.Get(t.Context(), secretRef("cred"))
		require.NoError(t, err)
		assert.Equal(t, hidden, string(o.(*corev1.Secret).Data["password"]))
		for _, ref := range []metaclient.Ref{configMapRef("cred"), secretRef("conf"), {Kind: metaclient.KindNode, Name: "conf"}} {
			_, err = w.src.Get(t.Context(), ref)
			assert.True(t, apierrors.IsNotFound(err))
		}

		write(t, dir, "all.yaml", web+"---\n"+strings.Replace(conf, "fast", "slow", 1))
		soon(t, func() bool { return len(w.removed()) == 1 })
		assert.Equal(t, []metaclient.Ref{secretRef("cred")}, w.removed())
		o, err = w.src.Get(t.Context(), configMapRef("conf"))
		require.NoError(t, err)
		assert.Equal(t, "slow", o.(*corev1.ConfigMap).Data["mode"])
		require.NoError(t, os.Remove(filepath.Join(dir, "all.yaml")))
		w.eventually(t)
	})
}

func TestPodsAreNotDeliveredForAConfigMapsSake(t *testing.T) {
	dir := folder(t, map[string]string{"web.yaml": web, "conf.yaml": conf})
	w := watch(t, dir, byRescan)
	w.eventually(t, "default/web")
	write(t, dir, "conf.yaml", strings.Replace(conf, "fast", "slow", 1))
	soon(t, func() bool { return len(w.pushed()) == 2 })
	write(t, dir, "shop.yaml", shop)
	w.eventually(t, "default/shop", "default/web")
	assert.Len(t, w.delivered(), 2)
	assert.Len(t, w.pushed(), 2)
}

func TestImmutableObjectsStayAsTheyAreUntilTheyAreRemoved(t *testing.T) {
	fixed := func(doc string) string { return doc + "immutable: true\n" }
	tls := func(kind string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: cred}\ntype: " + kind + "\nstringData: {tls.crt: a, tls.key: b}\n"
	}
	for name, tc := range map[string]struct{ before, after, field string }{
		"data":            {fixed(conf), fixed(strings.Replace(conf, "fast", "slow", 1)), "data"},
		"binary data":     {fixed(conf), fixed(conf + "binaryData: {a: AA==}\n"), "binaryData"},
		"no longer":       {fixed(conf), conf, "immutable"},
		"secret":          {fixed(cred), fixed(strings.Replace(cred, hidden, "x", 1)), "data"},
		"secret's type":   {tls("Opaque"), tls("kubernetes.io/tls"), "type"},
		"secret no more":  {fixed(cred), cred, "immutable"},
		"labels may":      {fixed(conf), fixed(strings.Replace(conf, "name: conf", "name: conf, labels: {a: b}", 1)), ""},
		"from now on may": {conf, fixed(conf), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, map[string]string{"a.yaml": tc.before})
			w := watch(t, dir, byRescan)
			w.eventually(t)
			require.Len(t, w.pushed(), 1)
			write(t, dir, "a.yaml", tc.after)
			if tc.field == "" {
				soon(t, func() bool { return len(w.pushed()) == 2 })
				assert.Empty(t, w.src.Problems())
				return
			}
			soon(t, func() bool { return len(w.src.Problems()) == 1 })
			p := w.src.Problems()[0]
			assert.Equal(t, tc.field, p.Field)
			assert.Contains(t, p.Message, "field is immutable")
			assert.Contains(t, p.Message, "it stays as it was, remove it first")
			assert.NotContains(t, p.String(), hidden)
			assert.Len(t, w.pushed(), 1)

			require.NoError(t, os.Remove(filepath.Join(dir, "a.yaml")))
			soon(t, func() bool { return len(w.removed()) == 1 })
			write(t, dir, "a.yaml", tc.after)
			soon(t, func() bool { return len(w.pushed()) == 2 })
			assert.Empty(t, w.src.Problems())
		})
	}
}

func TestObjectsOfAFileThatBreaksStay(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": conf + "---\n" + cred})
	w := watch(t, dir, byRescan)
	w.eventually(t)
	write(t, dir, "a.yaml", conf+"---\nkind: [")
	soon(t, func() bool { return len(w.src.Problems()) == 2 })
	assert.Equal(t, "Secret default/cred", w.src.Problems()[1].Object)
	assert.Contains(t, w.src.Problems()[1].Message, "secret stays as it was before its file broke")
	assert.Empty(t, w.removed())
	_, err := w.src.Get(t.Context(), secretRef("cred"))
	require.NoError(t, err)
}

func TestOfTwoObjectsWithOneNameTheFirstFileWinsAndKindsDoNotMatter(t *testing.T) {
	dir := folder(t, map[string]string{
		"a.yaml": conf, "b.yaml": strings.Replace(conf, "fast", "slow", 1),
		"c.yaml": strings.Replace(cred, "cred", "conf", 1), "d.yaml": strings.ReplaceAll(web, "web", "conf"),
	})
	w := watch(t, dir, byRescan)
	w.eventually(t, "default/conf")
	assert.Len(t, w.pushed(), 2)
	assert.Equal(t, []manifests.Problem{{File: "b.yaml", Document: 1, Object: "ConfigMap default/conf", Field: "metadata.name",
		Message: "configMap is already given by file a.yaml"}}, w.src.Problems())
}

func TestListsOfConfigMapsAndSecrets(t *testing.T) {
	dir := folder(t, map[string]string{
		"a.yaml": "apiVersion: v1\nkind: ConfigMapList\nitems: [{metadata: {name: a}}, {metadata: {name: b}, data: {x: z}}]",
		"b.yaml": "apiVersion: v1\nkind: SecretList\nitems: [{metadata: {name: c}, stringData: {x: z}}]",
		"c.json": `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Secret","metadata":{"name":"d"}},{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"e"}}]}`,
	})
	w := watch(t, dir, byRescan)
	w.eventually(t)
	got := []string{}
	for _, o := range w.pushed() {
		got = append(got, fmt.Sprintf("%T %s", o, o.GetName()))
	}
	assert.Equal(t, []string{"*v1.ConfigMap a", "*v1.ConfigMap b", "*v1.ConfigMap e", "*v1.Secret c", "*v1.Secret d"}, got)
	assert.Empty(t, w.src.Problems())
}

// After a power cut in the middle of a save, a Secret that the node has stored must
// not count as gone.
func TestFileThatWasNeverReadWholeMayHoldWhatIsNotThere(t *testing.T) {
	for name, broken := range map[string]string{"broken": conf + "---\nkind: [", "empty": "", "bad object": cred + "type: kubernetes.io/tls\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, map[string]string{"a.yaml": broken})
			w := watch(t, dir, byRescan)
			w.eventually(t)
			_, err := w.src.Get(t.Context(), secretRef("cred"))
			require.ErrorIs(t, err, metaclient.ErrOffline)
			write(t, dir, "a.yaml", conf)
			soon(t, func() bool {
				_, err := w.src.Get(t.Context(), secretRef("cred"))
				return apierrors.IsNotFound(err)
			})
			write(t, dir, "a.yaml", broken)
			soon(t, func() bool { return len(w.src.Problems()) > 0 })
			_, err = w.src.Get(t.Context(), secretRef("cred"))
			assert.True(t, apierrors.IsNotFound(err), "what it held is known")
			require.NoError(t, os.Remove(filepath.Join(dir, "a.yaml")))
			require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "a.yaml")))
			write(t, dir, "b.yaml", web)
			w.eventually(t, "default/web")
			_, err = w.src.Get(t.Context(), secretRef("cred"))
			require.Error(t, err)
		})
	}
}
