//go:build e2e && linux

package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
)

// deaths of one run: as many as a 99th percentile wants, fewer where each takes the
// better part of a second.
var deaths = map[bool]int{true: 200, false: 40}

// BenchmarkRestart is the time from the end of a container to the creation of the next
// one, both by the runtime's clock, for a pod without a back-off; beside it, on a
// runtime with events, the time until a bare client has the event of the end. Then
// come half a second or more without events, where the pods are listed each second.
func BenchmarkRestart(b *testing.B) {
	for _, version := range containerd.Versions(b) {
		b.Run("containerd-"+version, func(b *testing.B) {
			client, err := cri.Dial(b.Context(), containerd.Start(b, version).Endpoint(), cri.Config{})
			require.NoError(b, err)
			defer client.Close(context.Background())
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			told := eventLatencies(ctx, client)
			upstream, a := benchmarkAgent(b, client, time.Nanosecond)
			pod := benchmarkPod("mortal")
			pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
			pod.Spec.Containers[0].Command = []string{"sleep", "0.2"}
			upstream.set(pod)
			time.Sleep(5 * time.Second)
			restarts := restartLatencies(b, client, deaths[a.observer.Metrics().Eventful]*b.N)
			for _, p := range []int{50, 99} {
				restart := percentile(restarts, p)
				b.ReportMetric(float64(restart.Microseconds())/1000, fmt.Sprintf("restart-p%d-ms", p))
				if events := told(); len(events) > 0 {
					event := percentile(events, p)
					b.ReportMetric(float64(event.Microseconds())/1000, fmt.Sprintf("event-p%d-ms", p))
					b.ReportMetric(float64((restart-event).Microseconds())/1000, fmt.Sprintf("added-p%d-ms", p))
				}
			}
			upstream.set()
			require.Eventually(b, func() bool { return len(a.pods.Pods()) == 0 }, time.Minute, 20*time.Millisecond)
		})
	}
}

// eventLatencies collects how long after the end of each container the event of it
// came to a client that does nothing else.
func eventLatencies(ctx context.Context, client *cri.Client) func() []time.Duration {
	var mu sync.Mutex
	var latencies []time.Duration
	events := make(chan *runtimeapi.ContainerEventResponse)
	go func() { _ = client.GetContainerEvents(ctx, events, nil) }() // there may be none
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case event := <-events:
				for _, c := range event.GetContainersStatuses() {
					if c.GetId() == event.GetContainerId() && event.GetContainerEventType() == runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT && c.GetFinishedAt() > 0 {
						mu.Lock()
						latencies = append(latencies, time.Since(time.Unix(0, c.GetFinishedAt())))
						mu.Unlock()
					}
				}
			}
		}
	}()
	return func() []time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return append([]time.Duration{}, latencies...)
	}
}

// restartLatencies watches so many restarts.
func restartLatencies(b *testing.B, client *cri.Client, restarts int) []time.Duration {
	b.Helper()
	created, ended := map[uint32]int64{}, map[uint32]int64{}
	var latencies []time.Duration
	for len(latencies) < restarts {
		containers, err := client.ListContainers(b.Context(), nil)
		require.NoError(b, err)
		for _, c := range containers {
			attempt := c.Metadata.Attempt
			created[attempt] = c.CreatedAt
			if c.State == runtimeapi.ContainerState_CONTAINER_EXITED && ended[attempt] == 0 {
				if status, err := client.ContainerStatus(b.Context(), c.Id, false); err == nil { // it may be collected just now
					ended[attempt] = status.Status.FinishedAt
				}
			}
		}
		for attempt, end := range ended {
			if next := created[attempt+1]; next > 0 && end > 0 {
				latencies = append(latencies, time.Duration(next-end))
				ended[attempt] = -1 // counted
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return latencies
}
