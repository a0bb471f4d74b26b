package podspec_test

import (
	"fmt"

	"github.com/edged-project/edged/podmanager/podspec"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func Example() {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "hello", Namespace: "default", UID: "42"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "app", Image: "busybox:1.36",
			Args: []string{"echo", "$(GREETING), world"},
			Env:  []corev1.EnvVar{{Name: "GREETING", Value: "Hello"}},
		}}},
	}
	if errs := podspec.Complete(pod); len(errs) > 0 {
		fmt.Println(errs.ToAggregate())
		return
	}
	sandbox, err := podspec.Sandbox(pod, podspec.SandboxOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	container, err := podspec.Container(pod, &pod.Spec.Containers[0], podspec.ContainerOptions{
		Image: &runtimeapi.Image{Id: "sha256:abc"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sandbox.LogDirectory + "/" + container.LogPath)
	fmt.Println(container.Args)

	_, err = podspec.Container(pod, &corev1.Container{Name: "app", VolumeMounts: []corev1.VolumeMount{{BindMountOptions: []string{"noexec"}}}},
		podspec.ContainerOptions{Image: &runtimeapi.Image{Id: "sha256:abc"}})
	fmt.Println(err)
	// Output:
	// /var/log/pods/default_hello_42/app/0.log
	// [echo Hello, world]
	// spec.containers[0].volumeMounts[0].bindMountOptions: not supported yet
}
