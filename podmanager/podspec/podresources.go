package podspec

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PodResources returns what the containers of the pod may take together, with the
// pod's overhead: the limits of its cgroup. Init containers and sidecars count as
// far as they run beside others. CPU or memory is limited only when each container
// has such a limit (Kubernetes docs, "Pod Quality of Service Classes"); huge pages
// of a size are listed when any container has some. Errors are *Error.
func PodResources(pod *corev1.Pod) (*runtimeapi.LinuxContainerResources, error) {
	overhead := func(name corev1.ResourceName) int64 { return max(milliOrValue(pod.Spec.Overhead, name), 0) }
	resources := &runtimeapi.LinuxContainerResources{
		CpuShares: cpuShares(saturatingAdd(together(pod, milliCPURequest), overhead(corev1.ResourceCPU))),
		CpuPeriod: cpuPeriod,
	}
	if allLimited(pod, corev1.ResourceCPU) {
		resources.CpuQuota = cpuQuota(saturatingAdd(limitTogether(pod, corev1.ResourceCPU), overhead(corev1.ResourceCPU)))
	}
	if allLimited(pod, corev1.ResourceMemory) {
		resources.MemoryLimitInBytes = saturatingAdd(limitTogether(pod, corev1.ResourceMemory), overhead(corev1.ResourceMemory))
	}
	for _, name := range slices.Sorted(maps.Keys(hugePageNames(pod))) {
		size, err := pageSize(name)
		if err != nil {
			return nil, &Error{Reason: ReasonSandboxConfig, Err: err}
		}
		resources.HugepageLimits = append(resources.HugepageLimits,
			&runtimeapi.HugepageLimit{PageSize: size, Limit: uint64(limitTogether(pod, name))})
	}
	return resources, nil
}

// longLived returns the containers that count for the pod: all but the ephemeral.
func longLived(pod *corev1.Pod) []located {
	return slices.DeleteFunc(containers(&pod.Spec), func(c located) bool { return c.kind == ephemeral })
}

func allLimited(pod *corev1.Pod, name corev1.ResourceName) bool {
	for _, c := range longLived(pod) {
		if milliOrValue(c.Resources.Limits, name) <= 0 {
			return false
		}
	}
	return true
}

func limitTogether(pod *corev1.Pod, name corev1.ResourceName) int64 {
	return together(pod, func(r corev1.ResourceRequirements) int64 { return milliOrValue(r.Limits, name) })
}

func hugePageNames(pod *corev1.Pod) map[corev1.ResourceName]bool {
	names := map[corev1.ResourceName]bool{}
	for _, c := range longLived(pod) {
		for name := range c.Resources.Limits {
			if hugePages(name) {
				names[name] = true
			}
		}
	}
	return names
}

// milliOrValue is the amount of a resource: thousandths of CPU, or a whole number.
func milliOrValue(list corev1.ResourceList, name corev1.ResourceName) int64 {
	if name == corev1.ResourceCPU {
		return milliValue(list[name])
	}
	return value(list[name])
}
