package podspec_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"
)

// slowQuantity is one of many digits with a large exponent.
var slowQuantity = regexp.MustCompile(`[0-9.]{9,}[eE]\+?[0-9]{4,}|[eE]-[0-9]{4,}`)

// A pod comes from a file or over the network: whatever is in it, nothing
// panics, completing it twice changes nothing more, and what is valid has a
// directory of its own.
func FuzzPod(f *testing.F) {
	manifests, err := filepath.Glob("testdata/*.yaml")
	require.NoError(f, err)
	for _, manifest := range manifests {
		content, err := os.ReadFile(manifest)
		require.NoError(f, err)
		asJSON, err := yaml.YAMLToJSON(content)
		require.NoError(f, err)
		f.Add(asJSON)
	}
	f.Add([]byte(`{"spec":{"containers":[{"env":[{"valueFrom":{"resourceFieldRef":{"resource":"limits.cpu","divisor":"1e30"}}}],"resources":{"limits":{"cpu":"-1e30","hugepages-":"1","hugepages-0":"9e99"}}}]}}`))
	f.Add([]byte(`{"spec":{"containers":[{"env":[{"valueFrom":{"resourceFieldRef":{"resource":"limits.memory","divisor":"1e2000000000"}}}],"resources":{"limits":{"cpu":"1e2000000000","memory":"1e2000000000"},"requests":{"cpu":"1"}}}]}}`))
	f.Add([]byte(`{"spec":{"runtimeClassName":"x","overhead":{"cpu":"1e30"},"containers":[{"envFrom":[{"prefix":"=","configMapRef":{"name":"settings"}},{}],"env":[{"name":"$(A)","valueFrom":{"secretKeyRef":{"name":"login","key":"USER"}}}],"volumeDevices":[{}]}]}}`))
	f.Add([]byte(`{"spec":{"ephemeralContainers":[{"targetContainerName":"x","lifecycle":{"preStop":{}},"livenessProbe":{}}],"volumes":[{"projected":{"sources":[{}]}}]}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		if slowQuantity.Match(content) {
			t.Skip("apimachinery parses it for hours")
		}
		pod := &corev1.Pod{}
		if json.Unmarshal(content, pod) != nil {
			return
		}
		translateAll(pod.DeepCopy())
		errs := podspec.Complete(pod)
		again := pod.DeepCopy()
		assert.Equal(t, fields(errs), fields(podspec.Complete(again)))
		assert.Equal(t, pod, again)
		translateAll(pod)
		if config, err := podspec.Sandbox(pod, podspec.SandboxOptions{}); err == nil && len(errs) == 0 {
			assert.Equal(t, podspec.DefaultLogRoot, filepath.Dir(config.LogDirectory))
		}
	})
}

// translateAll makes every translation of a pod, for what it panics at.
func translateAll(pod *corev1.Pod) {
	_, _ = podspec.Sandbox(pod, podspec.SandboxOptions{ClusterDomain: "cluster.local", ClusterDNS: []string{"10.0.0.1"}})
	_ = podspec.HostsFile(pod, []string{"10.0.0.9"}, "", nil)
	_ = podspec.QOSClass(pod)
	_ = podspec.SandboxWarnings(pod, podspec.SandboxOptions{})
	opts := podspec.ContainerOptions{Image: &runtimeapi.Image{Id: "x"}, Mounts: map[string]string{}, MemoryCapacity: 1}
	objects(&opts)
	opts.Services = []*corev1.Service{service(pod.Namespace, "db", "10.0.0.1", corev1.ServicePort{Port: 1})}
	for _, volume := range pod.Spec.Volumes {
		opts.Mounts[volume.Name] = "/v"
		opts.Devices = opts.Mounts
	}
	for i := range pod.Spec.InitContainers {
		_, _ = podspec.Container(pod, &pod.Spec.InitContainers[i], opts)
	}
	for i := range pod.Spec.Containers {
		_, _ = podspec.Container(pod, &pod.Spec.Containers[i], opts)
	}
	for i := range pod.Spec.EphemeralContainers {
		_, _ = podspec.Container(pod, (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon), opts)
	}
}
