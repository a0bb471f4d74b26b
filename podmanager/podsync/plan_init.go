package podsync

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

// planInits decides on the init containers, sidecars among them, and reports
// whether the regular containers may start.
//
// Only containers in the pod's present sandbox count: a new sandbox initializes
// anew. Progress is judged from the last init container that was ever created
// there, since earlier ones may have been collected as garbage.
func (p *planner) planInits() bool {
	inits := p.pod.Spec.InitContainers
	if p.initialized() {
		p.keepSidecars(inits)
		return true
	}
	if len(inits) == 0 {
		return true
	}
	last := p.lastInit(inits)
	if last < 0 {
		p.startInit(&inits[0])
		return false
	}
	p.keepSidecars(inits[:last])
	if !p.initDone(&inits[last]) {
		return false
	}
	if last+1 < len(inits) {
		p.startInit(&inits[last+1])
		return false
	}
	return true
}

// initialized reports whether a regular container was created in the present
// sandbox, before which every init container must have been done.
func (p *planner) initialized() bool {
	for i := range p.pod.Spec.Containers {
		if p.present(p.pod.Spec.Containers[i].Name) != nil {
			return true
		}
	}
	return false
}

// present returns the newest container of that name in the present sandbox.
func (p *planner) present(name string) *cri.Container {
	for _, c := range p.state.ContainersNamed(name) {
		if c.SandboxID == p.sandbox.GetId() {
			return c
		}
	}
	return nil
}

func (p *planner) lastInit(inits []corev1.Container) int {
	for i := len(inits) - 1; i >= 0; i-- {
		if p.present(inits[i].Name) != nil {
			return i
		}
	}
	return -1
}

// startInit starts an init container for the first time in this sandbox. One of
// an earlier sandbox may have crashed, and its back-off goes on.
func (p *planner) startInit(spec *corev1.Container) {
	p.startAfterBackOff(spec, p.state.Newest(spec.Name), true)
}

// keepSidecars restarts the sidecars that do not run, whatever the pod's
// restart policy.
func (p *planner) keepSidecars(inits []corev1.Container) {
	for i := range inits {
		if cri.IsSidecar(&inits[i]) {
			p.keepSidecar(&inits[i])
		}
	}
}

func (p *planner) keepSidecar(spec *corev1.Container) {
	current := p.present(spec.Name)
	if current == nil {
		p.startAfterBackOff(spec, p.state.Newest(spec.Name), false)
		return
	}
	if !p.planLiving(spec, current, false) && p.shouldRestart(spec, current) {
		p.startAfterBackOff(spec, current, false)
	}
}

// initDone decides on the init container that the pod has come to, and reports
// whether the next one may start: after an exit with success, or, for a sidecar,
// as soon as it runs and its startup probe, if it has one, has succeeded.
func (p *planner) initDone(spec *corev1.Container) bool {
	current := p.present(spec.Name)
	if cri.IsSidecar(spec) {
		p.keepSidecar(spec)
		return current.Running() && current.HashMatches(spec) && p.health[current.GetId()] == Health{}
	}
	switch {
	case succeeded(p.pod, spec, current):
		return true
	case p.planLiving(spec, current, true):
	case p.shouldRestart(spec, current):
		p.startAfterBackOff(spec, current, true)
	default:
		p.finished = true
	}
	return false
}
