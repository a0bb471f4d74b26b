package probe_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/probe"
)

// A liveness probe whose command fails: the second failure in a row, the
// threshold, is the container's end.
func ExampleTracker() {
	spec := &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"test", "-f", "/healthy"}}},
		FailureThreshold: 2,
	}
	runtime := &fakeExecer{stderr: "no such file", err: &cri.ExitError{Code: 1}} // a *cri.Client in earnest
	checker := probe.NewChecker(runtime, probe.CheckerConfig{})
	tracker := probe.NewTracker(probe.Liveness, spec)
	for range 3 {
		outcome, err := checker.Check(context.Background(), spec, probe.Target{ContainerID: "0123"})
		if err != nil {
			fmt.Println(err)
			continue
		}
		changed := tracker.Observe(outcome.Result)
		fmt.Printf("%v (%s), verdict %v, changed: %t\n", outcome.Result, outcome.Output, tracker.Verdict(), changed)
	}
	// Output:
	// failure (no such file), verdict success, changed: false
	// failure (no such file), verdict failure, changed: true
	// failure (no such file), verdict failure, changed: false
}
