// Package podmanager keeps the set of pods that a node should run, and one
// worker per pod that gets it there and, in the end, away again.
//
// Sources of pods (metaclient, a folder, your own control plane) say what is
// desired with Set, Delete and Replace; whoever sees something change (pleg,
// probe, a volume) says so with Wake. The work itself is behind Syncer: podsync
// does it with a CRI runtime, a WASM or process runtime could stand there too.
//
//	m := podmanager.New(syncer, podmanager.Config{
//		Admit: func(pod *corev1.Pod, admitted []*corev1.Pod) *podmanager.Rejection {
//			return admission.Check(pod, node, admitted)
//		},
//		OnRejected: fail,    // a status and an event
//		OnRemoved:  release, // nothing of it is left
//		Logger:    log,
//	})
//	group.Go(func() error { return m.Run(ctx) })
//
//	m.Replace(pods)    // all that the node should run
//	m.Set(pod)         // a new pod, or a new version of it
//	m.Wake(pod.UID)    // something happened to it: look again
//	m.Delete(pod.UID)  // ends within its grace, then OnRemoved
//
// # The life of a pod
//
// A worker is a goroutine that lives as long as its pod has something to do. Its
// pod is waiting (for its name and to be admitted, see below), then synced, then
// terminating, then finished, and never goes back. It terminates when it is
// deleted, when its object carries a deletionTimestamp or a terminal phase, when
// another pod takes its name, when Sync reports that it has run to its end, or
// when Admit refuses it. A deleted pod is forgotten after OnRemoved; one that ended
// otherwise stays, finished, until it is deleted.
//
// # Guarantees
//
//   - A pod is its UID: a late Delete of an old UID never touches a newer pod of the
//     same name.
//   - There is one call of Sync or Kill per UID at a time, and no Sync after a Kill
//     in one life. Kill begins when the cancelled Sync has returned.
//   - Of each namespace and name one pod runs at a time. The next begins when the
//     one before is gone; those that wait do so in the order they came.
//   - Admit is asked about one pod at a time, of those that could begin the oldest
//     first, and told of all that were admitted before and have not ended. One that
//     it refuses is never synced, only killed, as an earlier agent may have left
//     something of it, and not asked about again, whatever room there will be.
//   - What an earlier agent has started is not refused by the next one.
//   - No pod delays another, whatever its Sync or Kill does.
//   - Grace only shrinks, and a shorter one takes effect at once.
//   - What runs and is not wanted (an orphan) is ended only after the first Replace,
//     when every source has spoken, or when a wanted pod needs its name.
//   - When the context of Run ends, workers stop and pods go on running.
//
// # What it does not do
//
// It knows no runtime, no status and no volume. It does not limit how many pods
// start at once: a limit here would let a hanging pull delay others, so it belongs
// around the runtime calls, in the Syncer. It stores nothing: after a restart the
// sources tell it again, and Syncer and Lister find what runs.
package podmanager
