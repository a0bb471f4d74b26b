package podsync

import (
	corev1 "k8s.io/api/core/v1"
)

// planEphemeral starts the ephemeral containers that were never started, each of
// them once, whatever becomes of it. They come before all others, even while the
// pod is being initialized, and do not keep it alive.
func (p *planner) planEphemeral() {
	for i := range p.pod.Spec.EphemeralContainers {
		ephemeral := &p.pod.Spec.EphemeralContainers[i]
		spec := (*corev1.Container)(&ephemeral.EphemeralContainerCommon)
		current := p.state.Newest(spec.Name)
		if current != nil && !neverStarted(current) {
			continue
		}
		p.replace(spec, current, false)
		if target := p.present(ephemeral.TargetContainerName); target != nil {
			p.start[len(p.start)-1].target = target.GetId()
		}
	}
}
