// Package cri is the ground floor: the container runtime as every other
// package sees it.
//
// Client speaks CRI v1 to a runtime (containerd, CRI-O, cri-dockerd, iSulad) or
// to the in-memory one of package critest. Its methods have the signatures of
// RuntimeService and ImageManagerService in k8s.io/cri-api/pkg/apis, so that the
// kubelet's own client, or a fake that is written against cri-api, can stand in
// its place.
//
//	endpoint, err := cri.DetectEndpoint(ctx)
//	if err != nil {
//		return err // lists the sockets that were tried
//	}
//	client, err := cri.Dial(ctx, endpoint, cri.Config{})
//	if err != nil {
//		return err
//	}
//	defer client.Close(ctx)
//	id, err := client.RunPodSandbox(ctx, config, "")
//	_, err = client.ContainerStatus(ctx, "no such container", false)
//	cri.IsNotFound(err) // true
//
// The package also holds the vocabulary that the other packages share: the
// label and annotation contract (labels.go), what of a pod's spec they must read
// alike (spec.go), and PodState, one pod as observed.
//
// Every call has a deadline, except those that by their nature have none (an
// image pull, an event stream, an exec without time-out): these end with their
// context. A connection that breaks is made again in the background; calls
// meanwhile fail at once with the code Unavailable. Nothing is retried.
package cri
