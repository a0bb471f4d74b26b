package eviction

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The words by which users know evictions.
const (
	ReasonEvicted = "Evicted"
	// DisruptionReason is that of the condition DisruptionTarget (KEP-3329).
	DisruptionReason = "TerminationByKubelet"

	eventThresholdMet = "EvictionThresholdMet"
)

// message says why the pod is evicted, and which of its containers use more than they
// have requested.
func message(t Threshold, amount Amount, pod *corev1.Pod, usage Usage) string {
	name := t.Signal.resource()
	var text strings.Builder
	fmt.Fprintf(&text, "The node was low on resource: %s. Threshold quantity: %s, available: %s. ",
		name, written(t.Signal, t.Value.of(amount.Capacity)), written(t.Signal, amount.Available))
	for _, container := range slices.Sorted(maps.Keys(usage.Containers)) {
		used, told := containerUse(t.Signal, usage.Containers[container])
		request := requestOf(pod, container, name)
		if told && used > request.Value() {
			fmt.Fprintf(&text, "Container %s was using %s, request is %s, has larger consumption of %s. ",
				container, written(t.Signal, used), request.String(), name)
		}
	}
	return text.String()
}

// containerUse is what one container uses, where that is known of a single one.
func containerUse(signal Signal, usage ContainerUsage) (int64, bool) {
	switch signal {
	case MemoryAvailable:
		return usage.Memory, true
	case NodeFsAvailable, ImageFsAvailable:
		return usage.Layer.Bytes + usage.Earlier.Bytes + usage.Logs.Bytes, true
	default:
		return 0, false
	}
}

func requestOf(pod *corev1.Pod, container string, name corev1.ResourceName) resource.Quantity {
	for _, c := range podContainers(pod) {
		if c.Name == container {
			return c.Resources.Requests[name]
		}
	}
	return resource.Quantity{}
}

func written(signal Signal, amount int64) string {
	if !signal.inBytes() {
		return fmt.Sprint(amount)
	}
	const kibi = 1 << 10
	if amount >= kibi { // as people read it: 1234Ki, and not a number of bytes
		amount -= amount % kibi
	}
	return resource.NewQuantity(amount, resource.BinarySI).String()
}
