package podsync

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// actions is what to do next for a pod. The zero value is "nothing".
type actions struct {
	// finished: the pod has run to its end; the rest of it is to be stopped.
	finished bool
	// newSandbox: everything that is left of the old ones is to be stopped, and
	// a sandbox with this attempt made.
	newSandbox bool
	attempt    uint32
	// sandbox is the one to work in when there is no need for a new one.
	sandbox *runtimeapi.PodSandboxStatus

	stop   []stop
	remove []*cri.Container // after what is to be stopped
	resize []resize
	start  []start // in order
	// resizing: there is one to be resized, or restarted for that.
	resizing bool
	// restartedBy is the end of a container for which all are stopped and removed.
	restartedBy *start

	// waiting tells why a container is not started yet, by container name.
	waiting map[string]corev1.ContainerStateWaiting
	// retryAt is when the first back-off ends, zero if there is none.
	retryAt time.Time
}

type stop struct {
	container *cri.Container
	why       string
	grace     time.Duration
	// sick: it is ended for a failed probe, and to be started again.
	sick bool
}

type start struct {
	spec *corev1.Container
	// previous is the instance that this one replaces, nil if none is known.
	previous *cri.Container
	// init: nothing after it may start when it fails to start.
	init bool
	// again: it starts because the previous one has ended, and its next end is to
	// be followed by a longer pause.
	again bool
	// target is the container whose processes an ephemeral container is to see.
	target string
}

func (a *actions) idle() bool {
	return !a.newSandbox && len(a.stop) == 0 && len(a.remove) == 0 && len(a.resize) == 0 && len(a.start) == 0
}

func (a *actions) starts(container string) bool {
	return slices.ContainsFunc(a.start, func(s start) bool { return s.spec.Name == container })
}

// known is what a plan rests on beside the pod and what was observed of it.
type known struct {
	crashes map[string]crash
	health  map[string]Health // of the running containers, by ID
	now     time.Time
	// sick are the containers that a failed probe has had ended, by ID.
	sick map[string]bool
	// restartingAll: a restart of all containers was told of and is not over.
	restartingAll bool
}

// planner collects the actions for one pod as observed at one time.
type planner struct {
	known
	pod   *corev1.Pod
	state *cri.PodState

	actions
	// alive: a container that keeps the pod going runs, starts or waits.
	alive bool
}

// plan decides what to do next to bring the observed pod in line with its spec.
// It is pure.
func plan(pod *corev1.Pod, state *cri.PodState, known known) actions {
	p := &planner{known: known, pod: pod, state: state}
	p.sandbox = usableSandbox(pod, state)
	switch {
	case p.sandbox != nil:
		p.planContainers()
	case len(state.Sandboxes) > 0 && !p.worthRestarting():
		p.finished = true
	default:
		p.planSandbox()
	}
	return p.actions
}

// usableSandbox returns the one sandbox in which the pod can run, nil if it
// needs a new one.
func usableSandbox(pod *corev1.Pod, state *cri.PodState) *runtimeapi.PodSandboxStatus {
	ready := state.ReadySandboxes()
	if len(ready) != 1 || ready[0] != state.Sandboxes[0] {
		return nil
	}
	sandbox := ready[0]
	if !cri.NetworkFits(sandbox, pod.Spec.HostNetwork) {
		return nil
	}
	lostItsAddress := sandbox.GetNetwork() != nil && sandbox.GetNetwork().GetIp() == ""
	if lostItsAddress && !pod.Spec.HostNetwork {
		return nil
	}
	return sandbox
}

// worthRestarting reports whether a pod that has lost its sandbox is to go on
// in a new one: not when what had run is not to run again.
func (p *planner) worthRestarting() bool {
	if len(p.state.Containers) == 0 || p.restartingAll {
		return true
	}
	if slices.ContainsFunc(p.pod.Spec.InitContainers, p.failedForGood) {
		return false
	}
	for i := range p.pod.Spec.Containers {
		spec := &p.pod.Spec.Containers[i]
		if previous := p.state.Newest(spec.Name); previous != nil {
			if p.shouldRestart(spec, previous) {
				return true
			}
		} else if policyOf(p.pod, spec) != corev1.RestartPolicyNever {
			return true
		}
	}
	return false
}

// failedForGood reports whether an init container has failed and may not run again.
func (p *planner) failedForGood(init corev1.Container) bool {
	last := p.state.Newest(init.Name)
	return last != nil && last.Exited() && !succeeded(p.pod, &init, last) && !p.shouldRestart(&init, last)
}

// planSandbox starts the pod over in a new sandbox.
func (p *planner) planSandbox() {
	p.newSandbox = true
	if len(p.state.Sandboxes) > 0 {
		p.attempt = p.state.Sandboxes[0].GetMetadata().GetAttempt() + 1
	}
	if p.restartingAll { // what ended before is of no account
		p.removeAll(nil)
	}
	if inits := p.pod.Spec.InitContainers; len(inits) > 0 {
		p.startAfterBackOff(&inits[0], p.state.Newest(inits[0].Name), true)
		return
	}
	for i := range p.pod.Spec.Containers {
		spec := &p.pod.Spec.Containers[i]
		previous := p.state.Newest(spec.Name)
		if previous == nil || p.restartingAll || p.shouldRestart(spec, previous) {
			p.startAfterBackOff(spec, previous, false)
		}
	}
}

func (p *planner) planContainers() {
	p.stopStrangers()
	p.planEphemeral()
	if p.planRestartAll() {
		return
	}
	if !p.planInits() {
		return
	}
	for i := range p.pod.Spec.Containers {
		p.planContainer(&p.pod.Spec.Containers[i])
	}
	p.finished = !p.alive
}

// stopStrangers stops what runs under a name that the spec has no more: a pod
// whose manifest was edited in place.
func (p *planner) stopStrangers() {
	for _, c := range p.state.Containers {
		if mayRun(c) && !inSpec(p.pod, c.Name()) {
			p.end(c, "Container "+c.Name()+" is not in the pod any more")
		}
	}
}

func inSpec(pod *corev1.Pod, name string) bool {
	for _, spec := range longLived(pod) {
		if spec.Name == name {
			return true
		}
	}
	return isEphemeral(pod, name)
}

// planContainer decides on one regular container of an initialized pod.
func (p *planner) planContainer(spec *corev1.Container) {
	current := p.state.Newest(spec.Name)
	switch {
	case current == nil:
		p.alive = true
		p.start = append(p.start, start{spec: spec})
	case p.planLiving(spec, current, false):
		p.alive = true
	case p.shouldRestart(spec, current):
		p.alive = true
		p.startAfterBackOff(spec, current, false)
	}
}

// planLiving decides on a container that has not ended, and reports whether it
// is one.
func (p *planner) planLiving(spec *corev1.Container, current *cri.Container, init bool) bool {
	switch current.GetState() {
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		if current.SandboxID == p.sandbox.GetId() && current.HashMatches(spec) {
			p.planHealth(spec, current, init)
			return true
		}
	case runtimeapi.ContainerState_CONTAINER_CREATED:
	case runtimeapi.ContainerState_CONTAINER_UNKNOWN:
		if !p.shouldRestart(spec, current) {
			p.stopLiving(current)
			return true
		}
	default:
		return false
	}
	p.replace(spec, current, init)
	return true
}

// startAfterBackOff starts a container, unless its last exit is too recent.
func (p *planner) startAfterBackOff(spec *corev1.Container, previous *cri.Container, init bool) {
	if hasExited(previous) && p.inBackOff(spec, previous.FinishedTime()) {
		return
	}
	p.replace(spec, previous, init)
}

// inBackOff reports whether a container that ended at the given time is to wait
// before it starts again, and notes until when.
func (p *planner) inBackOff(spec *corev1.Container, ended time.Time) bool {
	crashed := p.crashes[crashKey(spec)]
	until := crashed.until(ended, p.now)
	if !until.After(p.now) {
		return false
	}
	p.wait(spec.Name, crashed.crashLoop(p.pod, spec.Name), until)
	return true
}

// replace starts a container in place of another. One that may run has to end
// first. One that was never started has to go: its restart count is used again,
// which is part of its name in every sandbox of the pod.
func (p *planner) replace(spec *corev1.Container, previous *cri.Container, init bool) {
	switch {
	case previous == nil:
	case slices.Contains(p.remove, previous): // with all others
	case neverStarted(previous):
		p.remove = append(p.remove, previous)
	case mayRun(previous) && !p.newSandbox: // which stops everything
		p.stopLiving(previous)
	}
	p.start = append(p.start, start{spec: spec, previous: previous, init: init, again: hasExited(previous)})
}

func hasExited(c *cri.Container) bool { return c != nil && c.Exited() }

func (p *planner) stopLiving(c *cri.Container) {
	why := "Container " + c.Name() + " definition changed, will be restarted"
	switch {
	case !c.Running():
		why = "Container " + c.Name() + " is in unknown state, will be killed"
	case c.SandboxID != p.sandbox.GetId():
		why = "Container " + c.Name() + " is in a sandbox that was replaced"
	}
	p.end(c, why)
}

// end stops a container within the pod's grace period.
func (p *planner) end(c *cri.Container, why string) {
	p.stop = append(p.stop, stop{container: c, why: why, grace: gracePeriod(p.pod)})
}

func (p *planner) wait(container string, why corev1.ContainerStateWaiting, until time.Time) {
	if p.waiting == nil {
		p.waiting = map[string]corev1.ContainerStateWaiting{}
	}
	p.waiting[container] = why
	if p.retryAt.IsZero() || until.Before(p.retryAt) {
		p.retryAt = until
	}
}
