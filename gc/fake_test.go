package gc_test

import (
	"context"
	"fmt"
	"slices"
	"sync"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fakeRuntime holds containers and sandboxes, notes the calls that change
// something, and fails those that errs names as "<method> <id>".
type fakeRuntime struct {
	mu         sync.Mutex // guards all below
	containers []*runtimeapi.Container
	sandboxes  []*runtimeapi.PodSandbox
	errs       map[string]error
	calls      []string
	lists      int
}

// seen returns the calls noted and how often containers were listed.
func (f *fakeRuntime) seen() (calls []string, lists int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls), f.lists
}

// left is how many containers there are.
func (f *fakeRuntime) left() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.containers)
}

// set makes a call fail, or succeed again when err is nil.
func (f *fakeRuntime) set(call string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errs[call] = err
}

func (f *fakeRuntime) call(what string) error {
	f.calls = append(f.calls, what)
	return f.errs[what]
}

func (f *fakeRuntime) ListContainers(context.Context, *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists++
	return slices.Clone(f.containers), f.errs["ListContainers"]
}

func (f *fakeRuntime) StopContainer(_ context.Context, id string, grace int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.call(fmt.Sprintf("StopContainer %s %ds", id, grace))
}

func (f *fakeRuntime) RemoveContainer(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call("RemoveContainer " + id); err != nil {
		return err
	}
	f.containers = slices.DeleteFunc(f.containers, func(c *runtimeapi.Container) bool { return c.GetId() == id })
	return nil
}

func (f *fakeRuntime) ListPodSandbox(context.Context, *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sandboxes), f.errs["ListPodSandbox"]
}

func (f *fakeRuntime) StopPodSandbox(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.call("StopPodSandbox " + id)
}

func (f *fakeRuntime) RemovePodSandbox(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call("RemovePodSandbox " + id); err != nil {
		return err
	}
	f.sandboxes = slices.DeleteFunc(f.sandboxes, func(s *runtimeapi.PodSandbox) bool { return s.GetId() == id })
	return nil
}
