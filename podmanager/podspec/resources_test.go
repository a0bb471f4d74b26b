package podspec_test

import (
	"math"
	"testing"

	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func needs(requests, limits corev1.ResourceList) func(*corev1.Pod) {
	return app(func(c *corev1.Container) {
		c.Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
	})
}

func resources(t *testing.T, pod *corev1.Pod, change ...func(*podspec.ContainerOptions)) *runtimeapi.LinuxContainerResources {
	t.Helper()
	return container(t, pod, options(change...)).Linux.Resources
}

func TestCPU(t *testing.T) {
	for name, row := range map[string]struct {
		request, limit string
		shares, quota  int64
	}{
		"none":                  {"", "", 2, 0},
		"request":               {"250m", "", 256, 0},
		"limit alone":           {"", "500m", 512, 50000},
		"both":                  {"100m", "2", 102, 200000},
		"request of zero":       {"0", "1", 2, 100000},
		"tiny":                  {"1m", "1m", 2, 1000},
		"smallest quota":        {"5m", "5m", 5, 1000},
		"huge":                  {"1000", "1000", 262144, 100000000},
		"beyond any arithmetic": {"1E", "1E", 262144, 9223372036800},
		"beyond 64 bits":        {"1e2000000000", "1e2000000000", 262144, 9223372036800},
	} {
		t.Run(name, func(t *testing.T) {
			requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
			if row.request != "" {
				requests = list("cpu", row.request)
			}
			if row.limit != "" {
				limits = list("cpu", row.limit)
			}
			got := resources(t, newPod(needs(requests, limits)))
			assert.Equal(t, row.shares, got.CpuShares)
			assert.Equal(t, row.quota, got.CpuQuota)
			assert.Equal(t, int64(100000), got.CpuPeriod)
		})
	}
}

func TestMemory(t *testing.T) {
	assert.Equal(t, int64(64<<20), resources(t, newPod(needs(list("memory", "32Mi"), list("memory", "64Mi")))).MemoryLimitInBytes)
	assert.Equal(t, int64(math.MaxInt64), resources(t, newPod(needs(nil, list("memory", "1e30")))).MemoryLimitInBytes, "not no limit")
	assert.Zero(t, resources(t, newPod(needs(list("memory", "32Mi"), nil))).MemoryLimitInBytes, "a request is no limit")
}

func TestOutOfMemoryKillsTheGroupOnCgroupV2(t *testing.T) {
	pod := newPod()
	assert.Empty(t, resources(t, pod).Unified)
	unified := resources(t, pod, func(o *podspec.ContainerOptions) { o.CgroupV2 = true }).Unified
	assert.Equal(t, map[string]string{"memory.oom.group": "1"}, unified)
}

func TestOOMScore(t *testing.T) {
	const capacity = 1000 << 20
	guaranteed := needs(list("cpu", "1", "memory", "100Mi"), list("cpu", "1", "memory", "100Mi"))
	for name, row := range map[string]struct {
		change   func(*corev1.Pod)
		capacity int64
		want     int64
	}{
		"guaranteed":                {guaranteed, capacity, -997},
		"best effort":               {func(*corev1.Pod) {}, capacity, 1000},
		"tenth of the node":         {needs(list("memory", "100Mi"), nil), capacity, 900},
		"without memory":            {needs(list("cpu", "1"), nil), capacity, 999},
		"nearly nothing":            {needs(list("memory", "1Ki"), nil), capacity, 999},
		"all of the node":           {needs(list("memory", "1000Mi"), nil), capacity, 3},
		"more than the node":        {needs(list("memory", "1Ei"), nil), capacity, 3},
		"unknown capacity":          {needs(list("memory", "100Mi"), nil), 0, 999},
		"critical":                  {spec(func(s *corev1.PodSpec) { s.PriorityClassName = "system-node-critical" }), capacity, -997},
		"critical for the cluster":  {spec(func(s *corev1.PodSpec) { s.PriorityClassName = "system-cluster-critical" }), capacity, 1000},
		"guaranteed, no capacity":   {guaranteed, 0, -997},
		"ephemeral do not count in": {spec(func(s *corev1.PodSpec) { s.EphemeralContainers = make([]corev1.EphemeralContainer, 1) }), capacity, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			got := resources(t, newPod(row.change), func(o *podspec.ContainerOptions) { o.MemoryCapacity = row.capacity })
			assert.Equal(t, row.want, got.OomScoreAdj)
		})
	}
}

func TestSidecarIsNotKilledBeforeWhomItServes(t *testing.T) {
	withRequest := func(name, memory string) corev1.Container {
		return corev1.Container{Name: name, Image: "x", Resources: corev1.ResourceRequirements{Requests: list("memory", memory)}}
	}
	score := func(side, first, second string) int64 {
		pod := newPod(spec(func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{withRequest("side", side)}
			s.InitContainers[0].RestartPolicy = ptr(corev1.ContainerRestartPolicyAlways)
			s.Containers = []corev1.Container{withRequest("a", first), withRequest("b", second)}
		}))
		config, err := podspec.Container(pod, &pod.Spec.InitContainers[0], options(func(o *podspec.ContainerOptions) { o.MemoryCapacity = 1000 << 20 }))
		require.NoError(t, err)
		return config.Linux.Resources.OomScoreAdj
	}
	assert.Equal(t, int64(800), score("10Mi", "300Mi", "200Mi"), "as the regular container with the smallest request")
	assert.Equal(t, int64(600), score("400Mi", "300Mi", "200Mi"), "its own is lower")
}

func TestQOSClass(t *testing.T) {
	full := list("cpu", "1", "memory", "1Gi")
	half := list("cpu", "1", "memory", "512Mi")
	other := func(requests, limits corev1.ResourceList) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			needs(full, full)(p)
			p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "x", Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits}}}
		}
	}
	for name, row := range map[string]struct {
		change func(*corev1.Pod)
		want   corev1.PodQOSClass
	}{
		"nothing":                  {func(*corev1.Pod) {}, corev1.PodQOSBestEffort},
		"zeros":                    {needs(list("cpu", "0"), list("memory", "0")), corev1.PodQOSBestEffort},
		"only storage":             {needs(list("ephemeral-storage", "1Gi"), nil), corev1.PodQOSBestEffort},
		"all limited":              {needs(full, full), corev1.PodQOSGuaranteed},
		"limits alone, defaulted":  {needs(nil, full), corev1.PodQOSGuaranteed},
		"less requested":           {needs(half, full), corev1.PodQOSBurstable},
		"only memory":              {needs(list("memory", "1"), list("memory", "1")), corev1.PodQOSBurstable},
		"init container as well":   {other(half, half), corev1.PodQOSGuaranteed},
		"init container without":   {other(nil, nil), corev1.PodQOSBurstable},
		"init container burstable": {other(half, full), corev1.PodQOSBurstable},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, row.want, podspec.QOSClass(completePod(t, row.change)))
		})
	}
	assert.Equal(t, corev1.PodQOSBestEffort, podspec.QOSClass(&corev1.Pod{}))
}

func TestHugePages(t *testing.T) {
	sizes := func(o *podspec.ContainerOptions) { o.HugePageSizes = []string{"2MB", "1GB"} }
	text := func(limits []*runtimeapi.HugepageLimit) map[string]uint64 {
		bySize := map[string]uint64{}
		for _, limit := range limits {
			bySize[limit.PageSize] = limit.Limit
		}
		require.Len(t, bySize, len(limits))
		return bySize
	}
	assert.Equal(t, map[string]uint64{"2MB": 0, "1GB": 0}, text(resources(t, newPod(), sizes).HugepageLimits))

	pod := completePod(t, needs(nil, list("hugepages-2Mi", "8Mi", "hugepages-64Ki", "64Ki", "cpu", "1")))
	assert.Equal(t, map[string]uint64{"2MB": 8 << 20, "1GB": 0, "64KB": 64 << 10}, text(resources(t, pod, sizes).HugepageLimits))

	_, err := podspec.Container(newPod(needs(nil, list("hugepages-big", "1"))), &newPod(needs(nil, list("hugepages-big", "1"))).Spec.Containers[0], options())
	assert.Contains(t, requireReason(t, err, podspec.ReasonContainerConfig), "spec.containers[0].resources.limits[hugepages-big]")
}
