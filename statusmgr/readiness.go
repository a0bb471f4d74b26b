package statusmgr

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

// setReadiness sets started and ready: of a container that runs as its probes have
// it, of a finished init container that it has done what it was there for.
func (g *generator) setReadiness(c container, status *corev1.ContainerStatus, previous corev1.ContainerStatus) {
	var health Health
	if status.State.Running != nil {
		health = g.health(c, status.ContainerID, previous)
	}
	health.show(status)
	switch c.role {
	case initOnce:
		status.Ready = status.State.Terminated != nil && !hasFailed(c, status.State.Terminated)
	case ephemeral:
		status.Started, status.Ready = nil, false
	}
}

// show sets what was found in the container's status.
func (h Health) show(status *corev1.ContainerStatus) {
	status.Started, status.Ready = &h.Started, h.Started && h.Ready
}

// shown reports whether show would change nothing.
func (h Health) shown(status *corev1.ContainerStatus) bool {
	return status.Started != nil && *status.Started == h.Started && status.Ready == (h.Started && h.Ready)
}

// probed returns the status of the container with this ID of the runtime's, nil if the
// pod has none that runs and may have probes.
func probed(pod *corev1.Pod, containerID string) *corev1.ContainerStatus {
	if terminal(pod.Status.Phase) {
		return nil
	}
	containers := slices.Concat(initContainers(pod), regularContainers(pod))
	for _, list := range containerLists(&pod.Status) {
		for i := range list {
			mayHaveProbes := func(c container) bool { return c.Name == list[i].Name && c.role != initOnce }
			if cri.BareID(list[i].ContainerID) == containerID && list[i].State.Running != nil && slices.ContainsFunc(containers, mayHaveProbes) {
				return &list[i]
			}
		}
	}
	return nil
}

// withHealth returns a copy of the pod whose status shows what was found of one of its
// probed containers.
func withHealth(pod *corev1.Pod, containerID string, health Health, now time.Time) *corev1.Pod {
	next := pod.DeepCopy()
	health.show(probed(next, containerID))
	for _, c := range readyConditions(next, &next.Status) {
		c.ObservedGeneration = next.Generation
		date(&c, pod.Status.Conditions, now)
		if before := conditionOf(next.Status.Conditions, c.Type); before != nil {
			*before = c
		} else {
			next.Status.Conditions = append(next.Status.Conditions, c)
		}
	}
	normalize(&next.Status)
	return next
}

// health is what is known of a container that runs. Before a probe says otherwise,
// as after a restart of the agent, it is what it was.
func (g *generator) health(c container, id string, previous corev1.ContainerStatus) Health {
	if g.Health == nil {
		return Health{Started: true, Ready: true}
	}
	if found, ok := g.Health[cri.BareID(id)]; ok {
		return found
	}
	if previous.ContainerID == id && previous.State.Running != nil && previous.Started != nil {
		return Health{Started: *previous.Started, Ready: previous.Ready}
	}
	return Health{Started: c.StartupProbe == nil, Ready: c.ReadinessProbe == nil}
}
