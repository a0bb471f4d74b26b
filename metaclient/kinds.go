package metaclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/edged-project/edged/metaclient/internal/object"
	"github.com/edged-project/edged/metaclient/internal/quantity"
)

// maxObject is more than an API server takes, in bytes of JSON.
const maxObject = 3 << 20

// allKinds are the kinds that are stored, each in a bucket of its own.
func allKinds() []Kind {
	return []Kind{KindConfigMap, KindSecret, KindPersistentVolumeClaim, KindPersistentVolume, KindNode}
}

// resource is the kind's name in paths, which is also that of its bucket.
func (k Kind) resource() string {
	switch k {
	case KindConfigMap:
		return "configmaps"
	case KindSecret:
		return "secrets"
	case KindPersistentVolumeClaim:
		return "persistentvolumeclaims"
	case KindPersistentVolume:
		return "persistentvolumes"
	case KindNode:
		return "nodes"
	default:
		return ""
	}
}

func (k Kind) groupResource() schema.GroupResource {
	return schema.GroupResource{Resource: k.resource()}
}

// blank returns an empty object of the kind.
func (k Kind) blank() metav1.Object {
	switch k {
	case KindConfigMap:
		return &corev1.ConfigMap{}
	case KindSecret:
		return &corev1.Secret{}
	case KindPersistentVolumeClaim:
		return &corev1.PersistentVolumeClaim{}
	case KindPersistentVolume:
		return &corev1.PersistentVolume{}
	default:
		return &corev1.Node{}
	}
}

// refOf names an object, whose type tells its kind.
func refOf(o metav1.Object) (Ref, error) {
	var kind Kind
	switch o.(type) {
	case *corev1.ConfigMap:
		kind = KindConfigMap
	case *corev1.Secret:
		kind = KindSecret
	case *corev1.PersistentVolumeClaim:
		kind = KindPersistentVolumeClaim
	case *corev1.PersistentVolume:
		kind = KindPersistentVolume
	case *corev1.Node:
		kind = KindNode
	default:
		return Ref{}, fmt.Errorf("objects of type %T are not taken", o)
	}
	if reflect.ValueOf(o).IsNil() {
		return Ref{}, fmt.Errorf("%s is nil", kind)
	}
	return Ref{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}, nil
}

// encodeObject checks an object that came from the upstream and renders it as it is
// stored. The error names the field.
func encodeObject(ref Ref, o metav1.Object) (json.RawMessage, error) {
	if got, err := refOf(o); err != nil {
		return nil, err
	} else if got != ref {
		return nil, fmt.Errorf("object is %s", got)
	}
	if bad := badRef(ref); bad != "" {
		return nil, errors.New(bad)
	}
	if errs := validate(o); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	value, err := json.Marshal(trim(o))
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	if len(value) > maxObject {
		return nil, fmt.Errorf("object has %d bytes, at most %d are taken", len(value), maxObject)
	}
	if bad := quantity.Check(value, reflect.TypeOf(o).Elem()); bad != nil {
		return nil, bad
	}
	return value, nil
}

func validate(o metav1.Object) field.ErrorList {
	switch o := o.(type) {
	case *corev1.ConfigMap:
		return object.ValidateConfigMap(o)
	case *corev1.Secret:
		return object.ValidateSecret(o)
	}
	return nil
}

// trim returns a copy without what nobody on a node reads. Of a node, heartbeats
// are left out: they change without end and say nothing here.
func trim(o metav1.Object) metav1.Object {
	switch o := o.(type) {
	case *corev1.ConfigMap:
		c := *o
		c.ManagedFields = nil
		return &c
	case *corev1.Secret:
		c := *o
		c.ManagedFields = nil
		return &c
	case *corev1.PersistentVolumeClaim:
		c := *o
		c.ManagedFields = nil
		return &c
	case *corev1.PersistentVolume:
		c := *o
		c.ManagedFields = nil
		return &c
	case *corev1.Node:
		return withoutHeartbeats(o)
	}
	return o
}

func withoutHeartbeats(node *corev1.Node) *corev1.Node {
	node = node.DeepCopy()
	node.ManagedFields = nil
	node.ResourceVersion = "" // rises with each of them
	for i := range node.Status.Conditions {
		node.Status.Conditions[i].LastHeartbeatTime = metav1.Time{}
	}
	return node
}

// badRef says what is wrong with the names of an object.
func badRef(ref Ref) string {
	if ref.Kind != KindPersistentVolume && ref.Kind != KindNode {
		if bad := badName("metadata.namespace", ref.Namespace); bad != "" {
			return bad
		}
	}
	return badName("metadata.name", ref.Name)
}
