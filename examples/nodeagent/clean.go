package main

import (
	"context"
	"errors"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri/crilog"
	"github.com/edged-project/edged/gc"
	"github.com/edged-project/edged/gc/eviction"
	"github.com/edged-project/edged/podmanager/admission"
	"github.com/edged-project/edged/podmanager/podsync"
)

// What keeps the node clean.

// wireCleaning wires what removes, and what watches over what is left. The runtime in
// memory has no disk to watch.
func (a *agent) wireCleaning(opts options, logger *zap.Logger) error {
	a.garbage = gc.NewContainers(a.runtime, gc.ContainersConfig{
		Ready: a.complete.Load, Removed: a.removed, Ended: a.ended, PodLogs: opts.podLogs, ContainerLogs: opts.containerLogs, Logger: logger,
	})
	a.logs = crilog.NewRotator(a.runtime, crilog.RotatorConfig{
		PodLogs: opts.podLogs, MaxSize: opts.maxLogSize, MaxFiles: opts.maxLogFiles, Logger: logger,
	})
	if opts.runtime == memory {
		return nil
	}
	a.images = gc.NewImages(a.runtime, gc.ImagesConfig{
		HighThresholdPercent: opts.imagesHigh, LowThresholdPercent: opts.imagesLow,
		Ready: a.known.Load, Wanted: a.wantedImages, Unleased: a.puller.RemoveUnleased,
		Hold:     func() bool { return opts.holdImages && !a.store.Connected() },
		Recorder: a.events, NodeName: opts.nodeName, Logger: logger,
	})
	thresholds, err := eviction.ParseThresholds(opts.evictionHard)
	if err != nil {
		return err
	}
	a.evictor = eviction.New(
		eviction.NewNode(a.runtime, eviction.NodeConfig{Root: opts.root, MemoryCgroup: opts.memoryCgroup}),
		eviction.NewStats(a.runtime, eviction.StatsConfig{Root: opts.root, PodLogs: opts.podLogs}),
		eviction.Config{
			Thresholds: append([]eviction.Threshold{}, thresholds...),                                // none rather than the default
			Active:     a.begunPods, Request: admission.Request, Critical: eviction.CriticalPriority, // of a folder all pods are static
			Reclaim: a.reclaim, Evict: a.evict, OnEvent: a.onNodeEvent, Logger: logger,
		})
	a.more = append(a.more, a.images.Run, a.evictor.Run)
	return nil
}

// ended reports whether the pod has run to its end.
func (a *agent) ended(uid types.UID) bool {
	status, _ := a.statuses.Get(uid)
	return status.Phase == corev1.PodSucceeded || status.Phase == corev1.PodFailed
}

// activePods are those that have not run to their end.
func (a *agent) activePods() []*corev1.Pod {
	var active []*corev1.Pod
	for _, pod := range a.pods.Pods() {
		if !a.ended(pod.UID) {
			active = append(active, pod)
		}
	}
	return active
}

// begunPods are the active ones that were begun: what waits for its turn uses nothing.
func (a *agent) begunPods() []*corev1.Pod {
	return slices.DeleteFunc(a.activePods(), func(pod *corev1.Pod) bool {
		_, begun := a.statuses.Get(pod.UID)
		return !begun
	})
}

// wantedImages are those that the pods name.
func (a *agent) wantedImages() []string {
	var images []string
	for _, pod := range a.activePods() {
		for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range containers {
				images = append(images, containers[i].Image)
			}
		}
		for i := range pod.Spec.EphemeralContainers {
			images = append(images, pod.Spec.EphemeralContainers[i].Image)
		}
		for i := range pod.Spec.Volumes {
			if source := pod.Spec.Volumes[i].Image; source != nil {
				images = append(images, source.Reference)
			}
		}
	}
	return images
}

// reclaim frees what nobody needs.
func (a *agent) reclaim(ctx context.Context) error {
	return errors.Join(a.garbage.CollectAll(ctx), a.images.CollectUnused(ctx))
}

// evict fails a pod and waits for its end. It may have ended meanwhile.
func (a *agent) evict(ctx context.Context, pod *corev1.Pod, why eviction.Eviction) error {
	if !a.syncer.Condemn(pod.UID, podsync.Failure{Reason: why.Reason, Message: why.Message, Disruption: why.Disruption}) {
		return nil
	}
	return a.pods.Evict(ctx, pod.UID, why.Grace)
}
