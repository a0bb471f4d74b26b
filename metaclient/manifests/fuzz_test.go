package manifests

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// White-box: decoding is a pure function.
func FuzzFile(f *testing.F) {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: x}]}\n"
	f.Add(false, []byte(pod))
	f.Add(false, []byte("---\n--- # x\n"+pod+"---\n- 1\n---\n{a: {b: [1, 2, {c: d}]}, ? [1] : 2}\n"))
	f.Add(true, []byte(`{"apiVersion":"v1","kind":"List","items":[{"kind":"Pod","metadata":{"name":5}},null]}`))
	f.Add(false, []byte("apiVersion: v1\nkind: PodList\nitems: [{metadata: &a {name: x, <<: *a}, spec: {priority: 1e400}}]"))
	f.Add(false, []byte("apiVersion: v1\nkind: Pod\nspec: {containers: [{resources: {limits: {cpu: 1e}}, livenessProbe: {httpGet: {port: {}}}}]}"))
	f.Add(false, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{resources: {limits: {cpu: 12345678901234567890e2000000000}}}]}"))
	f.Add(true, []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"overhead":{"cpu":1e-2000000000,"cpu":"1"}}}`))
	f.Add(false, []byte("apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: a}, status: {allocatedResources: {cpu: '0e2000000000'}}}]"))
	f.Add(false, []byte("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {b: c}\n---\napiVersion: v1\nkind: ConfigMapList\nitems: [{metadata: {name: c}, data: {../x: y}, binaryData: {z: AA==}}]"))
	f.Fuzz(func(t *testing.T, isJSON bool, data []byte) {
		name := "a.yaml"
		if isJSON {
			name = "a.json"
		}
		d := decoder{nodeName: "edge-1"}
		got := d.file(name, data)
		for _, e := range got.entries {
			o := e.object
			require.NotEmpty(t, o.GetName())
			require.NotContains(t, o.GetName()+o.GetNamespace()+string(o.GetUID()), "/")
			if pod, ok := o.(*corev1.Pod); ok {
				require.NotEmpty(t, pod.UID)
				require.Equal(t, "edge-1", pod.Spec.NodeName)
			}
			require.Positive(t, e.document)
		}
		for _, p := range got.problems {
			require.NotEmpty(t, p.Message)
			require.Equal(t, name, p.File)
		}
		require.Equal(t, got, d.file(name, data))
	})
}
