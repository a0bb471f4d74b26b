// Package eviction keeps a node from running out of memory, disk, inodes and
// processes: it watches how much is left, and when that is too little it frees what
// nobody needs and then ends pods, one at a time (Kubernetes docs, "Node-pressure
// Eviction").
//
// A Meter measures the node, Stats what the pods use of it; what happens with a pod
// is up to the caller:
//
//	evictor := eviction.New(
//		eviction.NewNode(client, eviction.NodeConfig{Root: "/var/lib/edged"}), // client is a *cri.Client
//		eviction.NewStats(client, eviction.StatsConfig{Root: "/var/lib/edged"}),
//		eviction.Config{
//			Active:  pods,                 // func() []*corev1.Pod, those that have begun and not ended
//			Request: admission.Request,    // what a pod asks for
//			Reclaim: reclaim,              // removes dead containers and unused images
//			Evict:   evict,                // fails the pod and waits for its end
//			Logger:  logger,
//		})
//	group.Go(func() error { return evictor.Run(ctx) })
//	…
//	if why := evictor.Refuses(pod); why != nil { … } // before a pod is admitted
//	conditions := evictor.Conditions()              // of the node
//
// Guarantees. Nothing is evicted as long as freeing disk helps, but for pods that
// exceed limits of their own. For want of something one pod is evicted in a round, and
// the next round measures anew when that pod has ended, or was awaited in vain, after
// which it is the last to be evicted again. A critical pod is never evicted. What
// cannot be measured counts as enough; that is logged. A look at what pods have on disk
// takes no longer than half a minute: what was found by then counts.
//
// Which pod goes is decided by pure functions (rank.go): who uses more than was
// requested, then who has the lower priority, then who uses the most.
//
// It does not limit what containers use, which is the work of their cgroups, and it
// does not decide whether an evicted pod comes back: that is its owner's business.
package eviction
