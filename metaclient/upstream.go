package metaclient

import (
	"context"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Upstream is where the desired objects come from. Implement it to bring a control
// plane of your own, and of the optional abilities below those that it has: Getter,
// TokenRequester, Follower, PodStatusReporter, NodeReporter, EventReporter. Their
// methods are called from several goroutines and while Watch runs, may block until
// ctx ends (each call has a deadline), and must neither keep nor change what they
// are given. Package metatest has a suite to run against it.
type Upstream interface {
	// Watch blocks until ctx ends, then returns nil. It calls sink.Pods with the
	// complete set of this node's pods as soon as it knows that set, even when it
	// is empty, and again after each change. Of other objects it tells changes, by
	// sink.Object and sink.Gone, as far as it learns of them: what the node has not
	// been told it finds out by asking (Getter), when a pod needs an object for the
	// first time and after each reconnect.
	//
	// When Watch cannot go on it returns an error, and is called again after a
	// pause; it then starts with a complete set anew. It never delivers a set as
	// complete that it is not sure of: a lost connection is an error and not "no
	// pods", and Sink.PodsSoFar is for what cannot be read. The node counts as
	// connected from the first delivery until Watch returns.
	Watch(ctx context.Context, sink Sink) error
}

// Sink takes what an upstream delivers. Its methods may be called from several
// goroutines until Watch returns; they block until what was delivered is durable,
// which is the time to acknowledge it to a control plane that wants that. They keep
// no pointer into what they are given and change nothing in it.
//
// An error means that the delivery was not taken, since ctx ended or the disk
// failed; Watch returns it, wrapped or not. What is invalid is logged, set aside
// and no error: to deliver it again would not help.
type Sink interface {
	// Pods takes the complete set of this node's pods, one call of it and PodsSoFar at
	// a time.
	Pods(ctx context.Context, pods []*corev1.Pod) error
	// PodsSoFar takes the pods that are known while there may be more, such as those
	// of a folder with a file that cannot be read. It is as Pods, but removes only
	// what this Watch has delivered before, and pods whose name another has now. It
	// is for what the upstream cannot know; a lost connection is an error of Watch.
	PodsSoFar(ctx context.Context, pods []*corev1.Pod) error
	// Object takes an object that was added or changed: a *corev1.ConfigMap,
	// Secret, PersistentVolumeClaim, PersistentVolume or Node. An object that no
	// pod of this node refers to is dropped, so an upstream may deliver them all. One
	// that cannot be asked (Getter) has to deliver pods first, and an object after
	// each pod that refers to it, or else the object is lost.
	//
	// Where objects have a numeric resourceVersion, an older one never replaces a
	// newer one, so that deliveries may be repeated and come out of order. Versions
	// of one kind are comparable, also over a deletion, as in Kubernetes. Without
	// versions, the last delivery wins.
	Object(ctx context.Context, object metav1.Object) error
	// Gone takes the word that there is no such object any more, as of a
	// resourceVersion if the upstream has one.
	Gone(ctx context.Context, ref Ref, resourceVersion string) error
}

// Getter is an optional ability of an Upstream: it can be asked for one object.
// Without it an object does not exist that was not delivered after the pods that
// refer to it.
type Getter interface {
	// Get returns the object as it is now, of the type that Sink.Object takes; it is
	// the caller's. An error for which apierrors.IsNotFound holds says that there is
	// none for certain; one that wraps ErrOffline, that the upstream cannot be
	// reached.
	Get(ctx context.Context, ref Ref) (metav1.Object, error)
}

// TokenRequester is an optional ability of an Upstream: it issues tokens for
// service accounts, as the TokenRequest API does.
type TokenRequester interface {
	// RequestToken returns the request with its status filled in.
	RequestToken(ctx context.Context, namespace, serviceAccount string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Follower is an optional ability of an Upstream that does not hear of all changes
// by itself, but has to subscribe: by a watch on each name, or a topic.
type Follower interface {
	// Follow names all objects that the node's pods refer to, sorted, before the
	// first Watch and after each change. The upstream should deliver changes of
	// these and of no others. Follow must not block, and refs is the upstream's.
	Follow(refs []Ref)
}

// PodStatusReporter is an optional ability of an Upstream: it wants to know how its
// pods are.
type PodStatusReporter interface {
	// ReportPodStatus sends pod.Status of the pod with pod.UID upstream; nil means
	// that the upstream has it. A pod that the upstream no longer knows under this
	// UID is no error. A status may come again after a restart, and once more when
	// the upstream delivers the pod with another status than the one it took; an
	// upstream that keeps no statuses delivers pods without. Of a pod that is delivered
	// with a deletionTimestamp, one with a deletionTimestamp and the phase Succeeded or
	// Failed says that nothing is left on the node: it is the time to let go of the pod.
	ReportPodStatus(ctx context.Context, pod *corev1.Pod) error
}

// NodeReporter is an optional ability of an Upstream: it wants to know how the node
// is.
type NodeReporter interface {
	// ReportNode sends node.Status, labels and annotations upstream; nil means that
	// the upstream has them.
	ReportNode(ctx context.Context, node *corev1.Node) error
}

// EventReporter is an optional ability of an Upstream: it wants to know what
// happens to its pods.
type EventReporter interface {
	// ReportEvent sends an event upstream. An event that comes again, under the
	// same name and namespace, replaces the one before: it has been counted up. An
	// event that the upstream will never take is no error.
	ReportEvent(ctx context.Context, event *corev1.Event) error
}

// Kind is a kind of object that a pod may refer to, as the API spells it.
type Kind string

// Kinds of objects.
const (
	KindConfigMap             Kind = "ConfigMap"
	KindSecret                Kind = "Secret"
	KindPersistentVolumeClaim Kind = "PersistentVolumeClaim"
	KindPersistentVolume      Kind = "PersistentVolume"
	KindNode                  Kind = "Node"
)

// Ref names an object. Namespace is empty for persistent volumes and nodes.
type Ref struct {
	Kind            Kind
	Namespace, Name string
}

// String is such as "Secret default/db".
func (r Ref) String() string { return fmt.Sprintf("%s %s", r.Kind, r.key()) }

// key is the ref's in its kind's bucket.
func (r Ref) key() string {
	if r.Namespace == "" {
		return r.Name
	}
	return r.Namespace + "/" + r.Name
}

func refOfKey(kind Kind, key string) Ref {
	if namespace, name, ok := strings.Cut(key, "/"); ok {
		return Ref{Kind: kind, Namespace: namespace, Name: name}
	}
	return Ref{Kind: kind, Name: key}
}
