package podspec

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandboxResources is what all containers of the pod need together: runtimes that
// give each pod a virtual machine make it that big.
func sandboxResources(pod *corev1.Pod) *runtimeapi.LinuxContainerResources {
	return &runtimeapi.LinuxContainerResources{
		CpuShares: cpuShares(together(pod, milliCPURequest)),
		CpuQuota: cpuQuota(together(pod, func(r corev1.ResourceRequirements) int64 {
			return milliValue(r.Limits[corev1.ResourceCPU])
		})),
		CpuPeriod: cpuPeriod,
		MemoryLimitInBytes: together(pod, func(r corev1.ResourceRequirements) int64 {
			return value(r.Limits[corev1.ResourceMemory])
		}),
	}
}

// sandboxOverhead is what the pod's sandbox needs itself, nil if nothing is known
// of that. It is a request and a limit.
func sandboxOverhead(pod *corev1.Pod) *runtimeapi.LinuxContainerResources {
	if pod.Spec.Overhead == nil {
		return nil
	}
	cpu := milliValue(pod.Spec.Overhead[corev1.ResourceCPU])
	return &runtimeapi.LinuxContainerResources{
		CpuShares:          cpuShares(cpu),
		CpuQuota:           cpuQuota(cpu),
		CpuPeriod:          cpuPeriod,
		MemoryLimitInBytes: value(pod.Spec.Overhead[corev1.ResourceMemory]),
	}
}

// together is the most that containers of the pod take at a time: the regular
// ones beside the sidecars, or an init container beside the sidecars before it
// (Kubernetes docs, "Sidecar Containers", resource sharing).
func together(pod *corev1.Pod, amount func(corev1.ResourceRequirements) int64) int64 {
	var running, start int64
	for _, c := range containers(&pod.Spec) {
		switch {
		case c.kind == regular, c.sidecar():
			running = saturatingAdd(running, amount(c.Resources))
		case c.kind == initial:
			start = max(start, saturatingAdd(running, amount(c.Resources)))
		}
	}
	return max(running, start)
}

// saturatingAdd adds, up to what 64 bits hold. Less than nothing is nothing.
func saturatingAdd(a, b int64) int64 {
	if b = max(b, 0); a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
