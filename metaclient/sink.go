package metaclient

import (
	"context"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// sink is what one Watch delivers to. Sets go through Run's goroutine; objects go
// straight to the store, so that none waits for a set.
type sink struct {
	client     *Client
	deliveries chan<- delivery

	// Run's goroutine owns these.
	delivered map[types.UID]bool // the pods of all its sets
	force     bool               // believe its first set even if versions are older: Resync waits for it
	again     bool               // the one before ended while the upstream was there: changes may have been missed
}

// delivery is one set on its way from the upstream's goroutine to Run's.
type delivery struct {
	from     *sink
	pods     []*corev1.Pod
	complete bool
	taken    chan<- error
}

// Pods implements Sink.
func (s *sink) Pods(ctx context.Context, pods []*corev1.Pod) error { return s.deliver(ctx, pods, true) }

// PodsSoFar implements Sink.
func (s *sink) PodsSoFar(ctx context.Context, pods []*corev1.Pod) error {
	return s.deliver(ctx, pods, false)
}

func (s *sink) deliver(ctx context.Context, pods []*corev1.Pod, complete bool) error {
	taken := make(chan error, 1)
	select {
	case s.deliveries <- delivery{s, pods, complete, taken}:
	case <-ctx.Done():
		return ctx.Err()
	}
	// Run always answers a set that it has received.
	return <-taken
}

// Object implements Sink.
func (s *sink) Object(ctx context.Context, object metav1.Object) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := s.client
	c.arrived()
	ref, err := refOf(object)
	if err == nil && !c.concerns(ref) {
		return nil
	}
	var next record
	if err == nil {
		next, err = presentRecord(ref, object)
	}
	if err != nil {
		c.log.Warn("object from upstream is set aside", zap.Stringer("object", ref), zap.Error(err))
		return nil
	}
	return s.push(ref, next)
}

// Gone implements Sink.
func (s *sink) Gone(ctx context.Context, ref Ref, resourceVersion string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.client.arrived()
	if !s.client.concerns(ref) {
		return nil
	}
	return s.push(ref, record{Version: resourceVersion, Absent: true})
}

func (s *sink) push(ref Ref, next record) error {
	return s.client.apply(ref, func(r store.Reader) []store.Change { return planPush(r, ref, next) })
}

// concerns reports whether the object is one of this node: a pod refers to it, or
// somebody has read it.
func (c *Client) concerns(ref Ref) bool {
	if ref.Kind.resource() == "" || badRef(ref) != "" {
		return false
	}
	if c.wanted.has(ref) {
		return true
	}
	known, err := c.recall(ref)
	return err == nil && known != nil
}
