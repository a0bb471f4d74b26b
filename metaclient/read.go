package metaclient

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// ConfigMap returns a ConfigMap: as it is stored, or else as the upstream has it,
// once it is stored. It needs no network for what is stored, and blocks at most for
// Config.RequestTimeout for what is not. However many ask for an object at the same
// time, the upstream is asked once. The result is the caller's.
//
// When there is no such ConfigMap for certain, apierrors.IsNotFound holds for the
// error, also offline if that was known before. An object that is not here and
// cannot be asked for is ErrOffline or ErrTimeout.
func (c *Client) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return read[*corev1.ConfigMap](ctx, c, Ref{KindConfigMap, namespace, name})
}

// Secret returns a Secret, as ConfigMap does a ConfigMap.
func (c *Client) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return read[*corev1.Secret](ctx, c, Ref{KindSecret, namespace, name})
}

// PersistentVolumeClaim returns a claim, as ConfigMap does a ConfigMap.
func (c *Client) PersistentVolumeClaim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	return read[*corev1.PersistentVolumeClaim](ctx, c, Ref{KindPersistentVolumeClaim, namespace, name})
}

// PersistentVolume returns a volume, as ConfigMap does a ConfigMap.
func (c *Client) PersistentVolume(ctx context.Context, name string) (*corev1.PersistentVolume, error) {
	return read[*corev1.PersistentVolume](ctx, c, Ref{Kind: KindPersistentVolume, Name: name})
}

// Node returns the upstream's idea of a node, as ConfigMap does a ConfigMap. Its
// heartbeat times are not kept.
func (c *Client) Node(ctx context.Context, name string) (*corev1.Node, error) {
	return read[*corev1.Node](ctx, c, Ref{Kind: KindNode, Name: name})
}

func read[T metav1.Object](ctx context.Context, c *Client, ref Ref) (T, error) {
	var none T
	o, err := c.lookUp(ctx, ref)
	if err != nil {
		return none, err
	}
	typed, ok := o.(T)
	if !ok {
		return none, fmt.Errorf("%s is a %T", ref, o)
	}
	return typed, nil
}

// lookUp reads locally, asks the upstream on a miss, stores, and then answers. That
// an object does not exist is asked again while the upstream is there, since not
// every upstream tells when it appears.
func (c *Client) lookUp(ctx context.Context, ref Ref) (metav1.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if badRef(ref) != "" {
		return nil, notFound(ref) // no object can have this name
	}
	known, err := c.recall(ref)
	if err != nil {
		return nil, err
	}
	if known != nil && !known.Absent {
		return known.object(ref)
	}
	a, err := c.ask(ctx, ref)
	switch {
	case err != nil && known != nil && ctx.Err() == nil:
		return nil, notFound(ref)
	case err != nil:
		return nil, err
	}
	// When the disk is full the caller gets its answer all the same; Health tells.
	newest := a.record
	if c.keep(ref, a, known != nil) == nil {
		if stored, err := c.recall(ref); err == nil && stored != nil {
			newest = *stored
		}
	}
	if newest.Absent {
		return nil, notFound(ref)
	}
	return newest.object(ref)
}

// recall returns what is stored, nil if that is nothing.
func (c *Client) recall(ref Ref) (known *record, err error) {
	err = c.store.View(func(r store.Reader) error {
		if rec, _, ok := storedRecord(r, ref); ok {
			known = &rec
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read stored %s: %w", ref, err)
	}
	return known, nil
}

// ask asks the upstream, once for all who ask now. That there is no such object is
// an answer.
func (c *Client) ask(ctx context.Context, ref Ref) (answer, error) {
	if c.getter == nil {
		return answer{record: record{Absent: true}}, nil
	}
	if !c.Connected() {
		return answer{}, fmt.Errorf("%s: %w", ref, ErrOffline)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.RequestTimeout, ErrTimeout)
	defer cancel()
	a, err := c.questions.do(ctx, ref, func(ctx context.Context) (answer, error) { return c.question(ctx, ref) })
	if err != nil {
		return answer{}, classify(ref.String(), err)
	}
	return a, nil
}

func (c *Client) question(ctx context.Context, ref Ref) (a answer, err error) {
	err = c.store.View(func(r store.Reader) error {
		_, a.before, _ = storedRecord(r, ref)
		return nil
	})
	if err != nil {
		return answer{}, fmt.Errorf("read what is stored: %w", err)
	}
	o, err := c.getter.Get(ctx, ref)
	if apierrors.IsNotFound(err) {
		a.Absent = true
		return a, nil
	}
	if err != nil {
		return answer{}, err
	}
	if a.record, err = presentRecord(ref, o); err != nil {
		return answer{}, fmt.Errorf("answer is invalid: %w", err)
	}
	return a, nil
}

// keep stores an answer. It is news to others, too, if they have been told that there
// is no such object, or that it cannot be had.
func (c *Client) keep(ref Ref, a answer, known bool) error {
	plan := func(r store.Reader) []store.Change { return planAnswer(r, ref, a) }
	if known || c.wanted.lacks(ref) {
		return c.apply(ref, plan)
	}
	_, err := c.update(plan)
	return err
}
