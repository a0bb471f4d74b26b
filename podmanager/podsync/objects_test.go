package podsync_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/podmanager/podsync"
)

// shelf has the ConfigMaps and Secrets of the namespace shop, by name, and notes
// what it is asked for.
type shelf struct {
	configMaps map[string]map[string]string
	secrets    map[string]map[string][]byte
	services   []*corev1.Service
	err        error // instead of all
	asked      []string
}

func (s *shelf) ConfigMap(_ context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	s.asked = append(s.asked, "configmap "+namespace+"/"+name)
	if data, ok := s.configMaps[name]; ok && namespace == "shop" {
		return &corev1.ConfigMap{Data: data}, s.err
	}
	return nil, s.missing("configmap", name)
}

func (s *shelf) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	s.asked = append(s.asked, "secret "+namespace+"/"+name)
	if data, ok := s.secrets[name]; ok && namespace == "shop" {
		return &corev1.Secret{Data: data}, s.err
	}
	return nil, s.missing("secret", name)
}

func (s *shelf) Services(_ context.Context, namespace string) ([]*corev1.Service, error) {
	s.asked = append(s.asked, "services "+namespace)
	return s.services, s.err
}

func (s *shelf) missing(kind, name string) error {
	if s.err != nil {
		return s.err
	}
	return apierrors.NewNotFound(corev1.Resource(kind), name)
}

// withObjects syncs the pod of one container once and returns the container's
// environment and the reason and message with which it waits.
func withObjects(t *testing.T, s *stage, pod *corev1.Pod, rooms podsync.Rooms) (env []string, waiting string) {
	t.Helper()
	runtime := &spy{Runtime: s.client, created: func(config *runtimeapi.ContainerConfig) {
		for _, pair := range config.Envs {
			env = append(env, pair.Key+"="+string(pair.Value))
		}
	}}
	rooms.Runtime, rooms.Observer, rooms.Images, rooms.Volumes, rooms.Status = runtime, s.observe, s.images, s.volumes, s.see
	cfg := podsync.Config{Root: s.logs + "/root", LogLinks: s.logs + "/links", Recorder: s}
	cfg.Sandbox.LogRoot = s.logs + "/pods"
	if _, err := podsync.New(rooms, cfg).Sync(t.Context(), pod); err != nil {
		state := s.last().Waiting["a"]
		return env, state.Reason + ": " + state.Message
	}
	return env, ""
}

// podThatRefers has a container "a" that takes all of the ConfigMap settings and
// two keys of the Secret login.
func podThatRefers(optional bool) *corev1.Pod {
	pod := podOf("a")
	name := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	c := &pod.Spec.Containers[0]
	c.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: name("settings"), Optional: &optional}}}
	for _, key := range []string{"USER", "PASSWORD"} {
		c.Env = append(c.Env, corev1.EnvVar{Name: key, ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: name("login"), Key: key, Optional: &optional},
		}})
	}
	return pod
}

func fullShelf() *shelf {
	return &shelf{
		configMaps: map[string]map[string]string{"settings": {"COLOR": "red"}, "other": {"X": "1"}},
		secrets:    map[string]map[string][]byte{"login": {"USER": []byte("me"), "PASSWORD": []byte("hidden")}},
	}
}

func TestAContainerGetsTheObjectsItsEnvironmentRefersTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := fullShelf()
		env, waiting := withObjects(t, newStage(t, critest.Config{}), podThatRefers(false), podsync.Rooms{Objects: objects})
		assert.Empty(t, waiting)
		assert.Equal(t, []string{"COLOR=red", "USER=me", "PASSWORD=hidden"}, env)
		assert.Equal(t, []string{"configmap shop/settings", "secret shop/login"}, objects.asked, "each once, and no other")
	})
}

func TestAContainerWaitsForItsObjects(t *testing.T) {
	broken := fullShelf()
	broken.err = errors.New("no connection")
	noKey := fullShelf()
	delete(noKey.secrets["login"], "PASSWORD")
	for name, row := range map[string]struct {
		optional bool
		rooms    podsync.Rooms
		want     string
	}{
		"missing ConfigMap": {false, podsync.Rooms{Objects: &shelf{}}, `configmap "settings" not found`},
		"missing Secret":    {false, podsync.Rooms{Objects: &shelf{configMaps: fullShelf().configMaps}}, `secret "login" not found`},
		"missing key":       {false, podsync.Rooms{Objects: noKey}, "couldn't find key PASSWORD in Secret shop/login"},
		"optional is only what is not found": {
			true, podsync.Rooms{Objects: broken}, "couldn't get configMap shop/settings: no connection",
		},
		"nobody to ask": {
			false, podsync.Rooms{}, "couldn't get configMap shop/settings: no source of ConfigMaps is configured",
		},
		"nobody to ask for what is optional": {
			true, podsync.Rooms{}, "couldn't get configMap shop/settings: no source of ConfigMaps is configured",
		},
		"services are not known yet": {
			false, podsync.Rooms{Objects: fullShelf(), Services: broken}, "couldn't list services: no connection",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				_, waiting := withObjects(t, s, podThatRefers(row.optional), row.rooms)
				assert.Equal(t, "CreateContainerConfigError: "+row.want, waiting)
				assert.Contains(t, s.events, "Warning Failed spec.containers{a}: Error: "+row.want)
				assert.Equal(t, "RunPodSandbox web; PullImage a", s.changes())
			})
		})
	}
}

func TestOptionalObjectsMayBeMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env, waiting := withObjects(t, newStage(t, critest.Config{}), podThatRefers(true), podsync.Rooms{Objects: &shelf{}})
		assert.Empty(t, waiting)
		assert.Empty(t, env)
	})
}

func TestAWaitingContainerStartsOnceItsObjectIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, pod, objects := newStage(t, critest.Config{}), podThatRefers(false), &shelf{}
		_, waiting := withObjects(t, s, pod, podsync.Rooms{Objects: objects})
		require.NotEmpty(t, waiting)
		*objects = *fullShelf()
		env, waiting := withObjects(t, s, pod, podsync.Rooms{Objects: objects})
		assert.Empty(t, waiting)
		assert.Len(t, env, 3)
	})
}

func TestAContainerIsToldOfServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &shelf{services: []*corev1.Service{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"},
			Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Port: 443}}},
		}}}
		env, waiting := withObjects(t, newStage(t, critest.Config{}), podOf("a"), podsync.Rooms{Services: source})
		assert.Empty(t, waiting)
		assert.Contains(t, env, "KUBERNETES_SERVICE_HOST=10.96.0.1")
		assert.Equal(t, []string{"services shop"}, source.asked)
	})
}
