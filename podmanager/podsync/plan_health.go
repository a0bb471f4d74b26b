package podsync

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

// Health is what the probes of a running container have found. The zero value is
// that of a container that nothing is known against.
type Health struct {
	// Failed is the probe by whose verdict the container is to be ended.
	Failed KillingProbe
	// Starting: the container has a startup probe that has not succeeded yet.
	Starting bool
}

// KillingProbe is a kind of probe whose failure ends a container.
type KillingProbe string

// The kinds, as the kubelet's events spell them; there is no failure in the empty one.
const (
	LivenessProbe KillingProbe = "liveness"
	StartupProbe  KillingProbe = "startup"
)

// of returns the probe in the spec, nil if there is none.
func (k KillingProbe) of(spec *corev1.Container) *corev1.Probe {
	if k == StartupProbe {
		return spec.StartupProbe
	}
	return spec.LivenessProbe
}

// health is what is known of the pod's running containers, by ID. One that is not
// probed yet, as after the start of the agent, has started if the last status says so.
func (s *Syncer) health(pod *corev1.Pod, state *cri.PodState, before corev1.PodStatus) map[string]Health {
	found := map[string]Health{}
	for _, c := range state.Running() {
		health, probed := s.rooms.Health(state.UID, c.GetId())
		if !probed {
			health.Starting = specOf(pod, c.Name()).StartupProbe != nil && !hasStarted(before, c)
		}
		if health != (Health{}) {
			found[c.GetId()] = health
		}
	}
	return found
}

// hasStarted reports whether the status says so of that very container.
func hasStarted(status corev1.PodStatus, c *cri.Container) bool {
	return slices.ContainsFunc(slices.Concat(status.InitContainerStatuses, status.ContainerStatuses), func(s corev1.ContainerStatus) bool {
		return s.Name == c.Name() && cri.BareID(s.ContainerID) == c.GetId() && s.Started != nil && *s.Started
	})
}

// planHealth ends a running container that a probe has failed, and starts it again
// if its policy allows, which waits for its back-off like that after any other
// end. Until it has ended it keeps the pod alive.
func (p *planner) planHealth(spec *corev1.Container, current *cri.Container, init bool) {
	failed := p.health[current.GetId()].Failed
	if failed == "" {
		return
	}
	why := "Container " + spec.Name + " failed " + string(failed) + " probe"
	again := p.pod.DeletionTimestamp == nil && policyOf(p.pod, spec) != corev1.RestartPolicyNever
	if again {
		why += ", will be restarted"
		if !p.inBackOff(spec, p.now) {
			p.start = append(p.start, start{spec: spec, previous: current, init: init, again: true})
		}
	}
	p.stop = append(p.stop, stop{container: current, why: why, grace: graceAfter(p.pod, failed.of(spec)), sick: again})
}

// noteSick notes the containers that the agent before has had ended for a failed probe:
// their status says that they wait to run again.
func (r *record) noteSick(state *cri.PodState, status corev1.PodStatus) {
	for _, c := range state.Containers {
		said := slices.ContainsFunc(status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
			waiting, last := s.State.Waiting, s.LastTerminationState.Terminated
			return s.Name == c.Name() && waiting != nil && waiting.Reason == reasonCrashLoop &&
				last != nil && cri.BareID(last.ContainerID) == c.GetId()
		})
		if said && c.Exited() {
			r.sick[c.GetId()] = true
		}
	}
}

// graceAfter is the grace period of a container that a probe has failed: the
// probe's own if it has one, unless the pod is being deleted (KEP-2238).
func graceAfter(pod *corev1.Pod, probe *corev1.Probe) time.Duration {
	if pod.DeletionGracePeriodSeconds == nil && probe != nil && probe.TerminationGracePeriodSeconds != nil {
		return inSeconds(*probe.TerminationGracePeriodSeconds)
	}
	return gracePeriod(pod)
}
