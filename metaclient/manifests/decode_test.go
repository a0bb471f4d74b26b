package manifests_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/edged-project/edged/metaclient/manifests"
)

func TestFolderWithAllSortsOfTroubleRunsWhatIsFine(t *testing.T) {
	dir := folder(t, map[string]string{
		"broken.yaml":  "apiVersion: v1\nkind: Pod\n  metadata: [\n",
		"kind.yaml":    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: prod}\n",
		"noname.yaml":  "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: x}]}\n",
		"image.yaml":   "apiVersion: v1\nkind: Pod\nmetadata: {name: img}\nspec: {containers: [{name: a, image: 'Not Good'}]}\n",
		"unknown.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: unk}\nspec: {containers: [{name: a, image: x, imagee: y}]}\n",
		"web.yaml":     web,
	})
	pods, problems := read(t, dir, manifests.Config{})
	assert.Equal(t, []string{"default/img", "default/unk", "default/web"}, names(pods))
	require.Len(t, problems, 5)
	assert.Equal(t, "broken.yaml", problems[0].File)
	assert.Contains(t, problems[0].Message, "line 3")
	assert.Equal(t, []manifests.Problem{
		{File: "image.yaml", Document: 1, Object: "Pod default/img", Field: "spec.containers[0].image",
			Message: `image "Not Good": invalid reference format: repository name (library/Not Good) must be lowercase`, Warning: true},
		{File: "kind.yaml", Document: 1, Object: "Deployment prod/web", Field: "kind",
			Message: "Deployment of apps/v1 is not served from a folder, only v1 Pod, ConfigMap, Secret and lists of them are"},
		{File: "noname.yaml", Document: 1, Object: "Pod", Field: "metadata.name",
			Message: "Required value: names are not generated without an API server"},
		{File: "unknown.yaml", Document: 1, Object: "Pod default/unk", Field: "spec.containers[0].imagee",
			Message: "unknown field", Warning: true},
	}, problems[1:])
	assert.Equal(t, "unknown.yaml (document 1): Pod default/unk: spec.containers[0].imagee: unknown field", problems[4].String())
}

func TestDocumentsThatCannotBeUsedAreSetAsideAlone(t *testing.T) {
	pod := func(meta, spec string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {" + meta + "}\nspec: {" + spec + "}\n"
	}
	for name, tc := range map[string]struct {
		doc            string
		field, message string
	}{
		"broken yaml":       {"a: b: c", "", "yaml: mapping values are not allowed in this context"},
		"scalar":            {"hello", "", "not a Kubernetes object"},
		"sequence":          {"- a\n- b", "", "not a Kubernetes object"},
		"no kind":           {"apiVersion: v1\nmetadata: {name: a}", "kind", "kind is missing"},
		"kind of bad type":  {"apiVersion: v1\nkind: 5", "kind", "kind is missing"},
		"no version":        {"kind: Pod\nmetadata: {name: a}", "apiVersion", "apiVersion is missing"},
		"other version":     {"apiVersion: v2\nkind: Pod", "kind", "Pod of v2 is not served from a folder, only v1 Pod, ConfigMap, Secret and lists of them are"},
		"service":           {"apiVersion: v1\nkind: Service", "kind", "Service of v1 is not served from a folder, only v1 Pod, ConfigMap, Secret and lists of them are"},
		"generated name":    {pod("generateName: a-", ""), "metadata.name", "Required value: names are not generated without an API server"},
		"bad name":          {pod("name: Not_Good", ""), "metadata.name", `Invalid value: "Not_Good": a lowercase RFC 1123 subdomain`},
		"bad namespace":     {pod("name: a, namespace: a.b", ""), "metadata.namespace", `Invalid value: "a.b": must not contain dots`},
		"bad label":         {pod("name: a, labels: {'a b': c}", ""), "metadata.labels", `Invalid value: "a b"`},
		"uid is a path":     {pod("name: a, uid: ../../etc", ""), "metadata.uid", `Invalid value: "../../etc"`},
		"other node":        {pod("name: a", "nodeName: edge-2"), "spec.nodeName", `Invalid value: "edge-2": pod is for another node than edge-1`},
		"number for string": {pod("name: a", "containers: [{name: a, image: x}, {name: b, env: [{name: PORT, value: 80}]}]"), "spec.containers[1].env[0].value", "must be string, not number"},
		"string for number": {pod("name: a", "containers: [{ports: [{containerPort: '80'}]}]"), "spec.containers[0].ports[0].containerPort", "must be int32, not string"},
		"list for object":   {pod("name: a", "containers: {name: a}"), "spec.containers", "must be []v1.Container, not object"},
		"object for list":   {pod("name: a", "securityContext: []"), "spec.securityContext", "must be v1.PodSecurityContext, not array"},
		"object for string": {pod("name: {a: b}", ""), "metadata.name", "must be string, not object"},
		"endless quantity":  {pod("name: a", "containers: [{resources: {limits: {cpu: 12345678901234567890e2000000000}}}]"), "spec.containers[0].resources.limits.cpu", "Invalid value: a quantity may have at most 64 characters"},
		"huge quantity":     {pod("name: a", "volumes: [{emptyDir: {sizeLimit: '1e2000000000'}}]"), "spec.volumes[0].emptyDir.sizeLimit", "exponent of at most 3 digits"},
		"hidden quantity":   {`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"overhead":{"cpu":1e-2000000000,"cpu":"1"}}}`, "spec.overhead.cpu", "exponent of at most 3 digits"},
		"huge in a list":    {"apiVersion: v1\nkind: PodList\nitems: [{spec: {resources: {requests: {cpu: '0e2000000000'}}}}]", "items[0].spec.resources.requests.cpu", "exponent of at most 3 digits"},
		"huge in a status":  {"apiVersion: v1\nkind: Pod\nstatus: {allocatedResources: {cpu: 12345678901234567890e2000000000}}", "status.allocatedResources.cpu", "exponent of at most 3 digits"},
		"bad quantity":      {pod("name: a", "containers: [{resources: {limits: {memory: 1Gx}}}]"), "spec.containers[0].resources.limits.memory", "quantities must match the regular expression"},
		"overflow":          {pod("name: a", "priority: 99999999999"), "spec.priority", "must be int32, not number 99999999999"},
		"spec of bad type":  {"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: none\n", "spec", "must be v1.PodSpec, not string"},
		"list in a list":    {"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List}]", "items[0].kind", "a list in a list is not served"},
		"other in a list":   {"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Service}]", "items[0].kind", "Service of v1 is not served"},
		"null in a list":    {"apiVersion: v1\nkind: List\nitems: [null]", "items[0]", "not a Kubernetes object"},
		"no list":           {"apiVersion: v1\nkind: List\nitems: {}", "items", "must be []json.RawMessage, not object"},
		"bad pod in a list": {"apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: a}, spec: {priority: high}}]", "items[0].spec.priority", "must be int32, not string"},
	} {
		t.Run(name, func(t *testing.T) {
			pods, problems := one(t, web+"---\n"+tc.doc+"\n---\n"+strings.Replace(web, "name: web", "name: last", 1))
			assert.Equal(t, []string{"default/web", "default/last"}, names(pods))
			require.NotEmpty(t, problems)
			p := problems[0]
			assert.Equal(t, "pod.yaml", p.File)
			assert.Equal(t, 2, p.Document)
			assert.False(t, p.Warning)
			assert.Equal(t, tc.field, p.Field)
			assert.Contains(t, p.Message, tc.message)
		})
	}
}

func TestEachBadFieldIsNamed(t *testing.T) {
	_, problems := one(t, `{apiVersion: v1, kind: Pod, metadata: {name: 1}, spec: {priority: x, hostNetwork: 7, nodeName: ok}}`)
	fields := []string{}
	for _, p := range problems {
		fields = append(fields, p.Field)
	}
	assert.Equal(t, []string{"metadata.name", "spec.hostNetwork", "spec.priority"}, fields)
}

func TestValuesOfEnvAreNotRepeated(t *testing.T) {
	_, problems := one(t, `{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{env: [{name: A, value: {s3cret: s3cret}}]}]}}`)
	require.Len(t, problems, 1)
	assert.NotContains(t, problems[0].Message, "s3cret")
}

func TestTextThatOnlyLooksLikeAHugeQuantityIsNoProblem(t *testing.T) {
	pods, problems := one(t, strings.ReplaceAll(`
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {cpu: HUGE}, annotations: {divisor: HUGE}}
spec:
  nodeSelector: {sizeLimit: HUGE}
  volumes: [{name: v, csi: {driver: d, volumeAttributes: {sizeLimit: HUGE}}}]
  containers: [{name: main, image: x, args: [HUGE], env: [{name: cpu, value: HUGE}]}]
`, "HUGE", "12345678901234567890e2000000000"))
	assert.Empty(t, problems)
	assert.Equal(t, []string{"default/web"}, names(pods))
}

func TestWarningsDoNotStopAPod(t *testing.T) {
	for name, tc := range map[string]struct {
		file    string
		content string
		want    []string // field: message
	}{
		"unknown fields": {"a.yaml", web + "  foo: 1\nbar: {baz: 2}\n",
			[]string{"spec.foo: unknown field", "bar: unknown field"}},
		"wrong case": {"a.yaml", strings.Replace(web, "spec:", "hostnetwork: true\nspec:", 1), []string{"hostnetwork: unknown field"}},
		"repeated in yaml": {"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: x, name: web}\nspec:\n  containers:\n  - name: main\n    image: a\n    image: b\n",
			[]string{"metadata.name: duplicate field", "spec.containers[0].image: duplicate field"}},
		"repeated in json": {"a.json", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","name":"web"},"spec":{"containers":[{"name":"main","image":"a","image":"b"}]}}`,
			[]string{"metadata.name: duplicate field", "spec.containers[0].image: duplicate field"}},
		"in a list": {"a.yaml", "apiVersion: v1\nkind: List\nitem: []\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {foo: 1, nodeName: edge-1, nodeName: edge-1}}\n",
			[]string{"item: unknown field", "items[0].spec.foo: unknown field", "items[0].spec.nodeName: duplicate field"}},
		"merge keys are not repeats": {"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: &m {name: web}\nspec:\n  nodeSelector: {<<: {a: b, c: d}, a: x}\n", nil},
		"images": {"a.yaml", strings.Replace(web, "spec:", "spec:\n  initContainers: [{name: i, image: ''}]", 1),
			[]string{`spec.initContainers[0].image: image "": invalid reference format`}},
	} {
		t.Run(name, func(t *testing.T) {
			pods, problems := read(t, folder(t, map[string]string{tc.file: tc.content}), manifests.Config{NodeName: "edge-1"})
			assert.Equal(t, []string{"default/web"}, names(pods))
			var got []string
			for _, p := range problems {
				assert.True(t, p.Warning)
				got = append(got, p.Field+": "+p.Message)
			}
			assert.ElementsMatch(t, tc.want, got)
		})
	}
}

func TestFormsOfDocuments(t *testing.T) {
	webJSON := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"main","image":"x"}]}}`
	for name, tc := range map[string]struct {
		file, content string
		want          []string
	}{
		"yml":                   {"a.yml", web, []string{"default/web"}},
		"json":                  {"a.json", webJSON, []string{"default/web"}},
		"json with tabs":        {"a.json", strings.ReplaceAll(webJSON, ",", ",\n\t"), []string{"default/web"}},
		"json in a yaml":        {"a.yaml", "---\n" + strings.ReplaceAll(webJSON, ",", ",\n\t"), []string{"default/web"}},
		"empty documents":       {"a.yaml", "---\n---\n# nothing\n---\n" + web + "---\n", []string{"default/web"}},
		"windows line ends":     {"a.yaml", strings.ReplaceAll("# x\n---\n"+web, "\n", "\r\n"), []string{"default/web"}},
		"comment behind dashes": {"a.yaml", "--- # first\n" + web, []string{"default/web"}},
		"byte order mark":       {"a.yaml", "\ufeff" + web, []string{"default/web"}},
		"list":                  {"a.yaml", "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: ''}\nitems: [" + webJSON + "]", []string{"default/web"}},
		"pod list":              {"a.yaml", "apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: a, namespace: b}}, " + webJSON + "]", []string{"b/a", "default/web"}},
		"empty list":            {"a.yaml", "apiVersion: v1\nkind: PodList\nitems: []", []string{}},
		"only comments":         {"a.yaml", "# nothing\n", []string{}},
		"another ending":        {"a.txt", web, []string{}},
		"upper case ending":     {"a.YAML", web, []string{}},
		"dot file":              {".a.yaml", web, []string{}},
		"editor's backup":       {"a.yaml~", web, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			pods, problems := read(t, folder(t, map[string]string{tc.file: tc.content}), manifests.Config{})
			assert.Equal(t, tc.want, names(pods))
			for _, p := range problems {
				assert.True(t, p.Warning, p.String()) // images
			}
		})
	}
}

func TestFileThatCannotBeSplitIsSetAsideAsAWhole(t *testing.T) {
	pods, problems := one(t, web+"--- foo\n")
	assert.Empty(t, pods)
	require.Len(t, problems, 1)
	assert.Zero(t, problems[0].Document)
	assert.Contains(t, problems[0].Message, "cannot split file into documents")
}

func TestBrokenJSONIsToldAsJSON(t *testing.T) {
	_, problems := read(t, folder(t, map[string]string{"a.json": `{"apiVersion": "v1",}`}), manifests.Config{})
	require.Len(t, problems, 1)
	assert.Contains(t, problems[0].Message, "not valid JSON: invalid character '}'")
}

func TestProblemsOfOneFileAreBounded(t *testing.T) {
	for name, content := range map[string]string{
		"many documents": strings.Repeat("hello\n---\n", 5000),
		"many fields":    "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [" + strings.Repeat("1, ", 5000) + "]}}",
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := one(t, content)
			require.Len(t, problems, 101)
			assert.Equal(t, "further problems of this file are not listed", problems[100].Message)
		})
	}
}

func TestWhatAPodBecomes(t *testing.T) {
	pods, problems := one(t, `
apiVersion: v1
kind: Pod
metadata:
  name: web
  generateName: web-
  labels: {app: web}
  annotations: {mine: "1", kubernetes.io/config.mirror: abc}
  resourceVersion: "77"
  generation: 3
  creationTimestamp: "2020-01-01T00:00:00Z"
  deletionTimestamp: "2020-01-01T00:00:00Z"
  finalizers: [example.test/x]
  managedFields: [{manager: kubectl}]
spec:
  containers: [{name: main, image: x}]
status: {phase: Running}
`)
	require.Empty(t, problems)
	pod := pods[0]
	assert.Equal(t, "v1", pod.APIVersion)
	assert.Equal(t, "Pod", pod.Kind)
	assert.Equal(t, "default", pod.Namespace)
	assert.Equal(t, "web", pod.Name, "no suffix with the node's name")
	assert.Equal(t, "edge-1", pod.Spec.NodeName)
	assert.Equal(t, map[string]string{"app": "web"}, pod.Labels)
	assert.Equal(t, map[string]string{
		"mine":                        "1",
		"kubernetes.io/config.source": "file",
		"kubernetes.io/config.hash":   string(pod.UID),
	}, pod.Annotations)
	assert.Contains(t, pod.Spec.Tolerations, corev1.Toleration{Operator: "Exists", Effect: "NoExecute"})
	assert.Empty(t, pod.Status)
	assert.Empty(t, pod.ResourceVersion)
	assert.Zero(t, pod.Generation)
	assert.True(t, pod.CreationTimestamp.IsZero())
	assert.Nil(t, pod.DeletionTimestamp)
	assert.Empty(t, pod.Finalizers)
	assert.Empty(t, pod.ManagedFields)
}

func TestWithoutANodeNamePodsAreLeftAsTheyAre(t *testing.T) {
	pods, problems := read(t, folder(t, map[string]string{
		"a.yaml": strings.Replace(web, "spec:", "spec:\n  nodeName: somewhere", 1),
	}), manifests.Config{})
	require.Empty(t, problems)
	assert.Equal(t, "somewhere", pods[0].Spec.NodeName)
}

func TestTolerationIsNotAddedTwice(t *testing.T) {
	pods, _ := one(t, strings.Replace(web, "spec:", "spec:\n  tolerations: [{operator: Exists, effect: NoExecute}]", 1))
	assert.Len(t, pods[0].Spec.Tolerations, 1)
}

func TestUIDIdentifiesContentAndNode(t *testing.T) {
	uid := func(file, content, node string) types.UID {
		pods, _ := read(t, folder(t, map[string]string{file: content}), manifests.Config{NodeName: node})
		require.Len(t, pods, 1)
		require.Regexp(t, "^[0-9a-f]{32}$", string(pods[0].UID))
		return pods[0].UID
	}
	base := uid("a.yaml", web, "edge-1")
	for name, same := range map[string]string{
		"again":          web,
		"comments":       "# hello\n" + web + "# bye\n",
		"key order":      "kind: Pod\nspec: {containers: [{image: 'example.test/web:1', name: main}]}\nmetadata: {name: web}\napiVersion: v1\n",
		"json":           `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"main","image":"example.test/web:1"}]}}`,
		"in a list":      `{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"web"},"spec":{"containers":[{"name":"main","image":"example.test/web:1"}]}}]}`,
		"server's parts": strings.Replace(web, "{name: web}", "{name: web, creationTimestamp: null, resourceVersion: '5'}", 1) + "status: {}\n",
	} {
		assert.Equal(t, base, uid("other.yaml", same, "edge-1"), name)
	}
	for name, other := range map[string]string{
		"image":      strings.Replace(web, "web:1", "web:2", 1),
		"name":       strings.Replace(web, "name: web", "name: shop", 1),
		"namespace":  strings.Replace(web, "{name: web}", "{name: web, namespace: prod}", 1),
		"label":      strings.Replace(web, "{name: web}", "{name: web, labels: {a: b}}", 1),
		"annotation": strings.Replace(web, "{name: web}", "{name: web, annotations: {a: b}}", 1),
	} {
		assert.NotEqual(t, base, uid("a.yaml", other, "edge-1"), name)
	}
	assert.NotEqual(t, base, uid("a.yaml", web, "edge-2"))
	// Written down, so that an update of the agent cannot change it unnoticed:
	// every pod on every node would be restarted.
	assert.Equal(t, types.UID("35ef60d865dddd7d7c03f72c810b0748"), base)
}

func TestExplicitUIDIsKeptOverEdits(t *testing.T) {
	read := func(image string) *corev1.Pod {
		pods, problems := one(t, fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: a, uid: my-uid}, spec: {containers: [{image: '%s'}]}}", image))
		require.Empty(t, problems)
		return pods[0]
	}
	before, after := read("web:1"), read("web:2")
	assert.Equal(t, types.UID("my-uid"), before.UID)
	assert.Equal(t, types.UID("my-uid"), after.UID)
	assert.NotEqual(t, before.Annotations["kubernetes.io/config.hash"], after.Annotations["kubernetes.io/config.hash"])
}

func TestCompleteFillsInAndRefuses(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": web + "---\n" + strings.ReplaceAll(web, "web", "shop")})
	pods, problems := read(t, dir, manifests.Config{NodeName: "edge-1", Complete: func(pod *corev1.Pod) field.ErrorList {
		assert.Equal(t, "edge-1", pod.Spec.NodeName)
		assert.NotEmpty(t, pod.UID)
		if pod.Name == "shop" {
			return field.ErrorList{field.Required(field.NewPath("spec", "x"), "really"), field.Forbidden(field.NewPath("spec", "y"), "no")}
		}
		pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
		return nil
	}})
	require.Equal(t, []string{"default/web"}, names(pods))
	assert.Equal(t, corev1.RestartPolicyAlways, pods[0].Spec.RestartPolicy)
	assert.Equal(t, []manifests.Problem{
		{File: "a.yaml", Document: 2, Object: "Pod default/shop", Field: "spec.x", Message: "Required value: really"},
		{File: "a.yaml", Document: 2, Object: "Pod default/shop", Field: "spec.y", Message: "Forbidden: no"},
	}, problems)
}

func TestDefaultsDoNotChangeTheUID(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": web})
	plain, _ := read(t, dir, manifests.Config{})
	completed, _ := read(t, dir, manifests.Config{Complete: func(pod *corev1.Pod) field.ErrorList {
		pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
		return nil
	}})
	assert.Equal(t, plain[0].UID, completed[0].UID)
}

func TestOfTwoPodsWithOneNameTheFirstFileWins(t *testing.T) {
	second := strings.Replace(web, "web:1", "web:2", 1)
	pods, problems := read(t, folder(t, map[string]string{"b.yaml": second, "a.yaml": web}), manifests.Config{})
	require.Len(t, pods, 1)
	assert.Equal(t, "example.test/web:1", pods[0].Spec.Containers[0].Image)
	assert.Equal(t, []manifests.Problem{{File: "b.yaml", Document: 1, Object: "Pod default/web", Field: "metadata.name",
		Message: "pod is already given by file a.yaml"}}, problems)
}

func TestOfTwoPodsWithOneUIDTheFirstWins(t *testing.T) {
	pod := "{apiVersion: v1, kind: Pod, metadata: {name: %s, uid: u}, spec: {containers: [{image: x}]}}\n"
	pods, problems := one(t, fmt.Sprintf(pod, "a")+"---\n"+fmt.Sprintf(pod, "b"))
	assert.Equal(t, []string{"default/a"}, names(pods))
	assert.Equal(t, []manifests.Problem{{File: "pod.yaml", Document: 2, Object: "Pod default/b", Field: "metadata.uid",
		Message: "uid is already used in file pod.yaml"}}, problems)
}

func TestFilesThatAreNoFiles(t *testing.T) {
	dir := folder(t, map[string]string{"web.yaml": web})
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub.yaml"), 0o700))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, "dangling.yaml")))
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "loop.yaml")))
	pods, problems := read(t, dir, manifests.Config{})
	assert.Equal(t, []string{"default/web"}, names(pods))
	require.Len(t, problems, 1)
	assert.Equal(t, "dangling.yaml", problems[0].File)
}

func TestHugeFileIsNotRead(t *testing.T) {
	dir := folder(t, map[string]string{"web.yaml": web, "exact.yaml": ""})
	require.NoError(t, os.Truncate(filepath.Join(dir, "exact.yaml"), 10<<20+1))
	pods, problems := read(t, dir, manifests.Config{})
	assert.Equal(t, []string{"default/web"}, names(pods))
	require.Len(t, problems, 1)
	assert.Equal(t, "file is larger than 10 MiB", problems[0].Message)
}

func TestMountedConfigMapIsRead(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "..2026"), 0o700))
	write(t, filepath.Join(dir, "..2026"), "web.yaml", web)
	require.NoError(t, os.Symlink("..2026", filepath.Join(dir, "..data")))
	require.NoError(t, os.Symlink("..data/web.yaml", filepath.Join(dir, "web.yaml")))
	pods, problems := read(t, dir, manifests.Config{})
	assert.Equal(t, []string{"default/web"}, names(pods))
	assert.Empty(t, problems)
}
