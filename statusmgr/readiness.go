package statusmgr

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// setReadiness sets started and ready: of a container that runs as its probes have
// it, of a finished init container that it has done what it was there for.
func (g *generator) setReadiness(c container, status *corev1.ContainerStatus, previous corev1.ContainerStatus) {
	var health Health
	if status.State.Running != nil {
		health = g.health(c, status.ContainerID, previous)
	}
	status.Started, status.Ready = &health.Started, health.Started && health.Ready
	switch c.role {
	case initOnce:
		status.Ready = status.State.Terminated != nil && !hasFailed(c, status.State.Terminated)
	case ephemeral:
		status.Started, status.Ready = nil, false
	}
}

// health is what is known of a container that runs. Before a probe says otherwise,
// as after a restart of the agent, it is what it was.
func (g *generator) health(c container, id string, previous corev1.ContainerStatus) Health {
	if g.Health == nil {
		return Health{Started: true, Ready: true}
	}
	if found, ok := g.Health[strings.TrimPrefix(id, g.RuntimeName+"://")]; ok {
		return found
	}
	if previous.ContainerID == id && previous.State.Running != nil && previous.Started != nil {
		return Health{Started: *previous.Started, Ready: previous.Ready}
	}
	return Health{Started: c.StartupProbe == nil, Ready: c.ReadinessProbe == nil}
}
