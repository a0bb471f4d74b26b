// Package manifests is an upstream over a folder of Kubernetes manifests: a node
// without any control plane runs the pods that lie in the folder, with the ConfigMaps
// and Secrets that lie beside them.
//
//	src := manifests.New("/etc/edged/manifests", manifests.Config{
//		NodeName: "edge-1",
//		Complete: podspec.Complete, // API defaults and validation
//		OnProblem: func(p manifests.Problem) {
//			fmt.Println(p)
//		},
//	})
//	meta, err := metaclient.Open(path, src, metaclient.Config{OnPods: onPods})
//
// # What is read
//
// Files named *.yaml, *.yml and *.json, directly in the folder; names that begin
// with a dot and subfolders are skipped, links to files are followed (a mounted
// ConfigMap works). A file may hold several documents, each a v1 Pod, ConfigMap or
// Secret, or a list of them. The folder is watched and is also read every 20 s, because
// a notification is only a hint. A change is read once the folder has been quiet
// for 100 ms, so that an editor can finish.
//
// # What a pod becomes
//
// The namespace is "default" unless given, spec.nodeName is this node, a pod for
// another node is refused. Fields that belong to an API server (status,
// resourceVersion, timestamps, ...) are dropped; in particular creationTimestamp
// stays empty, since the file's time would change a pod whose content did not:
// take a pod's age from status.startTime. A toleration of all NoExecute taints is
// added, as the kubelet does for static pods.
//
// Names are kept as they are. The kubelet appends the node's name, because its
// static pods show up as mirror pods in a cluster where names must differ; here
// there are no mirror pods.
//
// A pod without metadata.uid gets one computed from its content and the node's
// name: the same content is the same pod after a restart, in another file, with
// other comments or key order; an edit is a new pod, and the old one ends before
// it starts. With an explicit metadata.uid an edit is an update of the pod that
// runs. The annotations kubernetes.io/config.source ("file") and
// kubernetes.io/config.hash (of the content) are set as the kubelet sets them;
// config.seen is not, it would differ after each start.
//
// # What a ConfigMap or Secret becomes
//
// The rules are the API's: keys, sizes (1 MiB together), what a Secret of each type
// must hold, type Opaque unless given, stringData written over data. What is
// immutable (and the type of a Secret) stays as it was, with a Problem, until the
// object is removed and made anew. A change is pushed, and shows in the volumes of
// running pods; Get answers as the folder was last read.
//
// # Guarantees
//
//   - One bad document, or file, is reported as a Problem with file, object and
//     field; everything else goes on.
//   - Nothing suffers from a broken edit: while a file cannot be read, or holds a
//     document that cannot be used, or has become empty (which a power cut or a
//     half-done save does), the objects that it gave before stay as they were, until
//     it is mended or removed. This memory is the process's own. Of what such a file
//     said before a restart metaclient alone knows, and keeps it: until each file was
//     read whole once, the pods are delivered by Sink.PodsSoFar, which removes only
//     what this process has seen to go.
//   - A folder that is missing or cannot be read is a problem, not "no pods".
//   - Unknown fields, fields given twice and image references that cannot be
//     parsed are warnings; the pod still runs, or shows in its status why not.
//   - A quantity so large that to parse or compare it takes hours (1e2000000000)
//     is refused before it is decoded.
//   - No value of a Secret is in a Problem or in a log.
//   - No content of a file makes it panic or read more than 10 MiB of a file.
//
// # What it does not do
//
// It serves no other kinds, and takes no reports. It writes nothing, into the folder or
// elsewhere. A file that is cut off exactly between two lines may be whole YAML with
// other content; rename a finished file into the folder to be safe.
package manifests
