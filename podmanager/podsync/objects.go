package podsync

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/edged-project/edged/podmanager/podspec"
)

// Objects gives the ConfigMaps and Secrets that the environments of containers
// refer to. Each is asked for once per start of a container, by none that does not
// refer to it, from many goroutines. The container waits for the answer: a call
// must have a deadline of its own, and is best answered by a cache.
//
// That an object does not exist is an error for which IsNotFound of
// k8s.io/apimachinery/pkg/api/errors holds; only that can an optional reference do
// without. What is returned is shared and not changed.
type Objects interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Services gives the services of which a pod in the namespace is told by its
// environment: those of the namespace and "kubernetes" of the default namespace.
// Others may be among them. It is asked once per start of a container, as Objects
// is. An error, as while the services are not known yet, makes the container wait.
type Services interface {
	Services(ctx context.Context, namespace string) ([]*corev1.Service, error)
}

// fetchObjects adds to the options what the container's environment is made from.
func (s *Syncer) fetchObjects(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, options *podspec.ContainerOptions) (err error) {
	configMaps, secrets := podspec.EnvObjects(spec)
	if options.ConfigMaps, err = fetch(ctx, "configMap", pod.Namespace, configMaps, s.rooms.Objects.ConfigMap); err != nil {
		return err
	}
	if options.Secrets, err = fetch(ctx, "secret", pod.Namespace, secrets, s.rooms.Objects.Secret); err != nil {
		return err
	}
	if options.Services, err = s.rooms.Services.Services(ctx, pod.Namespace); err != nil {
		return fmt.Errorf("couldn't list services: %w", err)
	}
	return nil
}

// fetch gets the objects that exist. Whether one that does not is missed is for
// podspec to say.
func fetch[T any](
	ctx context.Context, kind, namespace string, names []string, get func(ctx context.Context, namespace, name string) (*T, error),
) (map[string]*T, error) {
	found := make(map[string]*T, len(names))
	for _, name := range names {
		object, err := get(ctx, namespace, name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("couldn't get %s %s/%s: %w", kind, namespace, name, err)
		}
		found[name] = object
	}
	return found, nil
}

// noObjects has none, and does not say that they do not exist.
type noObjects struct{}

func (noObjects) ConfigMap(context.Context, string, string) (*corev1.ConfigMap, error) {
	return nil, errors.New("no source of ConfigMaps is configured")
}

func (noObjects) Secret(context.Context, string, string) (*corev1.Secret, error) {
	return nil, errors.New("no source of Secrets is configured")
}

// noServices tells pods of none.
type noServices struct{}

func (noServices) Services(context.Context, string) ([]*corev1.Service, error) { return nil, nil }
