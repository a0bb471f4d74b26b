// Package volume prepares the volumes of pods on a node, keeps their content up to
// date and cleans up after them.
//
// A pod's worker mounts its volumes before it starts containers, gives the paths
// to the runtime, and unmounts when the last container has ended. Mount and
// Unmount may be repeated at any time; what matters is on disk:
//
//	volumes := volume.New(store, volume.Config{ // store has ConfigMap, Secret, …
//		Root:     "/var/lib/edged",
//		Plugins:  []volume.Plugin{csi},
//		Downward: downward,       // the value of a field of a pod
//		Ready:    complete.Load, // has every source of pods delivered?
//		Removed:  func(uid types.UID) bool { return !pods.Known(uid) }, // is it gone for good?
//		Logger:   logger,
//	})
//	group.Go(func() error { return volumes.Run(ctx) })
//	…
//	paths, err := volumes.Mount(ctx, pod) // volume name -> path on the host
//	part, err := volumes.SubPath(ctx, pod, "app", 0, paths["data"], "logs")
//	volumes.Changed(volume.KindConfigMap, "default", "settings") // news of an object
//	…
//	err = volumes.Unmount(ctx, pod.UID) // once its containers have ended
//
// The kinds are configMap, secret, downwardAPI, projected, emptyDir (on disk, in
// memory, of huge pages), hostPath, claims of volumes that are local or on a
// hostPath, and what a Plugin serves. Volumes of kind image are the runtime's. The
// files of a pod are below <Root>/pods/<uid> in the kubelet's layout, and nothing is
// written elsewhere.
//
// Guarantees. Only volumes that a container mounts are prepared. A pod with a
// volume that cannot be prepared gets an error that names it, never a path. The
// content of a volume changes at once as a whole, by a link that is swapped, and a
// crash or a power cut at any step leaves the old or the new. It is kept while its
// source cannot be asked. What may be secret is in memory only, and in no log or
// error. A sub path never leads out of its volume, and never changes. What is in an
// emptyDir outlives containers, the agent and, on disk, the node's reboot, and goes
// with the pod. Clean-up never follows a link, never enters a mount that is not this
// package's own, and never touches a hostPath.
//
// It does not hold an emptyDir on disk to its size limit, make file systems on
// devices, or serve devices as such (volumeMode Block) but by a Plugin. Volumes in
// memory and sub paths need Linux.
package volume
