package metatest

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/metaclient"
)

// Object returns a copy of an object as it is, nil if there is none.
func (c *Cloud) Object(ref metaclient.Ref) metav1.Object {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o, ok := c.objects[ref]; ok {
		return copyOf(o)
	}
	return nil
}

// Asked returns how often the object was asked for.
func (c *Cloud) Asked(ref metaclient.Ref) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[ref]
}

// Tokens returns how many tokens were issued.
func (c *Cloud) Tokens() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tokens
}

// Followed returns what the node wants to hear of.
func (c *Cloud) Followed() []metaclient.Ref {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.followed)
}

// Reports returns how many reports were taken.
func (c *Cloud) Reports() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reports
}

// Status returns the last reported status of a pod.
func (c *Cloud) Status(uid types.UID) corev1.PodStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	status := c.statuses[uid]
	return *status.DeepCopy()
}

// Node returns the last report on a node, nil if there is none.
func (c *Cloud) Node(name string) *corev1.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[name].DeepCopy()
}

// Event returns an event as last reported, nil if it was not.
func (c *Cloud) Event(namespace, name string) *corev1.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events[namespace+"/"+name].DeepCopy()
}

// refOf and copyOf know the types that metaclient knows; to give another is a
// mistake of the test.
func refOf(o metav1.Object) metaclient.Ref {
	ref := metaclient.Ref{Namespace: o.GetNamespace(), Name: o.GetName()}
	switch o.(type) {
	case *corev1.ConfigMap:
		ref.Kind = metaclient.KindConfigMap
	case *corev1.Secret:
		ref.Kind = metaclient.KindSecret
	case *corev1.PersistentVolumeClaim:
		ref.Kind = metaclient.KindPersistentVolumeClaim
	case *corev1.PersistentVolume:
		ref.Kind = metaclient.KindPersistentVolume
	case *corev1.Node:
		ref.Kind = metaclient.KindNode
	default:
		panic(fmt.Sprintf("metatest: %T is no object of metaclient", o))
	}
	return ref
}

func copyOf(o metav1.Object) metav1.Object {
	switch o := o.(type) {
	case *corev1.ConfigMap:
		return o.DeepCopy()
	case *corev1.Secret:
		return o.DeepCopy()
	case *corev1.PersistentVolumeClaim:
		return o.DeepCopy()
	case *corev1.PersistentVolume:
		return o.DeepCopy()
	case *corev1.Node:
		return o.DeepCopy()
	default:
		panic(fmt.Sprintf("metatest: %T is no object of metaclient", o))
	}
}

// Pods returns copies of the pods that the node is to run, sorted by UID.
func (c *Cloud) Pods() []*corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.podSet()
}
