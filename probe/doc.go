// Package probe checks the health of containers as the probes in a pod's spec
// ask for: liveness, readiness and startup; by command, HTTP, HTTPS, TCP and gRPC.
//
// A Manager runs the probes of all pods and keeps what they found:
//
//	probes := probe.New(client, probe.Config{ // client is a *cri.Client
//		OnResult: pods.Wake, // func(types.UID): a verdict has changed
//		OnEvent:  record,
//	})
//	go probes.Run(ctx)
//	…
//	probes.Set(pod, status) // each time that a status was made
//	…
//	if health, probed := probes.Health(pod.UID, containerID); probed {
//		switch {
//		case health.Failed != "": // by Liveness or Startup: the container is to be ended
//		case health.Ready: // and Started: it takes requests
//		}
//	}
//	…
//	probes.Ending(pod.UID) // its containers are about to be stopped
//	probes.Remove(pod.UID) // they have ended
//
// Its parts serve alone too: a Checker does one check and says what it found, a
// Tracker makes a verdict of the results of one probe of one container.
//
// Guarantees of the Manager. A verdict belongs to one container ID: nothing that was
// found of a container, nor a check of it that is still under way, counts for the next.
// No probe is checked twice at once; its next check is a period after the start of the
// last, or at once when that took longer. A bounded number of checks run at once, of
// commands very few. There is one goroutine, and one more for each check under way: a
// probe that waits costs memory only. A hung check holds up no other probe for longer
// than its timeout and a second. Readiness and startup outlive a restart of the agent
// if the first status of a pod that Set is given is the stored one. A wall clock that
// jumps delays no check by more than its initial delay.
//
// Guarantees of a check. It follows the kubelet's rules for what is a success, for
// requests and for redirects. It ends within its timeout (a command, when the
// Execer ends it), keeps nothing open, and its output is at most MaxOutput bytes
// of valid UTF-8 whatever the container sends. That a check was cancelled is
// never a container's failure.
//
// It does not restart containers, write statuses, or read a probe's grace period. A
// changed probe goes on with the verdict of the old one.
package probe
