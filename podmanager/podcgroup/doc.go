// Package podcgroup gives each pod a cgroup of its own, in which the runtime puts
// the pod's containers.
//
// The tree is the kubelet's: guaranteed pods are directly below kubepods,
// burstable and best-effort ones in a cgroup of their class. A pod's cgroup limits
// what its containers take together, its class says who yields when CPUs are
// contended, and the runtime can tell what the whole pod uses: containerd answers
// PodSandboxStats only for a pod with a cgroup.
//
//	cgroups := podcgroup.New(client, podcgroup.Config{Logger: logger}) // client is a *cri.Client
//	parent, err := cgroups.Ensure(ctx, pod)                            // before its sandbox is made
//	sandbox, err := podspec.Sandbox(pod, podspec.SandboxOptions{CgroupParent: parent})
//	…
//	err = cgroups.Settle(ctx, pod)     // after its containers were resized
//	err = cgroups.Remove(ctx, pod.UID) // after everything of it has ended
//	…
//	group.Go(func() error { return cgroups.Run(ctx) }) // removes what crashes left
//
// *Manager is what podsync.Rooms.Cgroups takes. Everything is idempotent and read
// from the cgroups themselves, so that an agent may be killed at any point.
//
// Both versions of cgroups work, and hybrids of them. With the driver cgroupfs
// this package makes and removes the cgroups and writes their limits. With systemd
// it only names the pod's slice, which systemd makes when the runtime starts the
// first container in it: pods have no limits of their own then, their containers
// do. A node where cgroups cannot be written says so once, and its pods are where
// the runtime puts them.
//
// It kills nothing: a cgroup with a process in it is not removed. It does not limit
// containers (the runtime does), nor reserve anything for the node.
package podcgroup
