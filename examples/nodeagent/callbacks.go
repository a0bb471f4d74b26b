package main

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/podmanager"
	"github.com/edged-project/edged/podmanager/admission"
	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/edged-project/edged/podmanager/podsync"
	"github.com/edged-project/edged/statusmgr"
)

// What one room tells the others.

// onPods takes what the store remembered, and later what the folder holds.
func (a *agent) onPods(pods []*corev1.Pod, complete bool) {
	if complete {
		a.pods.Replace(pods)
		a.complete.Store(true)
		return
	}
	for _, pod := range pods {
		a.pods.Set(pod)
	}
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
		RestartingAll: seen.RestartingAll,
		Failure:       (*statusmgr.Failure)(seen.Failure),
		RuntimeName:   a.runtime.RuntimeName(),
		HostIPs:       hostIPs(),
		Finished:      seen.Ended,
		Now:           time.Now(),
	})
	a.statuses.Set(pod, status)
	return status
}

// removed reports whether nothing of the pod runs or will.
func (a *agent) removed(uid types.UID) bool { return !a.pods.Known(uid) }

// onRemoved forgets a pod of which nothing is left.
func (a *agent) onRemoved(pod *corev1.Pod) {
	a.statuses.Remove(pod.UID)
	if err := a.store.Release(context.Background(), pod.UID); err != nil {
		a.logger.Warn("pod stays in the store", zap.String("uid", string(pod.UID)), zap.Error(err))
	}
}

// admit asks whether the node has what a new pod wants.
func (a *agent) admit(pod *corev1.Pod, admitted []*corev1.Pod) *podmanager.Rejection {
	return admission.Check(pod, a.node, admitted)
}

// onRejected fails a pod that never started.
func (a *agent) onRejected(pod *corev1.Pod, why podmanager.Rejection) {
	a.statuses.Set(pod, statusmgr.Generate(statusmgr.Input{
		Pod:     pod,
		Failure: &statusmgr.Failure{Reason: why.Reason, Message: "Pod was rejected: " + why.Message},
		HostIPs: hostIPs(),
		Now:     time.Now(),
	}))
	a.events.Event(podspec.Reference(pod, nil), corev1.EventTypeWarning, why.Reason, why.Message)
}
