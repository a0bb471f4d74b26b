package probe_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

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

// A container without the file that its liveness probe asks for is to be ended.
func ExampleManager() {
	runtime := &fakeExecer{stderr: "no such file", err: &cri.ExitError{Code: 1}} // a *cri.Client in earnest
	changed := make(chan types.UID, 1)
	probes := probe.New(runtime, probe.Config{
		OnResult: func(uid types.UID) { changed <- uid },
		OnEvent: func(_ *corev1.Pod, container *corev1.Container, eventType, reason, message string) {
			fmt.Println(eventType, reason, container.Name, message)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- probes.Run(ctx) }()

	probes.Set(podWith(does("/healthy", every(1), thresholds(1, 1)), nil, nil), runs("0123"))
	health, _ := probes.Health(<-changed, "0123")
	fmt.Println("failed:", health.Failed)
	cancel()
	fmt.Println(<-done)
	// Output:
	// Warning Unhealthy app Liveness probe failed: no such file
	// failed: Liveness
	// <nil>
}
