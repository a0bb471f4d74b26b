// Package volume prepares the volumes of pods on a node and cleans up after
// them.
//
// A pod's worker mounts its volumes before it starts containers, gives the paths
// to the runtime, and unmounts when the last container has ended. Mount and
// Unmount may be repeated at any time; all state is on disk:
//
//	volumes := volume.New(volume.Config{
//		Root:    "/var/lib/edged",
//		Ready:   complete.Load, // has every source of pods delivered?
//		Removed: func(uid types.UID) bool { return !pods.Known(uid) }, // is it gone for good?
//		Logger:  logger,
//	})
//	group.Go(func() error { return volumes.Run(ctx) }) // cleans up after pods that went unseen
//	…
//	paths, err := volumes.Mount(ctx, pod) // volume name -> path on the host
//	…
//	err = volumes.Unmount(ctx, pod.UID) // once its containers have ended
//
// The kinds are emptyDir, on disk and in memory, and hostPath. The files of a
// pod are in <Root>/pods/<uid>, an emptyDir in volumes/kubernetes.io~empty-dir/
// <name> below.
//
// Guarantees. Only volumes that a container mounts are prepared. A pod with a
// volume that cannot be prepared gets an error that names it, never a path. What
// is in an emptyDir outlives containers, the agent and, on disk, the node's
// reboot, and goes with the pod. Clean-up never follows a link, never enters a
// mount that is not this package's own, and never touches a hostPath.
//
// It does not serve any other kind, such as configMap, secret, projected or CSI;
// it does not attach or detach, apply fsGroup, or make the directories onto which
// other volumes are mounted inside a volume. It does not hold an emptyDir on disk
// to its size limit, nor one in memory to its pod's memory limit. Volumes in
// memory need Linux.
package volume
