// Package podsync brings a pod's containers on a CRI runtime in line with its
// spec, and ends them.
//
// It is the podmanager.Syncer for container runtimes. Each Sync observes the
// pod (through pleg), publishes its status, decides with pure functions what is
// missing (plan.go) and does that (act.go): replace a lost sandbox, run init
// containers in order, start sidecars, containers and ephemeral containers with
// their postStart hooks, restart what has exited by the restart policy with a
// crash-loop back-off, restart a container whose image was changed or whose probes
// have failed, resize one whose resources were changed if the node has what it is to
// have (Rooms.Fits), begin a pod anew when a restart rule says so. Kill runs the
// preStop hooks, stops everything within the grace period, takes the sandbox down and
// gives the volumes back.
//
//	syncer := podsync.New(podsync.Rooms{
//		Runtime:  client,    // *cri.Client
//		Observer: generator, // *pleg.Generator
//		Images:   puller,    // *imagepull.Puller
//		Volumes:  volumes,   // *volume.Manager
//		Cgroups:  cgroups,   // *podcgroup.Manager, or none
//		Status: func(pod *corev1.Pod, seen podsync.Observation) corev1.PodStatus {
//			// generate the pod's status, keep it, and return it
//		},
//	}, podsync.Config{})
//	manager := podmanager.New(syncer, podmanager.Config{})
//
// Every step is idempotent, and every decision rests on an observation that
// began after the last step ended: an agent that is killed at any point and
// started again goes on where the old one stopped, restarts nothing that runs
// and starts nothing twice. Containers of a pod run on while no agent runs.
//
// It does not run probes: Rooms.Health tells what they found. But for a restart rule,
// and for a pod that comes back under its UID, it removes no container that was ever
// started: earlier ones stay, those of a replaced sandbox too, so that restarts are
// counted on, and collecting them as garbage is package gc's work.
//
// It differs from the kubelet on purpose in two things. An orphan gets the grace period
// and the preStop hook that its annotations tell of, else 30 seconds, not one: nobody
// is in a hurry for it. And a network that is not ready holds up new sandboxes only:
// in one that is there containers are started again.
package podsync
