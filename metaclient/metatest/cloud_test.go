package metatest_test

import (
	"testing"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/metatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world drives a Cloud.
type world struct {
	*metatest.Cloud
	pods    []*corev1.Pod
	objects []metav1.Object
}

func (w *world) Set(_ *testing.T, pods []*corev1.Pod, objects []metav1.Object) {
	kept := map[string]bool{}
	for _, o := range objects {
		kept[o.GetName()] = true
		w.Put(o)
	}
	for _, o := range w.objects {
		if _, ok := o.(*corev1.ConfigMap); ok && !kept[o.GetName()] {
			w.Delete(metaclient.Ref{Kind: metaclient.KindConfigMap, Namespace: o.GetNamespace(), Name: o.GetName()})
		}
	}
	for _, pod := range w.pods {
		w.DeletePods(pod.UID)
	}
	for _, pod := range pods {
		w.Put(pod)
	}
	w.pods, w.objects = pods, objects
}

func TestCloudConforms(t *testing.T) {
	metatest.Conform(t, func(*testing.T) metatest.World { return &world{Cloud: metatest.New()} })
}
