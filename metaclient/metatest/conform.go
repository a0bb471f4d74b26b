package metatest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/metaclient"
)

// World is a control plane with an upstream to it, as Conform drives it.
type World interface {
	metaclient.Upstream
	// Set makes these the only pods and objects (ConfigMaps and Secrets) that there
	// are. Pods have UIDs and one container.
	Set(t *testing.T, pods []*corev1.Pod, objects []metav1.Object)
}

// patience is for slow worlds; what works comes at once.
const patience = 30 * time.Second

// Conform runs the suite of what metaclient expects of an upstream. Each test gets a
// new World, which is empty.
func Conform(t *testing.T, newWorld func(t *testing.T) World) {
	for name, test := range map[string]func(t *testing.T, w World){
		"the first set is delivered even when it is empty": firstSet,
		"pods come, change and go":                         podsChange,
		"what is delivered may be changed":                 deliveriesAreOwn,
		"an error of the sink ends the watch":              sinkError,
		"a new watch begins with a complete set":           newWatch,
		"objects can be asked for":                         objectsAsked,
		"changes of objects are told or can be asked for":  objectsChange,
	} {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t)) })
	}
}

func firstSet(t *testing.T, w World) {
	s := watch(t, w)
	s.eventually(t, "an empty set", func() bool { return s.sets == 1 && len(s.pods) == 0 })
}

func podsChange(t *testing.T, w World) {
	w.Set(t, []*corev1.Pod{pod("a", "1")}, nil)
	s := watch(t, w)
	s.eventually(t, "pod a", func() bool { return slices.Equal(s.images(), []string{"a:1"}) })
	w.Set(t, []*corev1.Pod{pod("a", "2"), pod("b", "1")}, nil)
	s.eventually(t, "both pods", func() bool { return slices.Equal(s.images(), []string{"a:2", "b:1"}) })
	w.Set(t, []*corev1.Pod{pod("b", "1")}, nil)
	s.eventually(t, "pod b alone", func() bool { return slices.Equal(s.images(), []string{"b:1"}) })
	w.Set(t, nil, nil)
	s.eventually(t, "no pod", func() bool { return len(s.pods) == 0 })
}

func deliveriesAreOwn(t *testing.T, w World) {
	w.Set(t, []*corev1.Pod{pod("a", "1")}, []metav1.Object{configMap("c", "1")})
	getter, ok := w.(metaclient.Getter)
	if !ok {
		t.Skip("cannot be asked")
	}
	s := watch(t, w)
	s.eventually(t, "pod a", func() bool { return len(s.pods) == 1 })
	for range 2 {
		o, err := getter.Get(t.Context(), refOf(configMap("c", "")))
		if err != nil || o.(*corev1.ConfigMap).Data["key"] != "1" {
			t.Fatalf("got %v, %v", o, err)
		}
		o.(*corev1.ConfigMap).Data["key"] = "spoilt"
	}
}

func sinkError(t *testing.T, w World) {
	w.Set(t, []*corev1.Pod{pod("a", "1")}, nil)
	full := errors.New("disk is full")
	ended := make(chan error, 1)
	go func() { ended <- w.Watch(t.Context(), &sink{fail: full}) }()
	select {
	case err := <-ended:
		if !errors.Is(err, full) {
			t.Fatalf("Watch returned %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Watch goes on")
	}
}

func newWatch(t *testing.T, w World) {
	w.Set(t, []*corev1.Pod{pod("a", "1")}, nil)
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		s := &sink{}
		ended := make(chan error, 1)
		go func() { ended <- w.Watch(ctx, s) }()
		s.eventually(t, "the set", func() bool { return len(s.pods) == 1 })
		cancel()
		if err := <-ended; err != nil {
			t.Fatalf("Watch returned %v when its context ended", err)
		}
	}
}

func objectsAsked(t *testing.T, w World) {
	getter, ok := w.(metaclient.Getter)
	if !ok {
		t.Skip("cannot be asked")
	}
	w.Set(t, nil, []metav1.Object{configMap("c", "1"), secret("s", "hidden")})
	s := watch(t, w)
	s.eventually(t, "the set", func() bool { return s.sets > 0 })
	o, err := getter.Get(t.Context(), refOf(secret("s", "")))
	if err != nil || string(o.(*corev1.Secret).Data["key"]) != "hidden" {
		t.Fatalf("secret s: %v", err)
	}
	for _, ref := range []metaclient.Ref{refOf(configMap("s", "")), refOf(secret("c", "")), refOf(secret("none", ""))} {
		if o, err := getter.Get(t.Context(), ref); !apierrors.IsNotFound(err) {
			t.Fatalf("%s: got %v and error %v, want one of not found", ref, o, err)
		}
	}
}

func objectsChange(t *testing.T, w World) {
	w.Set(t, nil, []metav1.Object{configMap("c", "1"), secret("s", "1")})
	s := watch(t, w)
	s.eventually(t, "the set", func() bool { return s.sets > 0 })
	getter, _ := w.(metaclient.Getter)
	now := func(ref metaclient.Ref) string {
		if getter != nil {
			o, err := getter.Get(t.Context(), ref)
			if apierrors.IsNotFound(err) {
				return "gone"
			}
			if err == nil {
				return value(o)
			}
		}
		return s.objects[ref]
	}
	w.Set(t, nil, []metav1.Object{configMap("c", "2"), secret("s", "2")})
	s.eventually(t, "both changed", func() bool {
		return now(refOf(configMap("c", ""))) == "2" && now(refOf(secret("s", ""))) == "2"
	})
	w.Set(t, nil, []metav1.Object{secret("s", "3")})
	s.eventually(t, "one gone", func() bool {
		return now(refOf(configMap("c", ""))) == "gone" && now(refOf(secret("s", ""))) == "3"
	})
}

// sink notes what was delivered.
type sink struct {
	mu      sync.Mutex // guards the rest
	fail    error
	sets    int
	pods    []*corev1.Pod
	objects map[metaclient.Ref]string
}

// watch watches the world until the test ends.
func watch(t *testing.T, w World) *sink {
	s := &sink{objects: map[metaclient.Ref]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Watch(ctx, s) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Watch returned %v", err)
		}
	})
	return s
}

func (s *sink) Pods(_ context.Context, pods []*corev1.Pod) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sets, s.pods = s.sets+1, pods
	return s.fail
}

// PodsSoFar counts for nothing: of a world all is known.
func (s *sink) PodsSoFar(context.Context, []*corev1.Pod) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fail
}

func (s *sink) Object(_ context.Context, o metav1.Object) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects != nil {
		s.objects[refOf(o)] = value(o)
	}
	return s.fail
}

func (s *sink) Gone(_ context.Context, ref metaclient.Ref, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects != nil {
		s.objects[ref] = "gone"
	}
	return s.fail
}

func (s *sink) images() []string {
	var images []string
	for _, pod := range s.pods {
		images = append(images, pod.Spec.Containers[0].Image)
	}
	slices.Sort(images)
	return images
}

func (s *sink) eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		s.mu.Lock()
		ok := condition()
		s.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never saw %s", what)
		}
	}
}

func pod(name, tag string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: name + ":" + tag}}}}
	p.APIVersion, p.Kind = "v1", "Pod"
	p.Namespace, p.Name, p.UID = "default", name, types.UID("uid-of-"+name)
	return p
}

func configMap(name, value string) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{Data: map[string]string{"key": value}}
	cm.APIVersion, cm.Kind = "v1", "ConfigMap"
	cm.Namespace, cm.Name = "default", name
	return cm
}

func secret(name, value string) *corev1.Secret {
	s := &corev1.Secret{Data: map[string][]byte{"key": []byte(value)}, Type: corev1.SecretTypeOpaque}
	s.APIVersion, s.Kind = "v1", "Secret"
	s.Namespace, s.Name = "default", name
	return s
}

func value(o metav1.Object) string {
	switch o := o.(type) {
	case *corev1.ConfigMap:
		return o.Data["key"]
	case *corev1.Secret:
		return string(o.Data["key"])
	}
	return ""
}
