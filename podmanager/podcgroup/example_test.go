package podcgroup_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/podmanager/podcgroup"
)

// With systemd nothing is written: the runtime is told the slice.
func Example() {
	cgroups := podcgroup.New(nil, podcgroup.Config{Driver: podcgroup.Systemd}) // a *cri.Client instead of nil is asked for the driver
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "1f9a-77"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}
	parent, err := cgroups.Ensure(context.Background(), pod)
	fmt.Println(parent, err)
	// Output: kubepods-besteffort-pod1f9a_77.slice <nil>
}
