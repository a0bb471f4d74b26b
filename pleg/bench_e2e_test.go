//go:build e2e && linux

package pleg_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
	"github.com/edged-project/edged/pleg"
)

// BenchmarkDeath is the time from the end of a container, by the runtime's clock, until
// OnChange was called and State showed it, over 200 deaths in four pods at a time; beside
// it, on a runtime with events, the time until a bare client had the event of the same end.
func BenchmarkDeath(b *testing.B) {
	for _, version := range containerd.Versions(b) {
		b.Run("containerd-"+version, func(b *testing.B) {
			daemon := containerd.Start(b, version)
			site := newSite(b, daemon)
			bare := newBareClient(b, daemon)
			site.run(b, pleg.Config{})
			pods := site.startPods(b, mortalPods)
			time.Sleep(2 * time.Second)
			for b.Loop() {
				site.letDie(b, pods)
			}
			site.report(b, bare.take())
		})
	}
}

// letDie has one container after another end in each pod. Each is removed when its end
// was seen, so that a pod has few, as in life.
func (s *site) letDie(b *testing.B, pods []*mortal) {
	b.Helper()
	var dying errgroup.Group
	for _, pod := range pods {
		dying.Go(func() error {
			for i := range deathsPerPod {
				id, err := pod.start(b.Context(), i, "sleep 0.2")
				if err != nil {
					return err
				}
				for deadline := time.Now().Add(time.Minute); !s.hasSeen(id); time.Sleep(10 * time.Millisecond) {
					if time.Now().After(deadline) {
						return fmt.Errorf("nobody was told of the end of container %q", id)
					}
				}
				if err := s.client.RemoveContainer(b.Context(), id); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(b, dying.Wait())
}

func (s *site) report(b *testing.B, events []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := slices.Collect(maps.Values(s.seen))
	for _, p := range []int{50, 99} {
		told := percentile(seen, p)
		b.ReportMetric(float64(told.Microseconds())/1000, fmt.Sprintf("told-p%d-ms", p))
		if len(events) > 0 {
			event := percentile(events, p)
			b.ReportMetric(float64(event.Microseconds())/1000, fmt.Sprintf("event-p%d-ms", p))
			b.ReportMetric(float64(told)/float64(event), fmt.Sprintf("told/event-p%d", p))
		}
	}
	b.ReportMetric(float64(len(seen)), "deaths")
	b.ReportMetric(float64(s.generator.Metrics().EventsLost), "lost")
}

func percentile(sample []time.Duration, p int) time.Duration {
	return slices.Sorted(slices.Values(sample))[(len(sample)-1)*p/100]
}

// bareClient does nothing but take events, over a connection of its own.
type bareClient struct {
	mu     sync.Mutex               // guards deaths
	deaths map[string]time.Duration // how long after its end the event of each container's came
}

// newBareClient takes events until the benchmark ends; there may be none.
func newBareClient(b *testing.B, daemon *containerd.Daemon) *bareClient {
	b.Helper()
	client, err := cri.Dial(b.Context(), daemon.Endpoint(), cri.Config{})
	require.NoError(b, err)
	bare := &bareClient{deaths: map[string]time.Duration{}}
	ctx, cancel := context.WithCancel(b.Context())
	events := make(chan *runtimeapi.ContainerEventResponse)
	ended := make(chan struct{})
	go func() {
		defer close(events)
		_ = client.GetContainerEvents(ctx, events, nil)
	}()
	go func() {
		defer close(ended)
		for event := range events {
			bare.note(event)
		}
	}()
	b.Cleanup(func() {
		cancel()
		<-ended
		_ = client.Close(context.Background())
	})
	return bare
}

func (c *bareClient) note(event *runtimeapi.ContainerEventResponse) {
	if event.GetContainerEventType() != runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, status := range event.GetContainersStatuses() {
		if status.GetId() == event.GetContainerId() && status.GetFinishedAt() > 0 {
			c.deaths[status.GetId()] = time.Since(time.Unix(0, status.GetFinishedAt()))
		}
	}
}

func (c *bareClient) take() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.deaths))
}
