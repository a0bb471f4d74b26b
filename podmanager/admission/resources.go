package admission

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/podmanager"
)

// checkResources compares what the pod and the others request with what there is.
// Who requests nothing of a resource is not refused for its shortage.
func checkResources(pod *corev1.Pod, allocatable corev1.ResourceList, others []*corev1.Pod) *podmanager.Rejection {
	for _, name := range inOrder(allocatable) {
		quantity, known := allocatable[name]
		requested := Request(pod, name)
		if !known || requested == 0 {
			continue
		}
		var used int64
		for _, other := range others {
			used = add(used, Request(other, name))
		}
		if capacity := amount(name, quantity); requested > capacity-used {
			return &podmanager.Rejection{
				Reason: "OutOf" + string(name),
				Message: fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
					name, requested, used, capacity),
			}
		}
	}
	return nil
}

// inOrder returns the resources in the order in which the kubelet asks for them;
// its own order of the rest is random.
func inOrder(allocatable corev1.ResourceList) []corev1.ResourceName {
	names := []corev1.ResourceName{
		corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	}
	for _, name := range slices.Sorted(maps.Keys(allocatable)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Request is what the pod as a whole asks of a resource: thousandths of a CPU,
// bytes, or pieces. The pod's own request stands for those of its containers
// (KEP-2837); its overhead comes on top. It is pure.
func Request(pod *corev1.Pod, name corev1.ResourceName) int64 {
	if name == corev1.ResourcePods {
		return 1
	}
	total := ofContainers(&pod.Spec, name)
	if pod.Spec.Resources != nil && podLevel(name) {
		if quantity, ok := pod.Spec.Resources.Requests[name]; ok {
			total = amount(name, quantity)
		}
	}
	return add(total, amount(name, pod.Spec.Overhead[name]))
}

// ofContainers is the most that the pod's containers need at a time: the regular
// ones and the sidecars together, or an init container and the sidecars before it
// (Kubernetes docs, "Sidecar Containers", resource sharing).
func ofContainers(spec *corev1.PodSpec, name corev1.ResourceName) int64 {
	var sidecars, start int64
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		if cri.IsSidecar(c) {
			sidecars = add(sidecars, amount(name, c.Resources.Requests[name]))
		} else {
			start = max(start, add(sidecars, amount(name, c.Resources.Requests[name])))
		}
	}
	total := sidecars
	for i := range spec.Containers {
		total = add(total, amount(name, spec.Containers[i].Resources.Requests[name]))
	}
	return max(total, start)
}

// podLevel reports whether a pod may request the resource for all its containers.
func podLevel(name corev1.ResourceName) bool {
	return name == corev1.ResourceCPU || name == corev1.ResourceMemory ||
		strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// amount is the quantity, rounded up, between 0 and what 64 bits hold. What may not
// fit (the estimate is good to 15 digits) is the biggest that does: to compare or
// round a quantity like 1e2000000000 takes hours.
func amount(name corev1.ResourceName, quantity resource.Quantity) int64 {
	scale, rounded := 1.0, (*resource.Quantity).Value
	if name == corev1.ResourceCPU {
		scale, rounded = 1000, (*resource.Quantity).MilliValue
	}
	switch rough := quantity.AsApproximateFloat64() * scale; {
	case rough <= 0:
		return 0
	case rough >= math.MaxInt64/2:
		return math.MaxInt64
	}
	return rounded(&quantity)
}

// add adds what is not negative, up to what 64 bits hold.
func add(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
