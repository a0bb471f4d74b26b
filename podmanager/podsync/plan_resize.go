package podsync

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// resize changes the resources of a running container.
type resize struct {
	container *cri.Container
	resources *runtimeapi.LinuxContainerResources
}

// planResizes adds to the plan what brings the running containers to the
// resources of their spec: in place, or by a restart where the container asks for
// that (KEP-1287). wanted is by container name; resized tells, by container ID, to
// what this agent has resized a container already, as a runtime may report
// something else for ever.
func (a *actions) planResizes(
	pod *corev1.Pod, state *cri.PodState, wanted map[string]*runtimeapi.LinuxContainerResources, resized map[string]string,
) {
	if a.newSandbox || a.finished {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		current, spec, want := state.Newest(name), specOf(pod, name), wanted[name]
		if current == nil || !current.Running() || a.stops(current) || resized[current.GetId()] == want.String() {
			continue
		}
		changed := changedResources(current.GetResources().GetLinux(), want)
		if len(changed) == 0 {
			continue
		}
		a.resizing = true
		switch {
		case slices.ContainsFunc(changed, func(r corev1.ResourceName) bool { return restartsFor(spec, r) }):
			a.stop = append(a.stop, stop{container: current, why: "Container " + name + " resize requires restart", grace: gracePeriod(pod)})
			a.start = append(a.start, start{spec: spec, previous: current})
		default:
			a.resize = append(a.resize, resize{current, want})
		}
	}
}

func (a *actions) stops(c *cri.Container) bool {
	return slices.ContainsFunc(a.stop, func(s stop) bool { return s.container == c })
}

// changedResources compares what a container has, as far as the runtime tells,
// with what it is to have.
func changedResources(have, want *runtimeapi.LinuxContainerResources) []corev1.ResourceName {
	if have == nil {
		return nil
	}
	var changed []corev1.ResourceName
	if have.CpuShares != want.CpuShares || max(0, have.CpuQuota) != want.CpuQuota {
		changed = append(changed, corev1.ResourceCPU)
	}
	if max(0, have.MemoryLimitInBytes) != want.MemoryLimitInBytes {
		changed = append(changed, corev1.ResourceMemory)
	}
	return changed
}

func restartsFor(spec *corev1.Container, changed corev1.ResourceName) bool {
	return slices.ContainsFunc(spec.ResizePolicy, func(policy corev1.ContainerResizePolicy) bool {
		return policy.ResourceName == changed && policy.RestartPolicy == corev1.RestartContainer
	})
}
