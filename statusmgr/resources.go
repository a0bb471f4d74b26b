package statusmgr

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// The least CPU that the kernel can be told, in thousandths: what is asked for
// below it reads as asked for. (KEP-1287)
const (
	minCPULimit   = 10
	minCPURequest = 2
	sharesPerCPU  = 1024
)

// resourcesOf returns the resources that the run of the container has: those of
// the spec, and where it runs and the runtime tells them, those in effect, which
// differ while it is being resized.
func resourcesOf(c container, run *cri.Container) *corev1.ResourceRequirements {
	resources := c.Resources.DeepCopy()
	linux := run.GetResources().GetLinux()
	if !run.Running() || linux == nil {
		return resources
	}
	showCPU(resources.Limits, cpuLimit(linux), minCPULimit)
	showCPU(resources.Requests, cpuRequest(linux), minCPURequest)
	if bytes := linux.GetMemoryLimitInBytes(); bytes > 0 {
		show(resources.Limits, corev1.ResourceMemory, resource.NewQuantity(bytes, resource.BinarySI))
	}
	return resources
}

// showCPU shows the CPU in effect, in thousandths, if it is known and either it
// or what was asked for is above the least.
func showCPU(asked corev1.ResourceList, milli, least int64) {
	if milli > least || milli > 0 && asked.Cpu().MilliValue() > least {
		show(asked, corev1.ResourceCPU, resource.NewMilliQuantity(milli, resource.DecimalSI))
	}
}

// show replaces what was asked for, if anything was and something else is in
// effect.
func show(asked corev1.ResourceList, name corev1.ResourceName, effective *resource.Quantity) {
	if quantity, ok := asked[name]; ok && quantity.Cmp(*effective) != 0 {
		asked[name] = *effective
	}
}

// cpuLimit is the CPU that the container may use, in thousandths, 0 if it is
// unlimited or unknown.
func cpuLimit(linux *runtimeapi.LinuxContainerResources) int64 {
	if linux.GetCpuPeriod() <= 0 || linux.GetCpuQuota() <= 0 {
		return 0
	}
	return linux.GetCpuQuota() * 1000 / linux.GetCpuPeriod()
}

// cpuRequest is the CPU that the container is sure of, in thousandths, rounded
// up as shares are rounded down; 0 if it is unknown.
func cpuRequest(linux *runtimeapi.LinuxContainerResources) int64 {
	if linux.GetCpuShares() <= 0 {
		return 0
	}
	return (linux.GetCpuShares()*1000 + sharesPerCPU - 1) / sharesPerCPU
}

// userOf is who the first process of the container ran as, nil if the runtime
// does not tell.
func userOf(run *cri.Container) *corev1.ContainerUser {
	linux := run.GetUser().GetLinux()
	if linux == nil {
		return nil
	}
	return &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{
		UID:                linux.GetUid(),
		GID:                linux.GetGid(),
		SupplementalGroups: append([]int64(nil), linux.GetSupplementalGroups()...),
	}}
}
