package volume

import (
	"context"
	"errors"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
)

// Objects gives the ConfigMaps and Secrets that volumes show. It is asked at each
// Mount and after each change, from many goroutines; pods wait for the answer, so
// that it is best a cache, and a call must have a deadline of its own.
//
// That an object does not exist is an error for which IsNotFound of
// k8s.io/apimachinery/pkg/api/errors holds; only that can an optional reference do
// without. What is returned is shared and not changed.
//
// What the source can do beside it tells by having the methods of Tokens and Claims.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Tokens issues the tokens of service accounts that projected volumes show.
type Tokens interface {
	// ServiceAccountToken returns the request with its status filled in.
	ServiceAccountToken(ctx context.Context, namespace, name string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Claims gives claims and what they are bound to.
type Claims interface {
	PersistentVolumeClaim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error)
	PersistentVolume(ctx context.Context, name string) (*corev1.PersistentVolume, error)
}

// The kinds of objects that Changed is told of.
const (
	KindConfigMap = "ConfigMap"
	KindSecret    = "Secret"
)

// ref names an object that a volume shows.
type ref struct{ kind, namespace, name string }

// refsOf returns what the content of the volume is made from.
func refsOf(namespace string, volume *corev1.Volume) []ref {
	var refs []ref
	configMap := func(name string) { refs = append(refs, ref{KindConfigMap, namespace, name}) }
	secret := func(name string) { refs = append(refs, ref{KindSecret, namespace, name}) }
	switch {
	case volume.ConfigMap != nil:
		configMap(volume.ConfigMap.Name)
	case volume.Secret != nil:
		secret(volume.Secret.SecretName)
	case volume.Projected != nil:
		for _, source := range volume.Projected.Sources {
			if source.ConfigMap != nil {
				configMap(source.ConfigMap.Name)
			}
			if source.Secret != nil {
				secret(source.Secret.Name)
			}
		}
	}
	return refs
}

// noObjects has none, and does not say that they do not exist.
type noObjects struct{}

func (noObjects) ConfigMap(context.Context, string, string) (*corev1.ConfigMap, error) {
	return nil, errors.New("no source of ConfigMaps is configured")
}

func (noObjects) Secret(context.Context, string, string) (*corev1.Secret, error) {
	return nil, errors.New("no source of Secrets is configured")
}
