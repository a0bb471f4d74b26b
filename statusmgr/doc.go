// Package statusmgr says how a pod is doing, and sees to it that its owner
// hears of it.
//
// It has three parts, of which each can be used without the others:
//
//   - Generate is a pure function from a pod, what the runtime was seen to run
//     of it, and the status before, to the pod's status as Kubernetes' users
//     read it: phase, conditions, container states, reasons, restart counts,
//     addresses.
//   - Manager keeps the newest status of each pod and hands what changed to an
//     Updater: at once, and again in a full pass each ten seconds as long as
//     the Updater fails.
//   - Events keeps what happened (Pulled, Started, Killing, BackOff), counted
//     instead of repeated, and offers it to an EventReporter in the same way.
//
// A worker that brings a pod to its desired state uses the first two, before it
// acts:
//
//	statuses := statusmgr.New(updater, statusmgr.Config{Logger: log})
//	go statuses.Run(ctx)
//
//	// In the worker of one pod, once per round:
//	previous, _ := statuses.Get(pod.UID)
//	status := statusmgr.Generate(statusmgr.Input{
//		Pod:         pod,
//		State:       state, // from pleg
//		Previous:    previous,
//		Waiting:     waiting, // why containers could not be started
//		Messages:    messages, // what containers left behind when they ended
//		RuntimeName: "containerd",
//		HostIPs:     []string{"192.0.2.7"},
//		Now:         time.Now(),
//	})
//	statuses.Set(pod, status)
//
// # What it guarantees
//
// A terminal phase is never left, and never entered while a container of the
// pod may still run. Restart counts never fall and the last termination is not
// forgotten when the runtime forgets it. Every container of the spec has
// exactly one status. Only the newest status of a pod is handed on, in the
// order of change, from one goroutine; an idle node causes no call at all. That
// nothing is left of a pod which upstream deletes is handed on, too.
// Events take memory up to a fixed size, whatever happens how often.
//
// # What it does not do
//
// It decides nothing about the pod: whether a container is restarted, when its
// back-off ends and how that is worded is for the caller. It stores nothing:
// after a restart of the agent the caller passes the stored status as
// Input.Previous or in the pod; events are gone. It reads no files: what a
// container left in its termination message file or in its log is for the caller
// to read. It runs no probes, and decides on no resize: what they found, and how far
// that is, is handed in.
package statusmgr
