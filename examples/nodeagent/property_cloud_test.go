package main

import (
	"context"
	"errors"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/metaclient"
)

// gateType is the condition that is the upstream's.
const gateType = "gate"

// fickleCloud is an upstream that can be cut, and takes reports.
type fickleCloud struct {
	reported func(*corev1.Pod) // of what is in the store for good
	changed  chan struct{}
	keeps    bool // delivers the statuses that it took

	mu   sync.Mutex // guards pods, which are replaced and not changed, and cut
	pods []*corev1.Pod
	cut  bool
}

func (c *fickleCloud) set(pods []*corev1.Pod) {
	c.mu.Lock()
	c.pods = pods
	c.mu.Unlock()
	c.notify()
}

func (c *fickleCloud) setCut(cut bool) {
	c.mu.Lock()
	c.cut = cut
	c.mu.Unlock()
	c.notify()
}

func (c *fickleCloud) notify() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *fickleCloud) all() []*corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.pods)
}

func (c *fickleCloud) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

var errCut = errors.New("no network")

func (c *fickleCloud) Watch(ctx context.Context, sink metaclient.Sink) error {
	for {
		if c.isCut() {
			return errCut
		}
		if err := sink.Pods(ctx, c.all()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.changed:
		}
	}
}

// ReportPodStatus lets go of a pod that is being deleted when it hears of its end.
func (c *fickleCloud) ReportPodStatus(_ context.Context, pod *corev1.Pod) error {
	c.reported(pod)
	if c.isCut() {
		return errCut
	}
	if c.learn(pod) {
		c.notify()
	}
	return nil
}

// learn reports whether what a status tells changes anything.
func (c *fickleCloud) learn(pod *corev1.Pod) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.IndexFunc(c.pods, func(p *corev1.Pod) bool { return p.UID == pod.UID })
	if at < 0 {
		return false
	}
	known := c.pods[at]
	switch {
	case known.DeletionTimestamp != nil && pod.DeletionTimestamp != nil && ended(pod.Status.Phase):
		c.pods = slices.Delete(slices.Clone(c.pods), at, at+1)
	case c.keeps && (!ended(known.Status.Phase) || ended(pod.Status.Phase)):
		learned := known.DeepCopy()
		learned.Status = *pod.Status.DeepCopy()
		isGate := func(c corev1.PodCondition) bool { return c.Type == gateType }
		learned.Status.Conditions = slices.DeleteFunc(learned.Status.Conditions, isGate)
		if i := slices.IndexFunc(known.Status.Conditions, isGate); i >= 0 {
			learned.Status.Conditions = append(learned.Status.Conditions, known.Status.Conditions[i])
		}
		c.pods = slices.Clone(c.pods)
		c.pods[at] = learned
	default:
		return false
	}
	return true
}
