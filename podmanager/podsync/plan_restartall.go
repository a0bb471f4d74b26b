package podsync

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

// planRestartAll ends and removes every container of the pod when one of them has
// ended in a way that asks for it (KEP-5532), and reports whether it does so. The pod
// then begins anew in its sandbox, from its first init container on; logs stay, and
// restarts are counted on. As with any restart, the first is at once and the next
// ones wait longer and longer. Ephemeral containers are left as they are, as they are
// never run again.
//
// First all are stopped, and when their ends were seen, they are removed: the one that
// asked for it last, so that wherever this is cut short, it is planned again.
func (p *planner) planRestartAll() bool {
	spec, ended := p.restartsAll()
	if spec == nil || p.inBackOff(spec, ended.FinishedTime()) {
		return false
	}
	p.restartedBy = &start{spec: spec, previous: ended, again: true}
	running := false
	for _, c := range p.state.Containers {
		if mayRun(c) && !isEphemeral(p.pod, c.Name()) {
			p.stop = append(p.stop, stop{container: c, why: "Container " + c.Name() + " is restarted with all others, as " + spec.Name + " has ended"})
			running = running || c.Running()
		}
	}
	if !running {
		p.removeAll(ended)
	}
	return true
}

// removeAll removes all containers but the ephemeral ones, and last, if it is not nil,
// the one that asked for it.
func (p *planner) removeAll(last *cri.Container) {
	for _, c := range p.state.Containers {
		present := c.GetId() != "" // the runtime still has it
		if present && c != last && !isEphemeral(p.pod, c.Name()) {
			p.remove = append(p.remove, c)
		}
	}
	if last != nil {
		p.remove = append(p.remove, last)
	}
}

// restartsAll returns the first container that has ended in the present sandbox and
// asks for a restart of all, and its end.
func (p *planner) restartsAll() (*corev1.Container, *cri.Container) {
	if p.pod.DeletionTimestamp != nil {
		return nil, nil
	}
	for _, spec := range longLived(p.pod) {
		current := p.present(spec.Name)
		if current != nil && ruleAction(spec, current) == corev1.ContainerRestartRuleActionRestartAllContainers {
			return spec, current
		}
	}
	return nil, nil
}

func isEphemeral(pod *corev1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return c.Name == name })
}

// restartingAll reports whether a restart of all containers is under way: it is
// planned, or it was told of and not every regular container was made again. Until
// then the ends of the earlier ones are of no account.
func restartingAll(pod *corev1.Pod, state *cri.PodState, todo actions, before corev1.PodStatus) bool {
	if todo.restartedBy != nil {
		return true
	}
	return wasRestartingAll(before) && (todo.newSandbox || slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		return state.Newest(c.Name) == nil
	}))
}

func wasRestartingAll(status corev1.PodStatus) bool {
	return slices.ContainsFunc(status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.AllContainersRestarting && c.Status == corev1.ConditionTrue
	})
}
