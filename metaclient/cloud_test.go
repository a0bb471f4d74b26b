package metaclient_test

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/metatest"
)

// Objects that the tests put into a metatest.Cloud.

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Data:       map[string]string{"key": value},
	}
}

func secret(name, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{"key": []byte(value)},
	}
}

func configMapRef(name string) metaclient.Ref {
	return metaclient.Ref{Kind: metaclient.KindConfigMap, Namespace: "default", Name: name}
}

func secretRef(name string) metaclient.Ref {
	return metaclient.Ref{Kind: metaclient.KindSecret, Namespace: "default", Name: name}
}

// uses is a pod with a ConfigMap in its environment and a Secret in a volume; empty
// names are left out.
func uses(name, configMap, secret string) *corev1.Pod {
	p := pod(name)
	if configMap != "" {
		p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{
			ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}},
		}}
	}
	if secret != "" {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			Secret: &corev1.SecretVolumeSource{SecretName: secret, Optional: new(true)},
		}}}
	}
	return p
}

// everything is a pod that refers to something in each way there is.
// cloudWith holds the objects and what is referred to.
func cloudWith(refs []metaclient.Ref, objects ...metav1.Object) *metatest.Cloud {
	cloud := metatest.New()
	cloud.Put(objects...)
	for _, ref := range refs {
		cloud.Put(objectFor(ref))
	}
	return cloud
}

func everything(t *testing.T) (p *corev1.Pod, refs []metaclient.Ref) {
	t.Helper()
	p = &corev1.Pod{}
	require.NoError(t, json.Unmarshal([]byte(`{
		"metadata": {"namespace": "default", "name": "all", "uid": "uid-of-all"},
		"spec": {
			"serviceAccountName": "robot",
			"imagePullSecrets": [{"name": "pull"}],
			"initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "init-from"}}],
				"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "init-env", "key": "key"}}}]}],
			"containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "from"}}],
				"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "env", "key": "key"}}}, {"name": "B", "value": "x"}]}],
			"ephemeralContainers": [{"name": "e", "envFrom": [{"configMapRef": {"name": "ephemeral"}}]}],
			"volumes": [
				{"name": "a", "configMap": {"name": "volume"}},
				{"name": "b", "secret": {"secretName": "volume"}},
				{"name": "c", "projected": {"sources": [
					{"configMap": {"name": "projected"}}, {"secret": {"name": "projected"}},
					{"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 7200}}]}},
				{"name": "d", "persistentVolumeClaim": {"claimName": "claim"}},
				{"name": "e", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "csi"}}},
				{"name": "f", "emptyDir": {}}
			]
		}}`), p))
	for _, name := range []string{"init-env", "from", "ephemeral", "volume", "projected"} {
		refs = append(refs, configMapRef(name))
	}
	for _, name := range []string{"pull", "init-from", "env", "volume", "projected", "csi"} {
		refs = append(refs, secretRef(name))
	}
	return p, append(refs,
		metaclient.Ref{Kind: metaclient.KindPersistentVolumeClaim, Namespace: "default", Name: "claim"},
		metaclient.Ref{Kind: metaclient.KindPersistentVolume, Name: "disk"},
		metaclient.Ref{Kind: metaclient.KindSecret, Namespace: "storage", Name: "stage"})
}

// objectFor makes an object for a ref of everything.
func objectFor(ref metaclient.Ref) metav1.Object {
	meta := metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name}
	switch ref.Kind {
	case metaclient.KindConfigMap:
		return &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"key": "of " + ref.Name}}
	case metaclient.KindSecret:
		return &corev1.Secret{ObjectMeta: meta, Data: map[string][]byte{"key": []byte("of " + ref.Name)}}
	case metaclient.KindPersistentVolumeClaim:
		return &corev1.PersistentVolumeClaim{ObjectMeta: meta, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "disk"}}
	default:
		return &corev1.PersistentVolume{ObjectMeta: meta, Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: "x", VolumeHandle: "y", NodeStageSecretRef: &corev1.SecretReference{Namespace: "storage", Name: "stage"},
			}}}}
	}
}

// get reads any object.
func get(ctx context.Context, c *metaclient.Client, ref metaclient.Ref) (metav1.Object, error) {
	switch ref.Kind {
	case metaclient.KindConfigMap:
		return c.ConfigMap(ctx, ref.Namespace, ref.Name)
	case metaclient.KindSecret:
		return c.Secret(ctx, ref.Namespace, ref.Name)
	case metaclient.KindPersistentVolumeClaim:
		return c.PersistentVolumeClaim(ctx, ref.Namespace, ref.Name)
	case metaclient.KindPersistentVolume:
		return c.PersistentVolume(ctx, ref.Name)
	default:
		return c.Node(ctx, ref.Name)
	}
}

// changes keeps what OnObject was told.
type changes struct {
	mu   sync.Mutex
	told []string
}

func (c *changes) onObject(kind, namespace, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, kind+" "+namespace+"/"+name)
}

func (c *changes) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	told := c.told
	c.told = nil
	return told
}

// stubborn is a Cloud that does not answer some questions, or wrongly.
type stubborn struct {
	*metatest.Cloud
	refuse  atomic.Bool
	instead atomic.Pointer[corev1.ConfigMap]
}

func (s *stubborn) Get(ctx context.Context, ref metaclient.Ref) (metav1.Object, error) {
	if s.refuse.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if cm := s.instead.Load(); cm != nil {
		return cm.DeepCopy(), nil
	}
	return s.Cloud.Get(ctx, ref)
}

// overtaken answers when the test says so.
type overtaken struct {
	*fakeUpstream
	asked  chan struct{}
	answer chan metav1.Object
}

func (o *overtaken) Get(ctx context.Context, _ metaclient.Ref) (metav1.Object, error) {
	close(o.asked)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case object := <-o.answer:
		return object, nil
	}
}

// silentSet delivers what the test says, and asks a Cloud.
type silentSet struct {
	*fakeUpstream
	cloud *metatest.Cloud
}

func (s *silentSet) Get(ctx context.Context, ref metaclient.Ref) (metav1.Object, error) {
	return s.cloud.Get(ctx, ref)
}
