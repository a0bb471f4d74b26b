package main

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/podmanager"
	"github.com/edged-project/edged/podmanager/admission"
	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/edged-project/edged/podmanager/podsync"
	"github.com/edged-project/edged/probe"
	"github.com/edged-project/edged/statusmgr"
)

// What one room tells the others.

// onPods takes what the store remembered, and later what the folder holds.
func (a *agent) onPods(pods []*corev1.Pod, complete bool) {
	defer a.known.Store(true)
	if complete {
		a.pods.Replace(pods)
		a.complete.Store(true)
		return
	}
	for _, pod := range pods {
		a.pods.Set(pod)
	}
}

// onObject takes news of an object: the files that show it are made anew, and pods that
// may wait for it look again.
func (a *agent) onObject(kind, namespace, name string) {
	a.volumes.Changed(kind, namespace, name)
	for _, pod := range a.pods.Pods() {
		if status, _ := a.statuses.Get(pod.UID); (pod.Namespace == namespace || namespace == "") && waits(status) {
			a.pods.Wake(pod.UID)
		}
	}
}

// waits reports whether a container of the pod is still to be started.
func waits(status corev1.PodStatus) bool {
	waiting := func(c corev1.ContainerStatus) bool { return c.State.Waiting != nil }
	return slices.ContainsFunc(status.InitContainerStatuses, waiting) || slices.ContainsFunc(status.ContainerStatuses, waiting)
}

// downward is the content of a file that shows a field of its pod.
func (a *agent) downward(pod *corev1.Pod, item *corev1.DownwardAPIVolumeFile) (string, error) {
	return podspec.DownwardFile(pod, item, podspec.ContainerOptions{Allocatable: a.node.Allocatable})
}

// onChange takes what the runtime was seen to do.
func (a *agent) onChange(uid types.UID) {
	a.pods.Wake(uid)
	a.garbage.Changed(uid)
}

// setStatus makes a status from what was observed, on top of the last one.
func (a *agent) setStatus(pod *corev1.Pod, seen podsync.Observation) corev1.PodStatus {
	previous, _ := a.statuses.Get(pod.UID)
	status := statusmgr.Generate(statusmgr.Input{
		Pod:           pod,
		State:         seen.State,
		Previous:      previous,
		Waiting:       seen.Waiting,
		Messages:      seen.Messages,
		Health:        a.healthOf(seen.State),
		Restarting:    seen.Restarting,
		RestartingAll: seen.RestartingAll,
		Resize:        statusmgr.Resize(seen.Resize),
		Failure:       (*statusmgr.Failure)(seen.Failure),
		RuntimeName:   a.runtime.RuntimeName(),
		HostIPs:       a.host.ips(),
		Finished:      seen.Ended,
		Now:           time.Now(),
	})
	a.statuses.Set(pod, status)
	a.showHealth(pod.UID, status) // a probe may have ended since
	a.probes.Set(pod, status)
	switch {
	case seen.Ended:
		a.probes.Remove(pod.UID)
	case seen.Ending:
		a.probes.Ending(pod.UID)
	}
	return status
}

// healthOf is what the probes of the running containers have found.
func (a *agent) healthOf(state *cri.PodState) map[string]statusmgr.Health {
	found := map[string]statusmgr.Health{}
	for _, c := range state.Running() {
		if health, probed := a.shownHealth(state.UID, c.GetId()); probed {
			found[c.GetId()] = health
		}
	}
	return found
}

// onProbed takes what a probe has found. It shows at once, though the pod's worker may be
// busy for minutes.
func (a *agent) onProbed(uid types.UID) {
	status, _ := a.statuses.Get(uid)
	a.showHealth(uid, status)
	a.pods.Wake(uid)
}

// showHealth shows what the probes have found last, whoever comes first: a pod's worker and
// each of its probes may be here at once.
func (a *agent) showHealth(uid types.UID, status corev1.PodStatus) {
	a.showing.Lock()
	defer a.showing.Unlock()
	for _, c := range slices.Concat(status.InitContainerStatuses, status.ContainerStatuses) {
		id := cri.BareID(c.ContainerID)
		if health, probed := a.shownHealth(uid, id); probed {
			a.statuses.SetHealth(uid, id, health)
		}
	}
}

// shownHealth is what the status shows of what probes have found of a container.
func (a *agent) shownHealth(uid types.UID, containerID string) (health statusmgr.Health, probed bool) {
	found, probed := a.probes.Health(uid, containerID)
	return statusmgr.Health{Started: found.Started, Ready: found.Ready}, probed
}

// health is the same for who starts and ends containers.
func (a *agent) health(uid types.UID, containerID string) (podsync.Health, bool) {
	health, probed := a.probes.Health(uid, containerID)
	if !probed {
		return podsync.Health{}, false
	}
	return podsync.Health{Failed: killing[health.Failed], Starting: !health.Started}, true
}

var killing = map[probe.Kind]podsync.KillingProbe{
	probe.Liveness: podsync.LivenessProbe,
	probe.Startup:  podsync.StartupProbe,
}

// onPodEvent records what happens to a pod or a container of it.
func (a *agent) onPodEvent(pod *corev1.Pod, container *corev1.Container, eventType, reason, message string) {
	a.events.Event(podspec.Reference(pod, container), eventType, reason, message)
}

// onNodeEvent records what happens to the node or, if pod is not nil, to that.
func (a *agent) onNodeEvent(pod *corev1.Pod, eventType, reason, message string) {
	if pod != nil {
		a.onPodEvent(pod, nil, eventType, reason, message)
		return
	}
	node := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: a.node.Name, UID: types.UID(a.node.Name)}
	a.events.Event(node, eventType, reason, message)
}

// removed reports whether nothing of the pod runs or will.
func (a *agent) removed(uid types.UID) bool { return !a.pods.Known(uid) }

// onRemoved forgets a pod of which nothing is left. An upstream that has deleted it and
// not left it out is told, by its last status; the store keeps that until it does.
func (a *agent) onRemoved(pod *corev1.Pod) {
	if status, known := a.statuses.Get(pod.UID); known {
		a.statuses.Set(pod, status)
	}
	a.statuses.Remove(pod.UID)
	a.garbage.Changed(pod.UID)
}

// admit asks whether the node has what a new pod wants.
func (a *agent) admit(pod *corev1.Pod, admitted []*corev1.Pod) *podmanager.Rejection {
	if a.evictor != nil {
		if why := a.evictor.Refuses(pod); why != nil {
			return (*podmanager.Rejection)(why)
		}
	}
	return a.syncer.Admit(pod, func() *podmanager.Rejection {
		return admission.Check(pod, a.node, a.allocated(admitted))
	})
}

// fits asks whether the node has what a pod wants after a resize.
func (a *agent) fits(pod *corev1.Pod) *podsync.Refusal {
	return (*podsync.Refusal)(admission.CheckResize(pod, a.node, a.allocated(a.pods.Admitted())))
}

// allocated is what the pods really have: a resize may not have been granted.
func (a *agent) allocated(pods []*corev1.Pod) []*corev1.Pod {
	for i, pod := range pods {
		pods[i] = a.syncer.Allocated(pod)
	}
	return pods
}

// onRejected fails a pod that never started.
func (a *agent) onRejected(pod *corev1.Pod, why podmanager.Rejection) {
	a.statuses.Set(pod, statusmgr.Generate(statusmgr.Input{
		Pod:     pod,
		Failure: &statusmgr.Failure{Reason: why.Reason, Message: "Pod was rejected: " + why.Message},
		HostIPs: a.host.ips(),
		Now:     time.Now(),
	}))
	a.events.Event(podspec.Reference(pod, nil), corev1.EventTypeWarning, why.Reason, why.Message)
}
