// Package imagepull makes sure that a container's image is on the node before
// the container is created: by its pull policy, with one pull at a time for
// each image, few pulls at once, and a back-off for each pod and image.
//
//	puller := imagepull.New(client, imagepull.Config{})
//	…
//	image, err := puller.Ensure(ctx, pod, container, sandboxConfig)
//	var waiting *imagepull.Error
//	if errors.As(err, &waiting) {
//		// status: waiting.WaitingReason() ("ErrImagePull") and waiting.Error();
//		// look again at waiting.RetryAt()
//	}
//	config, err := podspec.Container(pod, container, podspec.ContainerOptions{Image: image})
//	…
//	puller.Forget(pod.UID) // when the pod is gone
//
// A pull has no deadline: it lasts as long as somebody waits for it, and ends
// when the last of them gives up. Reasons and texts are those of the kubelet.
//
// The package starts nothing of its own: no goroutine outlives the calls of
// Ensure. It keeps the back-off in memory, so that after a restart of the
// agent each image is tried at once. It pulls without credentials, and
// protects no image from garbage collection.
package imagepull
