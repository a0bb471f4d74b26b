package metaclient

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// ReportPodStatus takes pod.Status, to be stored so that a restart finds it, and to be
// sent upstream if the upstream takes statuses (PodStatusReporter). Of each pod the
// newest status is kept until it is acknowledged, over restarts too, and is sent again
// when the upstream turns out to have lost it; there is no need to report it again. It
// does not block, is idempotent, and neither keeps nor changes pod; it fails only when
// ctx has ended, or for a status that cannot be encoded.
//
// What is reported within Config.FlushAfter is written in one go; Flush is for those
// who cannot wait, and the end of a pod (Succeeded, Failed) does not. What differs
// only in noise is not written: the order of conditions and container statuses, and
// the times of conditions. The status of a pod that is not in the stored set is not
// stored; upstream hears of it all the same.
//
// Conditions that are not the node's, such as readiness gates, are taken as the upstream
// last delivered them. Nothing is taken of what its maker made before it heard of the
// upstream's last word: the status of a pod that runs here and that the upstream has
// ended, nor, by the deletionTimestamp of pod, how a pod ends that the upstream wants. A
// manifest that is put back while its pod still ends has the same UID, and begins a life
// anew.
func (c *Client) ReportPodStatus(ctx context.Context, pod *corev1.Pod) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	value, err := encodeStatus(pod.Status)
	if err != nil {
		return fmt.Errorf("status of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	// A status that says nothing is no news for the store.
	c.report(report{topic: topic{reportStatus, string(pod.UID)}, pod: pod.DeepCopy(), dirty: value != nil})
	if ended(pod.Status) {
		hint(c.urgent)
	}
	return nil
}

// ReportNode takes the node's status, labels and annotations, to be sent upstream if
// the upstream takes them (NodeReporter). It is as ReportPodStatus, but is written
// only while it cannot be sent, and never for a heartbeat's sake.
func (c *Client) ReportNode(ctx context.Context, node *corev1.Node) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.report(report{topic: topic{reportNode, node.Name}, node: node.DeepCopy(), dirty: c.nodes != nil})
	return nil
}

// ReportEvent takes an event, to be sent upstream if the upstream takes events
// (EventReporter). It is as ReportNode; an event of the same namespace and name
// replaces the one before. When very many wait, the oldest are dropped (Health).
func (c *Client) ReportEvent(ctx context.Context, event *corev1.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.report(report{topic: topic{reportEvent, event.Namespace + "/" + event.Name}, event: event.DeepCopy(), dirty: c.events != nil})
	return nil
}

func (c *Client) report(r report) {
	if r.unsent = c.takes(r); r.unsent || r.dirty {
		c.outbox.put(r)
	}
}
