// Package gc removes what pods leave behind on a node: dead containers, the
// sandboxes they were in, their logs, and images that nobody needs any more.
//
// It asks a CRI runtime what there is, decides by pure functions what goes, and
// removes it. Who runs the pods tells it which of them are gone for good, which
// images they want, and which image is just being started:
//
//	containers := gc.NewContainers(client, gc.ContainersConfig{ // client is a *cri.Client
//		Policy:  gc.Policy{MaxPerPodContainer: 2},
//		Ready:   complete.Load, // has every source of pods delivered?
//		Removed: func(uid types.UID) bool { return !pods.Known(uid) }, // is it gone for good?
//		Logger:  logger,
//	})
//	images := gc.NewImages(client, gc.ImagesConfig{
//		HighThresholdPercent: 85,
//		LowThresholdPercent:  80,
//		Ready:                loaded.Load,
//		Wanted:               pods.Images,
//		Unleased:             puller.RemoveUnleased, // of podmanager/imagepull
//		Logger:               logger,
//	})
//	group.Go(func() error { return containers.Run(ctx) }) // a round each minute
//	group.Go(func() error { return images.Run(ctx) })     // a look at the disk each 5 seconds
//	…
//	err := containers.CollectAll(ctx) // a node about to evict pods for want of disk
//	err = images.CollectUnused(ctx)
//
// Guarantees of Containers. It never removes a running container, nor one that is
// about to be started. Of a pod that is not gone it keeps the newest dead container
// of each name, which kubectl logs -p shows, and its newest sandbox; only CollectAll
// takes these of pods that have ended. Before Ready no pod is gone or has ended: only
// what is older than what stays goes, so that a node which starts without its upstream
// is kept clean too. Containers and sandboxes without the pod labels of package cri
// belong to somebody else and are left alone.
//
// Guarantees of Images. It never removes an image that a container has, be it dead,
// that a pod wants, or that is pinned or to be kept; and no other than the first to
// go by last use. It measures the file systems that the runtime says its images
// are on, and goes on until these are as empty as they should be, whatever the sizes
// of images promised. Below the mark a round is one call; only every 5 minutes are
// images and containers listed, to know which were used when. What it knows of that
// is not kept over a restart: images are then as if they had just come.
//
// A failure holds up only what it is about: the rest of the round goes on, and the
// next round tries again.
//
// A container that starts while images are collected does not lose its image.
// Between the plan and the removal anything may happen, so the plan decides nothing.
// Unleased decides: it runs the removal only while nobody holds a lease on the
// image, and lets nobody begin one before the removal has ended. Whoever creates a
// container holds a lease from before he looks for the image until the container
// is there. So there are three cases. The lease began before the removal and has not
// ended: then the image is not removed. It has ended: then the container is there,
// and the removal, which lists containers once more in its turn, sees it and does
// nothing. It begins later: then the image is looked for when the removal is done,
// is found missing, and is pulled. Asking only whether there is a lease, and removing
// after that, would leave room for a start in between. Containers that somebody
// else creates, by crictl say, have no lease; MinAge protects what they pull.
//
// It does not rotate logs, evict pods, or pull images.
package gc
