// Package crilog knows where the log files of containers are.
//
// A runtime writes the output of each container to a file that the agent names
// when it creates the sandbox and the container. The names are a contract with
// log shippers and with kubectl logs, and are the kubelet's:
//
//	/var/log/pods/<namespace>_<pod>_<uid>/<container>/<restart count>.log
//	/var/log/containers/<pod>_<namespace>_<container>-<container ID>.log -> the file above
//
// The path functions are pure; Link and NextRestartCount touch the disk:
//
//	dir := crilog.PodDirectory("/var/log/pods", pod.Namespace, pod.Name, pod.UID)
//	config.LogDirectory = dir                          // of the sandbox
//	container.LogPath = crilog.ContainerPath("app", 0) // relative to it
//	…
//	err := crilog.Link("/var/log/containers", pod, "app", containerID, filepath.Join(dir, container.LogPath))
//
// It does not read, follow or rotate logs.
package crilog
