// Package gc removes what pods leave behind on a node: dead containers, the
// sandboxes they were in, and their logs.
//
// It asks a CRI runtime what there is, decides by pure functions what goes, and
// removes it. It knows pods by their UID only; who runs the pods tells it which
// of them are gone for good:
//
//	containers := gc.NewContainers(client, gc.ContainersConfig{ // client is a *cri.Client
//		Policy:  gc.Policy{MaxPerPodContainer: 2},
//		Ready:   complete.Load, // has every source of pods delivered?
//		Removed: func(uid types.UID) bool { return !pods.Known(uid) }, // is it gone for good?
//		Logger:  logger,
//	})
//	group.Go(func() error { return containers.Run(ctx) }) // a round each minute
//	…
//	err := containers.Collect(ctx) // or one round now
//
// Guarantees. It never removes a running container, nor one that is about to be
// started. Of a pod that is not gone it keeps the newest dead container of each
// name, which kubectl logs -p shows, and its newest sandbox. Nothing is removed
// before Ready. Containers and sandboxes without the pod labels of package cri
// belong to somebody else and are left alone. A failure holds up only what it is
// about: the rest of the round goes on, and the next round tries again.
//
// It does not collect images, rotate logs, or watch the disk.
package gc
