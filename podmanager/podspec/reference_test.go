package podspec_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/podmanager/podspec"
)

func TestReferenceNamesThePodAndTheContainersPlaceInIt(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid-1", ResourceVersion: "7"},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "prepare"}},
			Containers:     []corev1.Container{{Name: "app"}},
		},
	}
	assert.Equal(t, &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web", UID: "uid-1", ResourceVersion: "7",
	}, podspec.Reference(pod, nil))
	assert.Equal(t, "spec.containers{app}", podspec.Reference(pod, &pod.Spec.Containers[0]).FieldPath)
	assert.Equal(t, "spec.initContainers{prepare}", podspec.Reference(pod, &pod.Spec.InitContainers[0]).FieldPath)
}
