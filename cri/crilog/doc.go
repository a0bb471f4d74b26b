// Package crilog knows the log files of containers: where they are, what is in them,
// and how they are kept from growing without end.
//
// A runtime writes the output of each container to a file that the agent names
// when it creates the sandbox and the container. The names are a contract with
// log shippers and with kubectl logs, and are the kubelet's:
//
//	/var/log/pods/<namespace>_<pod>_<uid>/<container>/<restart count>.log
//	/var/log/pods/<namespace>_<pod>_<uid>/<container>/<restart count>.log.<time>[.gz]
//	/var/log/containers/<pod>_<namespace>_<container>-<container ID>.log -> the first
//
// The path functions are pure; Link and NextRestartCount touch the disk:
//
//	dir := crilog.PodDirectory("/var/log/pods", pod.Namespace, pod.Name, pod.UID)
//	config.LogDirectory = dir                          // of the sandbox
//	container.LogPath = crilog.ContainerPath("app", 0) // relative to it
//	…
//	err := crilog.Link("/var/log/containers", pod, "app", containerID, filepath.Join(dir, container.LogPath))
//	…
//	err := crilog.Read(ctx, path, crilog.Options{Follow: true, Running: running}, os.Stdout, os.Stderr)
//	…
//	rotator := crilog.NewRotator(client, crilog.RotatorConfig{}) // client is a *cri.Client
//	group.Go(func() error { return rotator.Run(ctx) })
//
// Guarantees. A crash at any point of a rotation loses no line: the next round puts
// it right. Whoever follows a log hears every line once, in order, over any number of
// rotations, as long as the files are not deleted before they were read. A log that
// somebody deletes under a running container is made again. An idle Rotator looks at
// the sizes of files and, after its first round, makes no call.
//
// It does not delete the logs of containers that are gone, which is the work of
// package gc, and it does not ship logs anywhere.
package crilog
