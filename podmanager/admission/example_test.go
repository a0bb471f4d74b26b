package admission_test

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/podmanager/admission"
)

func Example() {
	node := admission.Node{
		Name:        "edge-1",
		Allocatable: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
	}
	camera := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "camera", UID: "1"}}
	camera.Spec.Containers = []corev1.Container{{
		Name:      "camera",
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("300Mi")}},
	}}
	fmt.Println(admission.Check(camera, node, nil) == nil)

	second := camera.DeepCopy()
	second.UID = "2"
	why := admission.Check(second, node, []*corev1.Pod{camera})
	fmt.Println(why.Reason)
	fmt.Println(why.Message)
	// Output:
	// true
	// OutOfmemory
	// Node didn't have enough resource: memory, requested: 314572800, used: 314572800, capacity: 536870912
}
