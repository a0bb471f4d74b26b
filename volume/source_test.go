package volume_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/volume"
)

// shelf has the objects of the namespace shop, notes what it is asked for, and
// hears the events.
type shelf struct {
	mu         sync.Mutex // guards all
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
	claims     map[string]*corev1.PersistentVolumeClaim
	volumes    map[string]*corev1.PersistentVolume
	err        error // instead of all
	tokenErr   error
	asked      []string
	requests   []*authenticationv1.TokenRequest
	events     []string
	onAsked    func(what string) // called without the lock
}

func newShelf() *shelf {
	return &shelf{
		configMaps: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{},
		claims: map[string]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{},
	}
}

func get[T any](s *shelf, kind, namespace, name string, from map[string]*T) (*T, error) {
	s.mu.Lock()
	s.asked = append(s.asked, kind+" "+name)
	object, err, onAsked := from[name], s.err, s.onAsked
	s.mu.Unlock()
	if onAsked != nil {
		onAsked(kind + " " + name)
	}
	if err != nil {
		return nil, err
	}
	if object == nil || namespace != "shop" && namespace != "" {
		return nil, apierrors.NewNotFound(corev1.Resource(kind), name)
	}
	return object, nil
}

func (s *shelf) ConfigMap(_ context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return get(s, "configmaps", namespace, name, s.configMaps)
}

func (s *shelf) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	return get(s, "secrets", namespace, name, s.secrets)
}

func (s *shelf) PersistentVolumeClaim(_ context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	return get(s, "persistentvolumeclaims", namespace, name, s.claims)
}

func (s *shelf) PersistentVolume(_ context.Context, name string) (*corev1.PersistentVolume, error) {
	return get(s, "persistentvolumes", "", name, s.volumes)
}

// ServiceAccountToken issues token 1, token 2 and so on, as long-lived as was asked.
func (s *shelf) ServiceAccountToken(
	_ context.Context, namespace, name string, request *authenticationv1.TokenRequest,
) (*authenticationv1.TokenRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, "token "+namespace+"/"+name)
	if s.tokenErr != nil {
		return nil, s.tokenErr
	}
	s.requests = append(s.requests, request)
	answer := request.DeepCopy()
	answer.Status.Token = fmt.Sprintf("token %d", len(s.requests))
	answer.Status.ExpirationTimestamp = metav1.NewTime(time.Now().Add(time.Duration(*request.Spec.ExpirationSeconds) * time.Second))
	return answer, nil
}

func (s *shelf) Event(about *corev1.ObjectReference, eventType, reason, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf("%s/%s %s %s %s", about.Kind, about.Name, eventType, reason, message))
}

func (s *shelf) setConfigMap(name string, data map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configMaps[name] = &corev1.ConfigMap{Data: data}
}

func (s *shelf) setSecret(name string, data map[string][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[name] = &corev1.Secret{Data: data}
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.tokenErr = err, err
}

// whenAsked has do called whenever the source is asked for something.
func (s *shelf) whenAsked(do func(what string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onAsked = do
}

func (s *shelf) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

func (s *shelf) takeAsked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// manager returns a new Manager below the root, as of an agent that was just started.
func (s *shelf) manager(root string, change ...func(*volume.Config)) *volume.Manager {
	cfg := volume.Config{Root: root, Recorder: s, Downward: labelsOnly}
	for _, c := range change {
		c(&cfg)
	}
	return volume.New(s, cfg)
}

// labelsOnly serves the field metadata.labels['a'], under any name but "bad".
func labelsOnly(pod *corev1.Pod, item *corev1.DownwardAPIVolumeFile) (string, error) {
	if item.FieldRef == nil || item.FieldRef.FieldPath == "bad" {
		return "", fmt.Errorf("fieldPath: bad is not supported")
	}
	return pod.Labels["a"], nil
}

// shopPod is podWith in the namespace shop.
func shopPod(volumes ...corev1.Volume) *corev1.Pod {
	pod := podWith("uid", volumes...)
	pod.Namespace, pod.Name = "shop", "web"
	return pod
}

func configMap(name string, change ...func(*corev1.ConfigMapVolumeSource)) corev1.Volume {
	source := &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}
	for _, c := range change {
		c(source)
	}
	return corev1.Volume{Name: "v-" + name, VolumeSource: corev1.VolumeSource{ConfigMap: source}}
}

func secret(name string) corev1.Volume {
	return corev1.Volume{Name: "v-" + name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}}
}

func projected(sources ...corev1.VolumeProjection) corev1.Volume {
	return corev1.Volume{Name: "all", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}}}
}

func ofConfigMap(name string) corev1.VolumeProjection {
	return corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}
}

func labelFile(path string) corev1.DownwardAPIVolumeFile {
	return corev1.DownwardAPIVolumeFile{Path: path, FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['a']"}}
}

// filesIn returns the content of the files that the volume shows.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		if name := entry.Name(); name[0] != '.' {
			data, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			files[name] = string(data)
		}
	}
	return files
}
