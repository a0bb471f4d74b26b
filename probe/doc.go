// Package probe checks the health of containers as the probes in a pod's spec
// ask for.
//
// A Checker does one check and says what it found. A Tracker makes a verdict of
// the results of one probe of one container, by its thresholds:
//
//	checker := probe.NewChecker(client, probe.CheckerConfig{}) // client is a *cri.Client
//	tracker := probe.NewTracker(probe.Liveness, container.LivenessProbe)
//	…
//	outcome, err := checker.Check(ctx, container.LivenessProbe, probe.Target{
//		ContainerID: id,
//		PodIP:       status.PodIP,
//		Ports:       container.Ports,
//	})
//	if err != nil {
//		return err // nothing was found out: no result, the verdict stands
//	}
//	if tracker.Observe(outcome.Result) && tracker.Verdict() == probe.Failure {
//		restart(id, outcome.Output)
//	}
//
// Guarantees. A check follows the kubelet's rules for what is a success, for
// requests and for redirects. It ends within its timeout (a command, when the
// Execer ends it), keeps nothing open, and its output is at most MaxOutput bytes
// of valid UTF-8 whatever the container sends. That a check was cancelled is
// never a container's failure.
//
// It does not do gRPC checks. It does not decide when to check: periods, initial
// delays, the order of startup and other probes, and retries are the caller's.
package probe
