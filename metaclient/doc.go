// Package metaclient keeps what the control plane once said on the node, safe
// against a power cut, so that pods start with no network at all.
//
// An [Upstream] (a folder of manifests, a Kubernetes API server, a cloud of
// your own) delivers complete sets of pods, and what pods refer to: ConfigMaps,
// Secrets, service account tokens, persistent volumes and claims. Client writes all
// of it to a bbolt file first and only then hands it on. Reports travel the other
// way through an outbox that keeps the newest on each pod, on the node, and of each
// event, until the upstream has acknowledged it.
//
//	src := manifests.New("/etc/edged/manifests", manifests.Config{NodeName: "edge-1", Complete: podspec.Complete})
//	meta, err := metaclient.Open("/var/lib/edged/meta.db", src, metaclient.Config{
//		OnPods: func(pods []*corev1.Pod, complete bool) { // must not block
//			if complete {
//				manager.Replace(pods) // a *podmanager.Manager, say: whatever else runs is ended
//				return
//			}
//			for _, pod := range pods {
//				manager.Set(pod)
//			}
//		},
//		OnObject: volumes.Changed, // of a *volume.Manager, say
//		Key:      metaclient.KeyFile("/etc/edged/store.key"),
//	})
//	if err != nil {
//		return err
//	}
//	defer meta.Close()
//	group.Go(func() error { return meta.Run(ctx) })
//	...
//	secret, err := meta.Secret(ctx, "default", "db") // from the file; asked for if it is not there
//	err = meta.ReportPodStatus(ctx, pod)             // does not wait for the network
//
// # Guarantees
//
//   - What OnPods was given is on the disk, with all that its pods refer to: a cold
//     boot needs no network. A set that cannot be stored is not handed on; the
//     upstream is asked again until it can.
//   - A pod whose objects cannot be had (the upstream does not answer) is handed on
//     all the same, after Config.ClosureWait: what reads the object gets ErrOffline
//     or ErrTimeout, and can say so in the pod's status. Its whole set waits so long,
//     once for each object. That is asked for until it is there, and OnObject tells.
//   - That an object does not exist is remembered, too, so that a pod with an
//     optional Secret that nobody made starts offline.
//   - An upstream that fails, or is silent, never removes a pod: only a complete
//     set does. What the upstream cannot read (Sink.PodsSoFar), or delivers in a form
//     that is set aside, goes on as it was. OnPods says which sets are complete, and
//     nothing unknown may be killed before the first of those.
//   - An older resourceVersion never replaces a newer one, whatever is delivered
//     twice, late or in another order. Only Resync, by hand, believes it.
//   - A pod's identity is its UID. The same name with a new UID is another pod.
//   - One bad object, or one damaged value in the file, is set aside and reported;
//     the others go on. A file that is damaged as a whole is kept under another
//     name and replaced by the copy from the last start. No content of the file
//     makes Open panic.
//   - Nothing is written unless something changed: an idle node writes no bytes, and
//     heartbeats and what the upstream acknowledges at once are never written. What
//     is reported within Config.FlushAfter shares one write.
//   - A full disk stops nothing and loses nothing that is stored: Health tells, reads
//     and reports to the upstream go on, and writes are tried until they succeed.
//   - With a key, the values of Secrets and tokens are in the file only sealed
//     (AES-256-GCM); no value is ever logged or part of an error.
//   - Nobody shares pointers: each object that is handed out is a copy of its own.
//
// # What the file holds
//
// Values are JSON, behind a checksum. JSON because it is the encoding that the
// API's types promise to keep readable in both directions (an older program
// ignores what it does not know), and because a person can read it in the field
// with any bbolt tool. bbolt checks only its own two head pages; the checksum is
// what tells a value from what bad flash made of it. Beside the file lies its copy
// from the last start, <file>.good. Objects that no pod refers to are dropped.
//
// # What it does not do
//
// It does not decide what runs, does not merge several upstreams, and does not
// queue history: of each topic the newest report is kept, nothing else. What was
// stored before there was a key leaves the file when there is one, but flash may
// keep old blocks: erase it, or give the key from the start. Environment variables
// that are written out in a pod are not sealed.
package metaclient
