package podspec_test

import (
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestAPodIsLimitedOnlyWhenAllItsContainersAre(t *testing.T) {
	type containers = []corev1.Container
	free := corev1.Container{Name: "free", Image: "x"}
	inMemory := corev1.Container{Name: "m", Image: "x", Resources: corev1.ResourceRequirements{Limits: list("memory", "1Mi")}}
	for name, row := range map[string]struct {
		init, regular         containers
		overhead              corev1.ResourceList
		shares, quota, memory int64
	}{
		"nothing":                  {nil, containers{free}, nil, 2, 0, 0},
		"all are":                  {nil, containers{sized("a", "250m", "500m", "1Mi"), sized("b", "250m", "500m", "2Mi")}, nil, 512, 100_000, 3 << 20},
		"one is not":               {nil, containers{sized("a", "250m", "500m", "1Mi"), free}, nil, 256, 0, 0},
		"one is in memory alone":   {nil, containers{sized("a", "250m", "500m", "1Mi"), inMemory}, nil, 256, 0, 2 << 20},
		"an init container is not": {containers{free}, containers{sized("a", "1", "1", "1Mi")}, nil, 1024, 0, 0},
		"a bigger init container":  {containers{sized("i", "2", "3", "9Mi")}, containers{sized("a", "1", "1", "1Mi")}, nil, 2048, 300_000, 9 << 20},
		"a sidecar beside": {
			containers{sidecar(sized("s", "1", "1", "1Mi"))}, containers{sized("a", "1", "1", "1Mi")}, nil, 2048, 200_000, 2 << 20,
		},
		"with overhead": {
			nil, containers{sized("a", "1", "1", "1Mi")}, list("cpu", "500m", "memory", "1Mi"), 1536, 150_000, 2 << 20,
		},
		"overhead limits nothing": {nil, containers{free}, list("cpu", "500m", "memory", "1Mi"), 512, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			pod := newPod(spec(func(s *corev1.PodSpec) {
				s.InitContainers, s.Containers, s.Overhead = row.init, row.regular, row.overhead
				s.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug"}}}
			}))
			got, err := podspec.PodResources(pod)
			require.NoError(t, err)
			assert.Equal(t, &runtimeapi.LinuxContainerResources{
				CpuShares: row.shares, CpuQuota: row.quota, CpuPeriod: 100_000, MemoryLimitInBytes: row.memory,
			}, got)
		})
	}
}

func TestHugePagesOfAllContainersAreThePods(t *testing.T) {
	pages := func(name string, pairs ...string) corev1.Container {
		return corev1.Container{Name: name, Resources: corev1.ResourceRequirements{Limits: list(pairs...)}}
	}
	pod := newPod(spec(func(s *corev1.PodSpec) {
		s.Containers = []corev1.Container{pages("a", "hugepages-2Mi", "4Mi"), pages("b", "hugepages-2Mi", "2Mi", "hugepages-1Gi", "1Gi")}
	}))
	got, err := podspec.PodResources(pod)
	require.NoError(t, err)
	assert.Equal(t, []*runtimeapi.HugepageLimit{{PageSize: "1GB", Limit: 1 << 30}, {PageSize: "2MB", Limit: 6 << 20}}, got.HugepageLimits)

	pod.Spec.Containers[0] = pages("a", "hugepages-x", "1")
	_, err = podspec.PodResources(pod)
	requireReason(t, err, podspec.ReasonSandboxConfig)
}
