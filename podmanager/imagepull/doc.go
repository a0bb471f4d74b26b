// Package imagepull makes sure that a container's image is on the node before
// the container is created: by its pull policy, with the credentials of the pod,
// the node and the node's credential provider plugins, few pulls at once, and a
// back-off for each pod and image.
//
//	plugins, err := imagepull.ReadCredentialProviders("/etc/providers.yaml", "/opt/providers")
//	…
//	puller := imagepull.New(client, imagepull.Config{
//		Secrets:             store, // for imagePullSecrets
//		DockerConfig:        "/var/lib/kubelet/config.json",
//		CredentialProviders: plugins,
//	})
//	…
//	image, release, err := puller.Ensure(ctx, pod, container, sandboxConfig)
//	var waiting *imagepull.Error
//	if errors.As(err, &waiting) {
//		// status: waiting.WaitingReason() ("ErrImagePull") and waiting.Error();
//		// look again at waiting.RetryAt()
//	}
//	… create the container with image …
//	release()
//	puller.Forget(pod.UID) // when the pod is gone
//
// A pull has no deadline: it lasts as long as somebody waits for it, and ends when the
// last of them gives up. One that hangs does not hold up the others for more than
// Config.SlowAfter. Pods share a pull of the same image when they have the same
// credentials. From the call of Ensure to that of release the image is leased, and
// image garbage collection that removes within RemoveUnleased keeps off it. Reasons,
// texts and events are those of the kubelet; none has a secret in it.
//
// The package starts nothing of its own: no goroutine outlives the calls of
// Ensure. It keeps the back-off in memory, so that after a restart of the
// agent each image is tried at once, and the responses of credential provider
// plugins, which get no tokens of service accounts. Without Config.Records, an image
// that is there serves every pod of the node, even one without the secret that it was
// pulled with. With it, a pod without the secret has to prove to the registry that it
// may have the image, whatever its policy but Never, with which it gets none; a crash
// at any point leads to one more such proof. What RemoveUnleased removed is forgotten.
package imagepull
