package eviction

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Refusal says why a pod is not taken now, as its status shows it.
type Refusal struct {
	Reason, Message string
}

// Refuses says why the node is in no state to take the pod, nil if it is. Short of
// memory it refuses pods that request and limit none and do not tolerate that;
// short of anything else it refuses all. Critical pods are always taken. It does not
// block.
func (m *Manager) Refuses(pod *corev1.Pod) *Refusal {
	var has []corev1.NodeConditionType
	for _, c := range m.Conditions() {
		if c.Status == corev1.ConditionTrue {
			has = append(has, c.Type)
		}
	}
	onlyMemory := slices.Equal(has, []corev1.NodeConditionType{corev1.NodeMemoryPressure})
	if len(has) == 0 || m.cfg.Critical(pod) || onlyMemory && (!bestEffort(pod) || toleratesMemoryPressure(pod)) {
		return nil
	}
	return &Refusal{Reason: ReasonEvicted, Message: fmt.Sprintf("The node had condition: %v. ", has)}
}

// bestEffort reports whether the pod is of the QoS class BestEffort: neither its
// containers nor itself as a whole (KEP-2837) ask for CPU or memory.
func bestEffort(pod *corev1.Pod) bool {
	return (pod.Spec.Resources == nil || !asks(pod.Spec.Resources)) &&
		!slices.ContainsFunc(podContainers(pod), func(c *corev1.Container) bool { return asks(&c.Resources) })
}

func asks(resources *corev1.ResourceRequirements) bool {
	return slices.ContainsFunc([]corev1.ResourceList{resources.Requests, resources.Limits}, func(list corev1.ResourceList) bool {
		return !list.Cpu().IsZero() || !list.Memory().IsZero()
	})
}

func toleratesMemoryPressure(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Tolerations, func(t corev1.Toleration) bool {
		forIt := t.Key == corev1.TaintNodeMemoryPressure || t.Key == "" && t.Operator == corev1.TolerationOpExists
		return forIt && (t.Effect == "" || t.Effect == corev1.TaintEffectNoSchedule) &&
			(t.Operator == corev1.TolerationOpExists || t.Value == "")
	})
}

// Conditions returns MemoryPressure, DiskPressure and PIDPressure of the node, in this
// order, as last measured. Before the first measurement there are none. The slice is
// the caller's. It does not block.
func (m *Manager) Conditions() []corev1.NodeCondition {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.reported)
}

// setConditions keeps what was reported, and tells if a condition has changed.
func (m *Manager) setConditions(reported []corev1.NodeCondition) {
	m.mu.Lock()
	before := m.reported
	m.reported = reported
	m.mu.Unlock()
	same := slices.EqualFunc(before, reported, func(a, b corev1.NodeCondition) bool { return a.Status == b.Status })
	if same || before == nil && !slices.ContainsFunc(reported, func(c corev1.NodeCondition) bool { return c.Status == corev1.ConditionTrue }) {
		return
	}
	for i, c := range reported {
		if before == nil || before[i].Status != c.Status {
			m.logCondition(c)
		}
	}
	m.cfg.OnChange()
}
