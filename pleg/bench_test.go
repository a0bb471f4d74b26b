package pleg_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/pleg"
)

// readyLists is a runtime whose lists are made already, so that a benchmark
// counts what the generator does.
type readyLists struct {
	*fakeRuntime
	sandboxes  []*runtimeapi.PodSandbox
	containers []*runtimeapi.Container
}

func (r *readyLists) ListPodSandbox(context.Context, *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	return r.sandboxes, nil
}

func (r *readyLists) ListContainers(context.Context, *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	return r.containers, nil
}

// BenchmarkRelistOfQuietPods is what the generator costs each second on a full
// node where nothing happens, without what the runtime's client costs.
func BenchmarkRelistOfQuietPods(b *testing.B) {
	fake := newFakeRuntime()
	for i := range 110 {
		fake.addPod(types.UID(fmt.Sprintf("%08d-0000-0000-0000-000000000000", i)))
	}
	sandboxes, _ := fake.ListPodSandbox(b.Context(), &runtimeapi.PodSandboxFilter{})
	containers, _ := fake.ListContainers(b.Context(), &runtimeapi.ContainerFilter{})

	generator := pleg.New(&readyLists{fake, sandboxes, containers}, pleg.Config{Period: time.Hour})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- generator.Run(ctx) }()
	for _, s := range sandboxes {
		if _, err := generator.State(ctx, types.UID(s.Metadata.Uid), time.Time{}); err != nil {
			b.Fatal(err)
		}
	}

	b.ReportAllocs()
	for b.Loop() {
		generator.Relist(ctx)
	}
	b.StopTimer()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if fake.count("PodSandboxStatus") != len(sandboxes) {
		b.Fatal("the pods were not quiet")
	}
}
