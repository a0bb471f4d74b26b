package pleg_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// The states of containers and sandboxes, to keep tests short.
const (
	created  = runtimeapi.ContainerState_CONTAINER_CREATED
	running  = runtimeapi.ContainerState_CONTAINER_RUNNING
	exited   = runtimeapi.ContainerState_CONTAINER_EXITED
	ready    = runtimeapi.PodSandboxState_SANDBOX_READY
	notReady = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
)

// fakeRuntime is the four calls of pleg.Runtime over two maps. It takes the
// answer to a call first and delays it then, which is the worst that a real one
// does to the order of things.
type fakeRuntime struct {
	mu         sync.Mutex // guards all that follows
	sandboxes  map[string]*runtimeapi.PodSandboxStatus
	containers map[string]*cri.Container

	// By the name of a method or the ID of an object, or by the UID of the pod
	// for the listing of one pod.
	fail  map[string]error
	delay map[string]time.Duration
	hangs map[string]bool

	calls        map[string]int // by the name of a method, "/" and the ID or UID
	relists      []time.Time    // the start of each listing of all sandboxes
	parallel     int
	mostParallel int // status calls at a time
	noFilter     bool
}

func newFakeRuntime() *fakeRuntime {
	return &fakeRuntime{
		sandboxes:  map[string]*runtimeapi.PodSandboxStatus{},
		containers: map[string]*cri.Container{},
		fail:       map[string]error{},
		delay:      map[string]time.Duration{},
		hangs:      map[string]bool{},
		calls:      map[string]int{},
	}
}

// do changes the runtime, as something from outside would.
func (f *fakeRuntime) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func podLabels(uid types.UID) map[string]string {
	return map[string]string{
		cri.LabelPodUID: string(uid), cri.LabelPodNamespace: "ns", cri.LabelPodName: "pod-" + string(uid),
	}
}

// setSandbox adds a sandbox or replaces it.
func (f *fakeRuntime) setSandbox(uid types.UID, id string, state runtimeapi.PodSandboxState, ips ...string) {
	f.do(func() {
		sandbox := &runtimeapi.PodSandboxStatus{
			Id: id, State: state, Labels: podLabels(uid),
			Metadata: &runtimeapi.PodSandboxMetadata{Name: "pod-" + string(uid), Namespace: "ns", Uid: string(uid)},
			Network:  &runtimeapi.PodSandboxNetworkStatus{},
		}
		for i, ip := range ips {
			if i == 0 {
				sandbox.Network.Ip = ip
				continue
			}
			sandbox.Network.AdditionalIps = append(sandbox.Network.AdditionalIps, &runtimeapi.PodIP{Ip: ip})
		}
		f.sandboxes[id] = sandbox
	})
}

// setContainer adds a container or replaces it.
func (f *fakeRuntime) setContainer(uid types.UID, sandbox, id string, state runtimeapi.ContainerState) {
	f.do(func() {
		labels := podLabels(uid)
		labels[cri.LabelContainerName] = "app"
		f.containers[id] = &cri.Container{SandboxID: sandbox, ContainerStatus: &runtimeapi.ContainerStatus{
			Id: id, State: state, Labels: labels, Metadata: &runtimeapi.ContainerMetadata{Name: "app"},
		}}
	})
}

// addPod adds a pod of one ready sandbox and one running container, whose IDs
// are the UID behind "s-" and "c-".
func (f *fakeRuntime) addPod(uid types.UID) {
	f.setSandbox(uid, "s-"+string(uid), ready, "10.0.0.1")
	f.setContainer(uid, "s-"+string(uid), "c-"+string(uid), running)
}

func (f *fakeRuntime) remove(ids ...string) {
	f.do(func() {
		for _, id := range ids {
			delete(f.sandboxes, id)
			delete(f.containers, id)
		}
	})
}

func (f *fakeRuntime) count(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[call]
}

func (f *fakeRuntime) relistTimes() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.relists
}

// answer plays the failure, hang or delay that was set for the method or key.
func answer[T any](ctx context.Context, f *fakeRuntime, method, key string, take func() (T, error)) (T, error) {
	f.mu.Lock()
	f.calls[method]++
	f.calls[method+"/"+key]++
	result, err := take()
	var pause time.Duration
	for _, name := range []string{method, key} {
		if failure := f.fail[name]; failure != nil {
			err = failure
		}
		pause = max(pause, f.delay[name])
		if f.hangs[name] {
			pause = 1000 * time.Hour
		}
	}
	f.mu.Unlock()

	if pause > 0 {
		select {
		case <-ctx.Done():
			err = status.FromContextError(ctx.Err()).Err()
		case <-time.After(pause):
		}
	}
	if err != nil {
		var none T
		return none, err
	}
	return result, nil
}

func (f *fakeRuntime) selects(selector, labels map[string]string) bool {
	uid := selector[cri.LabelPodUID]
	return f.noFilter || uid == "" || labels[cri.LabelPodUID] == uid
}

func (f *fakeRuntime) ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	return answer(ctx, f, "ListPodSandbox", filter.LabelSelector[cri.LabelPodUID], func() ([]*runtimeapi.PodSandbox, error) {
		if len(filter.LabelSelector) == 0 {
			f.relists = append(f.relists, time.Now())
		}
		var list []*runtimeapi.PodSandbox
		for _, s := range f.sandboxes {
			if f.selects(filter.LabelSelector, s.Labels) {
				list = append(list, &runtimeapi.PodSandbox{Id: s.Id, State: s.State, Labels: s.Labels, Metadata: s.Metadata})
			}
		}
		return list, nil
	})
}

func (f *fakeRuntime) ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	return answer(ctx, f, "ListContainers", filter.LabelSelector[cri.LabelPodUID], func() ([]*runtimeapi.Container, error) {
		var list []*runtimeapi.Container
		for _, c := range f.containers {
			if f.selects(filter.LabelSelector, c.Labels) {
				list = append(list, &runtimeapi.Container{Id: c.Id, PodSandboxId: c.SandboxID, State: c.State, Labels: c.Labels, Metadata: c.Metadata})
			}
		}
		return list, nil
	})
}

func (f *fakeRuntime) PodSandboxStatus(ctx context.Context, id string, _ bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	defer f.inspecting()()
	return answer(ctx, f, "PodSandboxStatus", id, func() (*runtimeapi.PodSandboxStatusResponse, error) {
		sandbox, ok := f.sandboxes[id]
		if !ok {
			return nil, notFound(id)
		}
		return &runtimeapi.PodSandboxStatusResponse{Status: sandbox}, nil
	})
}

func (f *fakeRuntime) ContainerStatus(ctx context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	defer f.inspecting()()
	return answer(ctx, f, "ContainerStatus", id, func() (*runtimeapi.ContainerStatusResponse, error) {
		container, ok := f.containers[id]
		if !ok {
			return nil, notFound(id)
		}
		return &runtimeapi.ContainerStatusResponse{Status: container.ContainerStatus}, nil
	})
}

// inspecting counts a status call until the result is called.
func (f *fakeRuntime) inspecting() (end func()) {
	f.do(func() {
		f.parallel++
		f.mostParallel = max(f.mostParallel, f.parallel)
	})
	return func() { f.do(func() { f.parallel-- }) }
}

func notFound(id string) error {
	return status.Error(codes.NotFound, fmt.Sprintf("%q: not found", id))
}

var errDown = status.Error(codes.Unavailable, "connection refused")
