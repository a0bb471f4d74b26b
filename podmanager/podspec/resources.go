package podspec

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What the kernel's CPU scheduler takes.
const (
	minShares = 2
	maxShares = 262144
	// sharesPerCPU is the weight of one CPU.
	sharesPerCPU = 1024
	// cpuPeriod is in microseconds, as are the quotas.
	cpuPeriod = 100_000
	minQuota  = 1_000
)

// OOM scores: the kernel kills the highest first.
const (
	oomGuaranteed   = -997
	oomBestEffort   = 1000
	oomBurstableMin = 1000 + oomGuaranteed
	oomBurstableMax = oomBestEffort - 1
)

// nodeCriticalClass is the priority class of pods that the node needs itself.
const nodeCriticalClass = "system-node-critical"

func containerResources(pod *corev1.Pod, c located, opts ContainerOptions) (*runtimeapi.LinuxContainerResources, error) {
	hugePages, err := hugePageLimits(c, opts.HugePageSizes)
	if err != nil {
		return nil, err
	}
	limits := c.Resources.Limits
	resources := &runtimeapi.LinuxContainerResources{
		CpuShares:          cpuShares(milliCPURequest(c.Resources)),
		CpuQuota:           cpuQuota(milliValue(limits[corev1.ResourceCPU])),
		CpuPeriod:          cpuPeriod,
		MemoryLimitInBytes: value(limits[corev1.ResourceMemory]),
		OomScoreAdj:        oomScore(pod, c, opts.MemoryCapacity),
		HugepageLimits:     hugePages,
	}
	if opts.CgroupV2 {
		resources.Unified = map[string]string{"memory.oom.group": "1"}
	}
	return resources, nil
}

// milliCPURequest is the CPU that a container requests, which is its limit when
// it does not say.
func milliCPURequest(resources corev1.ResourceRequirements) int64 {
	cpu, requested := resources.Requests[corev1.ResourceCPU]
	if !requested {
		cpu = resources.Limits[corev1.ResourceCPU]
	}
	return milliValue(cpu)
}

// cpuShares is the weight of a request when CPUs are contended.
func cpuShares(milliCPU int64) int64 {
	return min(max(min(milliCPU, mostMilliCPU)*sharesPerCPU/1000, minShares), maxShares)
}

// cpuQuota is how long a limit allows to run in each period, 0 without a limit.
func cpuQuota(milliCPU int64) int64 {
	if milliCPU == 0 {
		return 0
	}
	return max(min(milliCPU, mostMilliCPU)*cpuPeriod/1000, minQuota)
}

// oomScore is the kernel's bonus on the container's memory use when it looks
// for a victim. (Kubernetes docs, "Node-pressure eviction", node out of memory
// behavior.)
func oomScore(pod *corev1.Pod, c located, capacity int64) int64 {
	class := QOSClass(pod)
	switch {
	case pod.Spec.PriorityClassName == nodeCriticalClass, class == corev1.PodQOSGuaranteed:
		return oomGuaranteed
	case class == corev1.PodQOSBestEffort:
		return oomBestEffort
	}
	score := burstableScore(memoryRequest(c.Container), capacity)
	if c.sidecar() {
		// Not killed before the containers that it serves.
		score = min(score, burstableScore(smallestRequest(pod), capacity))
	}
	return min(max(score, oomBurstableMin), oomBurstableMax)
}

// burstableScore falls as the share of the node's memory that is requested
// grows. Of a node of unknown capacity each request is nothing.
func burstableScore(request, capacity int64) int64 {
	if capacity <= 0 {
		return oomBestEffort
	}
	share := float64(request) / float64(capacity)
	return oomBestEffort - int64(1000*min(share, 1))
}

func memoryRequest(c *corev1.Container) int64 {
	return value(c.Resources.Requests[corev1.ResourceMemory])
}

// smallestRequest is the least memory that a regular container requests.
func smallestRequest(pod *corev1.Pod) int64 {
	if len(pod.Spec.Containers) == 0 {
		return 0
	}
	smallest := int64(math.MaxInt64)
	for i := range pod.Spec.Containers {
		smallest = min(smallest, memoryRequest(&pod.Spec.Containers[i]))
	}
	return smallest
}

// hugePageLimits lists every page size of the node, with a limit of none
// unless the container has one, and the sizes that it is limited to beside.
func hugePageLimits(c located, sizes []string) ([]*runtimeapi.HugepageLimit, error) {
	limits := make(map[string]uint64, len(sizes))
	for _, size := range sizes {
		limits[size] = 0
	}
	for _, name := range sortedNames(c.Resources.Limits) {
		limit := c.Resources.Limits[name]
		if !hugePages(name) {
			continue
		}
		size, err := pageSize(name)
		if err != nil {
			return nil, field.Invalid(c.path.Child("resources", "limits").Key(string(name)), name, err.Error())
		}
		limits[size] = uint64(max(value(limit), 0))
	}
	var list []*runtimeapi.HugepageLimit
	for _, size := range slices.Sorted(maps.Keys(limits)) {
		list = append(list, &runtimeapi.HugepageLimit{PageSize: size, Limit: limits[size]})
	}
	return list, nil
}

// pageSize turns hugepages-2Mi into 2MB, as the kernel's cgroups spell it.
func pageSize(name corev1.ResourceName) (string, error) {
	quantity, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	if err != nil {
		return "", fmt.Errorf("read page size: %w", err)
	}
	return PageSize(value(quantity)), nil
}

// PageSize spells a size of huge pages as the kernel's cgroups do (2MB), which is how
// ContainerOptions.HugePageSizes has it. It is pure.
func PageSize(bytes int64) string {
	size := bytes
	for _, unit := range []string{"", "K", "M"} {
		if size%1024 != 0 || size < 1024 {
			return fmt.Sprintf("%d%sB", size, unit)
		}
		size /= 1024
	}
	return fmt.Sprintf("%dGB", size)
}

func hugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// computeResource reports whether the resource is the node's own: CPU, memory,
// ephemeral storage, huge pages. All others come from device plug-ins.
func computeResource(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return true
	}
	return hugePages(name)
}

// sortedNames makes what is said about a list the same each time.
func sortedNames(list corev1.ResourceList) []corev1.ResourceName {
	return slices.Sorted(maps.Keys(list))
}
