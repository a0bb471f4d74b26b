// Package podspec translates a pod into what a CRI runtime is told: the
// configurations of its sandbox and of its containers. It reads no file, makes
// no call and keeps no state; whatever is not in the pod comes in as options.
//
//	if errs := podspec.Complete(pod); len(errs) > 0 { // pods that no API server has seen
//		return errs.ToAggregate()
//	}
//	sandbox, err := podspec.Sandbox(pod, podspec.SandboxOptions{Attempt: 0, NodeDNS: dns})
//	// runtime.RunPodSandbox(sandbox), image := puller.Ensure(…)
//	os.WriteFile(hosts, podspec.HostsFile(pod, podIPs, domain, nodeHosts), 0o644)
//	config, err := podspec.Container(pod, container, podspec.ContainerOptions{
//		RestartCount: 3, Image: image, PodIPs: podIPs, HostIPs: hostIPs,
//		Mounts: volumes, HostsFile: hosts, TermMessageFile: log,
//		ConfigMaps: configMaps, Secrets: secrets, // as podspec.EnvObjects(container) names them
//	})
//	// runtime.CreateContainer(sandboxID, config, sandbox)
//
// Errors of Sandbox and Container are *Error: what the pod's status shows as
// the reason and the message of the wait. A field that cannot be honoured yet
// is such an error and names the field; none is dropped in silence. What does
// not keep a sandbox from being made is in SandboxWarnings. No error holds the
// content of a ConfigMap or Secret.
//
// Complete does what an API server does when a pod is created: defaults, then
// validation. It leaves out what only matters to a scheduler (affinity,
// tolerations, topology) and to admission plug-ins. Whether the pod fits the
// node, and may run there, is not asked here.
package podspec
