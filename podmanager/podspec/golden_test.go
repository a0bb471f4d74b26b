package podspec_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files")

// translation is all that a runtime is told of a pod.
type translation struct {
	Sandbox    *runtimeapi.PodSandboxConfig
	Containers []*runtimeapi.ContainerConfig
	Hosts      []string
}

// translate completes the pod and translates all of it for the same node.
func translate(t *testing.T, pod *corev1.Pod) translation {
	t.Helper()
	require.Empty(t, podspec.Complete(pod))
	result := translation{
		Sandbox: sandbox(t, pod, clusterOptions()),
		Hosts:   strings.Split(string(podspec.HostsFile(pod, []string{"10.0.0.9"}, "cluster.local", []byte("# node\n"))), "\n"),
	}
	opts := podspec.ContainerOptions{
		Image:   &runtimeapi.Image{Id: "sha256:abc", Username: "www"},
		PodIPs:  []string{"10.0.0.9"},
		HostIPs: []string{"192.0.2.7"}, NodeName: "node-7",
		Mounts:    map[string]string{"scratch": "/v/scratch", "settings": "/v/settings", "serial": "/dev/ttyS0", "root": "/"},
		HostsFile: "/pods/etc-hosts", TermMessageFile: "/pods/log",
		MemoryCapacity: 1 << 30, Allocatable: list("cpu", "4", "memory", "1Gi"),
	}
	if pod.Spec.HostNetwork {
		opts.PodIPs = nil
	}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			config, err := podspec.Container(pod, &containers[i], opts)
			require.NoError(t, err)
			result.Containers = append(result.Containers, config)
		}
	}
	return result
}

func TestTranslationOfWholePods(t *testing.T) {
	manifests, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, manifests)
	for _, manifest := range manifests {
		t.Run(manifest, func(t *testing.T) {
			content, err := os.ReadFile(manifest)
			require.NoError(t, err)
			pod := &corev1.Pod{}
			require.NoError(t, yaml.UnmarshalStrict(content, pod))
			got, err := json.MarshalIndent(translate(t, pod), "", "  ")
			require.NoError(t, err)
			golden := strings.TrimSuffix(manifest, ".yaml") + ".golden.json"
			if *update {
				require.NoError(t, os.WriteFile(golden, append(got, '\n'), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err, "run with -update")
			assert.JSONEq(t, string(want), string(got))
		})
	}
}
