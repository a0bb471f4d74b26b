package podspec_test

import (
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// lines are the variables in order, as env(1) prints them.
func lines(config *runtimeapi.ContainerConfig) []string {
	var text []string
	for _, pair := range config.Envs {
		text = append(text, pair.Key+"="+string(pair.Value))
	}
	return text
}

func TestLiteralEnvironment(t *testing.T) {
	label := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['tpl']"}}
	pod := completePod(t,
		meta(func(p *corev1.Pod) {
			p.Labels = map[string]string{"tpl": "plain"}
			p.Annotations = map[string]string{"tpl": "$(A)"}
		}),
		env(
			corev1.EnvVar{Name: "A", Value: "1"},
			corev1.EnvVar{Name: "B", Value: "$(A)-$(C)-$$(A)"},
			corev1.EnvVar{Name: "C", Value: "3"},
			corev1.EnvVar{Name: "EMPTY"},
			corev1.EnvVar{Name: "A", Value: "again $(A)"},
			corev1.EnvVar{Name: "LABEL", ValueFrom: label},
			corev1.EnvVar{Name: "RAW", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['tpl']"}}},
			corev1.EnvVar{Name: "USE", Value: "$(RAW)"},
		))
	assert.Equal(t, []string{
		"A=again 1",
		"B=1-$(C)-$(A)",
		"C=3",
		"EMPTY=",
		"LABEL=plain",
		"RAW=$(A)",
		"USE=$(A)",
	}, lines(container(t, pod, options())), "earlier variables only; what comes from elsewhere is not expanded")
}

func TestFieldsInTheEnvironment(t *testing.T) {
	pod := newPod(meta(func(p *corev1.Pod) {
		p.Labels = map[string]string{"app": "web", "z": "q\"\n"}
		p.Annotations = map[string]string{"note": "x"}
	}), spec(func(s *corev1.PodSpec) { s.ServiceAccountName = "robot" }))
	opts := options(func(o *podspec.ContainerOptions) {
		o.NodeName, o.HostIPs, o.PodIPs = "node-7", []string{"192.0.2.7", "2001:db8::7"}, []string{"10.0.0.9", "fd00::9"}
	})
	for path, want := range map[string]string{
		"metadata.name":                 "web",
		"metadata.namespace":            "shop",
		"metadata.uid":                  "uid-1",
		"metadata.labels['app']":        "web",
		"metadata.labels['nope']":       "",
		"metadata.annotations['note']":  "x",
		"metadata.labels":               "app=\"web\"\nz=\"q\\\"\\n\"",
		"metadata.annotations":          `note="x"`,
		"spec.nodeName":                 "node-7",
		"spec.serviceAccountName":       "robot",
		"status.hostIP":                 "192.0.2.7",
		"status.hostIPs":                "192.0.2.7,2001:db8::7",
		"status.podIP":                  "10.0.0.9",
		"status.podIPs":                 "10.0.0.9,fd00::9",
		"metadata.annotations['a[b]c']": "",
	} {
		t.Run(path, func(t *testing.T) {
			env(from(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}))(pod)
			assert.Equal(t, []string{"A=" + want}, lines(container(t, pod, opts)))
		})
	}
	pod.Spec.NodeName = "scheduled"
	env(from(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}))(pod)
	assert.Equal(t, []string{"A=scheduled"}, lines(container(t, pod, opts)))
}

func TestPodIPsInTheEnvironment(t *testing.T) {
	for name, row := range map[string]struct {
		pod, host []string
		onHost    bool
		want      string
	}{
		"as they are":             {[]string{"10.0.0.9"}, []string{"192.0.2.7"}, false, "10.0.0.9"},
		"the node's family":       {[]string{"fd00::9", "10.0.0.9"}, []string{"192.0.2.7"}, false, "10.0.0.9,fd00::9"},
		"one of each family":      {[]string{"10.0.0.9", "10.0.0.10", "fd00::9", "fd00::10"}, []string{"2001:db8::7"}, false, "fd00::9,10.0.0.9"},
		"no node address":         {[]string{"fd00::9", "10.0.0.9"}, nil, false, "fd00::9,10.0.0.9"},
		"not an address":          {[]string{"none"}, nil, false, ""},
		"not yet":                 {nil, []string{"192.0.2.7"}, false, ""},
		"of the host, on its own": {nil, []string{"192.0.2.7", "2001:db8::7"}, true, "192.0.2.7,2001:db8::7"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(spec(func(s *corev1.PodSpec) { s.HostNetwork = row.onHost }),
				env(from(corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIPs"}})))
			got := container(t, pod, options(func(o *podspec.ContainerOptions) { o.PodIPs, o.HostIPs = row.pod, row.host }))
			assert.Equal(t, []string{"A=" + row.want}, lines(got))
		})
	}
}

func TestFieldsThatAreNot(t *testing.T) {
	for name, ref := range map[string]corev1.ObjectFieldSelector{
		"unknown":            {FieldPath: "status.phase"},
		"key of no map":      {FieldPath: "metadata.name['x']"},
		"API version":        {FieldPath: "metadata.name", APIVersion: "v2"},
		"no node address":    {FieldPath: "status.hostIP"},
		"unterminated key":   {FieldPath: "metadata.labels['x"},
		"key without a path": {FieldPath: "['x']"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(env(from(corev1.EnvVarSource{FieldRef: &ref})))
			_, err := podspec.Container(pod, &pod.Spec.Containers[0], options())
			assert.Contains(t, requireReason(t, err, podspec.ReasonContainerConfig), "spec.containers[0].env[0].valueFrom.fieldRef")
		})
	}
}

func TestResourcesInTheEnvironment(t *testing.T) {
	pod := newPod(spec(func(s *corev1.PodSpec) {
		s.InitContainers = []corev1.Container{{Name: "init", Image: "x", Resources: corev1.ResourceRequirements{Requests: list("cpu", "2")}}}
		s.Containers[0].Resources = corev1.ResourceRequirements{
			Limits:   list("memory", "100Mi", "hugepages-2Mi", "4Mi"),
			Requests: list("cpu", "1250m", "memory", "1", "ephemeral-storage", "1Gi", "hugepages-2Mi", "4Mi"),
		}
	}))
	opts := options(func(o *podspec.ContainerOptions) {
		o.Allocatable = list("cpu", "4", "memory", "8Gi", "ephemeral-storage", "10Gi")
	})
	for _, row := range []struct{ container, resource, divisor, want string }{
		{"", "requests.cpu", "", "2"},
		{"", "requests.cpu", "1", "2"},
		{"", "requests.cpu", "1m", "1250"},
		{"", "limits.cpu", "", "4"},
		{"", "limits.memory", "1Mi", "100"},
		{"", "limits.memory", "", "104857600"},
		{"", "limits.memory", "1Gi", "1"},
		{"", "requests.memory", "1Gi", "1"},
		{"", "limits.ephemeral-storage", "1Gi", "10"},
		{"", "requests.ephemeral-storage", "1Mi", "1024"},
		{"", "limits.hugepages-2Mi", "1Mi", "4"},
		{"app", "requests.cpu", "1m", "1250"},
		{"init", "requests.cpu", "", "2"},
		{"init", "requests.memory", "", "0"},
		{"init", "limits.memory", "1Gi", "8"},
		{"init", "limits.hugepages-2Mi", "", "0"},
	} {
		t.Run(row.container+" "+row.resource+"/"+row.divisor, func(t *testing.T) {
			ref := &corev1.ResourceFieldSelector{ContainerName: row.container, Resource: row.resource}
			if row.divisor != "" {
				ref.Divisor = list("d", row.divisor)["d"]
			}
			env(from(corev1.EnvVarSource{ResourceFieldRef: ref}))(pod)
			assert.Equal(t, []string{"A=" + row.want}, lines(container(t, pod, opts)))
		})
	}
}

func TestResourcesThatAreNot(t *testing.T) {
	for name, ref := range map[string]corev1.ResourceFieldSelector{
		"container": {ContainerName: "nobody", Resource: "limits.cpu"},
		"list":      {Resource: "usage.cpu"},
		"resource":  {Resource: "limits.disk"},
		"none":      {},
		"divisor":   {Resource: "limits.cpu", Divisor: list("d", "-1")["d"]},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(env(from(corev1.EnvVarSource{ResourceFieldRef: &ref})))
			_, err := podspec.Container(pod, &pod.Spec.Containers[0], options())
			message := requireReason(t, err, podspec.ReasonContainerConfig)
			assert.Contains(t, message, "spec.containers[0].env[0].valueFrom.resourceFieldRef")
		})
	}
}

func TestEnvironmentWithoutSource(t *testing.T) {
	pod := newPod(env(from(corev1.EnvVarSource{})))
	_, err := podspec.Container(pod, &pod.Spec.Containers[0], options())
	require.ErrorContains(t, err, "spec.containers[0].env[0].valueFrom")
}
