package imagepull_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/edged-project/edged/podmanager/imagepull"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func ExamplePuller_Ensure() {
	runtime := &fakeRuntime{pull: func(_ context.Context, image string) error {
		if image == "nginx:1.27" {
			return nil
		}
		return errors.New("manifest unknown")
	}}
	puller := imagepull.New(runtime, imagepull.Config{})
	for _, image := range []string{"nginx:1.27", "nginx:9.99", "nginx:9.99", "http://nginx"} {
		image, release, err := puller.Ensure(context.Background(), pod("uid"),
			&corev1.Container{Name: "app", Image: image, ImagePullPolicy: corev1.PullIfNotPresent},
			&runtimeapi.PodSandboxConfig{})
		var waiting *imagepull.Error
		if errors.As(err, &waiting) {
			fmt.Println(waiting.WaitingReason()+":", waiting)
			continue
		}
		fmt.Println(image.GetId())
		release() // once the container is created
	}
	// Output:
	// sha256:nginx:1.27
	// ErrImagePull: manifest unknown
	// ImagePullBackOff: Back-off pulling image "nginx:9.99": ErrImagePull: manifest unknown
	// InvalidImageName: Failed to apply default image tag "http://nginx": couldn't parse image name "http://nginx": invalid reference format
}
