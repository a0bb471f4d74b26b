// Package metaclient keeps what the control plane once said on the node, safe
// against a power cut, so that pods start with no network at all.
//
// An [Upstream] (a folder of manifests, a Kubernetes API server, a cloud of
// your own) delivers complete sets of pods. Client writes each set to a bbolt
// file first and only then hands it on. Statuses travel the other way: they are
// stored, so that start times and restart counts survive, and then reported
// upstream if the upstream takes reports. Events are reported too, but not
// stored.
//
//	src := manifests.New("/etc/edged/manifests", manifests.Config{NodeName: "edge-1"})
//	meta, err := metaclient.Open("/var/lib/edged/meta.db", src, metaclient.Config{
//		OnPods: func(pods []*corev1.Pod, complete bool) {
//			desired.Replace(pods, complete) // must not block
//		},
//	})
//	if err != nil {
//		return err
//	}
//	defer meta.Close()
//	group.Go(func() error { return meta.Run(ctx) })
//	...
//	err = meta.ReportPodStatus(ctx, pod)
//
// # Guarantees
//
//   - What OnPods was given is on the disk. A set that cannot be stored is not
//     handed on; the upstream is asked again until it can.
//   - An upstream that fails, or is silent, never removes a pod: only a complete
//     set does. OnPods says which sets are complete, and nothing unknown may be
//     killed before the first of those.
//   - A pod's identity is its UID. The same name with a new UID is another pod.
//   - One bad pod, or one damaged value in the file, is set aside and reported;
//     the others go on. A file that is damaged as a whole is kept under another
//     name and replaced by an empty one. No content of the file makes Open panic.
//   - Nothing is written unless something changed: an idle node writes no bytes.
//   - Nobody shares pointers: each pod that is handed out is a copy of its own.
//
// # What the file holds
//
// Values are JSON, behind a checksum. JSON because it is the encoding that the
// API's types promise to keep readable in both directions (an older program
// ignores what it does not know), and because a person can read it in the field
// with any bbolt tool. bbolt checks only its own two head pages; the checksum is
// what tells a value from what bad flash made of it.
//
// # What it does not do
//
// It does not decide what runs, does not merge several upstreams, and does not
// queue history: of each pod the newest status is kept, nothing else. Values are
// not encrypted; the file is readable by its owner only.
package metaclient
