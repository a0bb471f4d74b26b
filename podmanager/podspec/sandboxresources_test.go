package podspec_test

import (
	"math"
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

// sized is a container with requests and limits of CPU and memory.
func sized(name, cpuRequest, cpuLimit, memoryLimit string) corev1.Container {
	return corev1.Container{Name: name, Image: "x", Resources: corev1.ResourceRequirements{
		Requests: list("cpu", cpuRequest), Limits: list("cpu", cpuLimit, "memory", memoryLimit),
	}}
}

func sidecar(c corev1.Container) corev1.Container {
	c.RestartPolicy = ptr(corev1.ContainerRestartPolicyAlways)
	return c
}

func TestSandboxResourcesAreThoseOfAllContainers(t *testing.T) {
	type containers = []corev1.Container
	for name, row := range map[string]struct {
		init, regular         containers
		shares, quota, memory int64
	}{
		"nothing": {nil, containers{{Name: "a"}}, 2, 0, 0},
		"sum":     {nil, containers{sized("a", "250m", "500m", "1Mi"), sized("b", "250m", "500m", "2Mi")}, 512, 100_000, 3 << 20},
		"a bigger init container": {
			containers{sized("i", "2", "3", "9Mi")}, containers{sized("a", "1", "1", "1Mi")}, 2048, 300_000, 9 << 20,
		},
		"a smaller one": {
			containers{sized("i", "1", "1", "1Mi"), sized("j", "1", "1", "1Mi")}, containers{sized("a", "2", "2", "2Mi")}, 2048, 200_000, 2 << 20,
		},
		"sidecars run beside all": {
			containers{sidecar(sized("s", "1", "1", "1Mi"))}, containers{sized("a", "1", "1", "1Mi")}, 2048, 200_000, 2 << 20,
		},
		"and beside the init containers after them": {
			containers{sized("i", "3", "3", "3Mi"), sidecar(sized("s", "1", "1", "1Mi")), sized("j", "3", "3", "3Mi")},
			containers{sized("a", "1", "1", "1Mi")}, 4096, 400_000, 4 << 20,
		},
		"beyond 64 bits": {
			nil, containers{sized("a", "1e30", "1e30", "1e30"), sized("b", "1e30", "1e30", "1e30")}, 262144, 9223372036800, math.MaxInt64,
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(spec(func(s *corev1.PodSpec) { s.InitContainers, s.Containers = row.init, row.regular }))
			linux := sandbox(t, pod, podspec.SandboxOptions{}).Linux
			assert.Equal(t, row.shares, linux.Resources.CpuShares)
			assert.Equal(t, row.quota, linux.Resources.CpuQuota)
			assert.Equal(t, int64(100_000), linux.Resources.CpuPeriod)
			assert.Equal(t, row.memory, linux.Resources.MemoryLimitInBytes)
			assert.Nil(t, linux.Overhead)
		})
	}
}

func TestSandboxOverhead(t *testing.T) {
	pod := newPod(spec(func(s *corev1.PodSpec) { s.Overhead = list("cpu", "250m", "memory", "120Mi") }))
	linux := sandbox(t, pod, podspec.SandboxOptions{}).Linux
	assert.Equal(t, int64(256), linux.Overhead.CpuShares)
	assert.Equal(t, int64(25_000), linux.Overhead.CpuQuota)
	assert.Equal(t, int64(100_000), linux.Overhead.CpuPeriod)
	assert.Equal(t, int64(120<<20), linux.Overhead.MemoryLimitInBytes)
	assert.Zero(t, linux.Resources.MemoryLimitInBytes, "the containers' alone")
}
