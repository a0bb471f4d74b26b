// Package csi serves volumes of Container Storage Interface (CSI) drivers: the
// node's side of CSI, as a [volume.Plugin]. It registers the drivers that run on
// the node, stages and publishes their volumes for pods, and takes them down again.
//
//	plugin := csi.New(csi.Config{
//		Root:     "/var/lib/edged",
//		NodeName: "edge-1",
//		Secrets:  store, // for drivers that need credentials
//		Driver: func(name string) csi.DriverSpec { // what a CSIDriver object would say
//			return declared[name]
//		},
//		Logger: logger,
//	})
//	group.Go(func() error { return plugin.Run(ctx) }) // registers drivers
//	…
//	err := plugin.Attach(ctx, v)        // NodeStageVolume, once on the node
//	path, err := plugin.Mount(ctx, v)   // NodePublishVolume, for the pod
//	…
//	err = plugin.Unmount(ctx, uid, dir) // NodeUnpublishVolume
//	err = plugin.Detach(ctx, uid, dir)  // NodeUnstageVolume, after the last pod
//
// A driver comes as its vendor packs it for Kubernetes: a pod whose
// node-driver-registrar puts a socket into <Root>/plugins_registry. Manifests name
// the kubelet's root there and in their mounts, /var/lib/kubelet: they want either
// that as the Root, or a change. Staged volumes are at
// <Root>/plugins/kubernetes.io/csi/<driver>/<hash of the handle>/globalmount,
// published ones in the pod's directory, both in the kubelet's layout, with a
// vol_data.json that names driver and handle.
//
// Guarantees. What is needed to take a volume down is on disk before the driver
// hears of the volume, so that neither a crash nor a power cut leaves a mount that
// nobody knows. A volume is unstaged when no pod of the node has it, by what is on
// disk. After an error that leaves open what the driver did, nothing is removed, by a
// later refusal neither; when a driver refuses at once and for good, nothing is left.
// Nothing is ever removed recursively: what a driver leaves behind a mount that it did
// not take down stays. A driver that hangs, lies or is gone harms no volume of another
// one. A pod that has its volume does not need the driver any more until the volume is
// unmounted.
//
// It does not serve volumes as block devices, does not expand volumes, does not
// measure them, and does not request tokens of service accounts. The controller's
// side of CSI is somebody else's: what it has to say to a driver comes by
// Config.PublishContext. Ownership by fsGroup is the caller's to apply, see
// [Plugin.AppliesFSGroup]. Mounts are only told from directories on Linux.
package csi
