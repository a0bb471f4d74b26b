package critest

import (
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Call is one call that the runtime received.
type Call struct {
	// Time is when it came in.
	Time time.Time
	// Method is its name in the CRI, such as "RunPodSandbox".
	Method string
	// Namespace, Pod and UID are those of the pod that it is about, Container
	// the container's name in it, Image the image's name. Empty where it is
	// about none or the runtime does not know the ID.
	Namespace, Pod, UID string
	Container           string
	Image               string
	// ID is the sandbox's or container's that the caller gave.
	ID string
	// Request is the message, a *runtimeapi.CreateContainerRequest for one. It
	// is shared and must not be changed.
	Request any
	// Done is false while the call is under way.
	Done bool
	// Err is what the caller got, with its gRPC code. Nil while under way.
	Err error
}

// Object is what the call is about, in short: "pod/container", "pod", or the
// image's name; the ID when the runtime does not know it; "" for none.
func (c Call) Object() string {
	switch {
	case c.Container != "":
		return c.Pod + "/" + c.Container
	case c.Pod != "":
		return c.Pod
	case c.Image != "":
		return c.Image
	}
	return c.ID
}

// String is the call in short, such as "StartContainer web/app", followed by
// the code of its error, if it had one.
func (c Call) String() string {
	text := strings.TrimSpace(c.Method + " " + c.Object())
	if c.Err != nil {
		text += ": " + status.Code(c.Err).String()
	}
	return text
}

// Changes reports whether calls of this kind change what is on the node, as
// opposed to those that look. Commands executed in containers do not count.
func (c Call) Changes() bool {
	switch c.Method {
	case "RunPodSandbox", "StopPodSandbox", "RemovePodSandbox", "UpdatePodSandboxResources",
		"CreateContainer", "StartContainer", "StopContainer", "RemoveContainer", "UpdateContainerResources",
		"ReopenContainerLog", "PullImage", "RemoveImage":
		return true
	}
	return false
}

// Calls is a part of the trace, in the order in which the calls came in.
type Calls []Call

// Changes returns the calls that change what is on the node.
func (c Calls) Changes() Calls {
	return slices.DeleteFunc(slices.Clone(c), func(call Call) bool { return !call.Changes() })
}

// String is the calls in short, with "; " between them:
//
//	RunPodSandbox web; CreateContainer web/app; StartContainer web/app
func (c Calls) String() string {
	texts := make([]string, len(c))
	for i, call := range c {
		texts[i] = call.String()
	}
	return strings.Join(texts, "; ")
}

// Calls returns the calls of the given methods that the trace holds, those of
// all methods when none is given.
func (r *Runtime) Calls(methods ...string) Calls {
	return r.trace.calls(methods)
}

// Count returns how many calls of the given methods came in since the last
// ResetCalls, of all methods when none is given. It counts on when the trace is
// full.
func (r *Runtime) Count(methods ...string) int {
	return r.trace.count(methods)
}

// ResetCalls forgets the calls so far.
func (r *Runtime) ResetCalls() {
	r.trace.reset()
}

type trace struct {
	limit int

	mu     sync.Mutex // guards the rest, and the calls themselves
	list   []*Call
	counts map[string]int
}

func (t *trace) begin(call *Call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	t.counts[call.Method]++
	if t.limit < 0 {
		return
	}
	t.list = append(t.list, call)
	if len(t.list) >= 2*t.limit {
		t.list = slices.Clone(t.list[len(t.list)-t.limit:])
	}
}

func (t *trace) end(call *Call, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	call.Done, call.Err = true, err
}

func (t *trace) calls(methods []string) Calls {
	t.mu.Lock()
	defer t.mu.Unlock()
	var calls Calls
	for _, call := range t.list[max(0, len(t.list)-max(0, t.limit)):] {
		if len(methods) == 0 || slices.Contains(methods, call.Method) {
			calls = append(calls, *call)
		}
	}
	return calls
}

func (t *trace) count(methods []string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	total := 0
	for method, count := range t.counts {
		if len(methods) == 0 || slices.Contains(methods, method) {
			total += count
		}
	}
	return total
}

func (t *trace) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list, t.counts = nil, nil
}

// describe says what a request is about.
func (r *Runtime) describe(method string, request any) *Call {
	call := &Call{Time: time.Now(), Method: path.Base(method), Request: request}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch request := request.(type) {
	case *runtimeapi.RunPodSandboxRequest:
		call.setPod(request.GetConfig().GetMetadata())
	case *runtimeapi.CreateContainerRequest:
		r.setSandbox(call, request.GetPodSandboxId())
		call.Container = request.GetConfig().GetMetadata().GetName()
		call.Image = request.GetConfig().GetImage().GetImage()
	case interface{ GetContainerId() string }:
		r.setContainer(call, request.GetContainerId())
	case interface{ GetPodSandboxId() string }:
		r.setSandbox(call, request.GetPodSandboxId())
	case interface{ GetImage() *runtimeapi.ImageSpec }:
		call.Image = request.GetImage().GetImage()
	}
	return call
}

func (c *Call) setPod(pod *runtimeapi.PodSandboxMetadata) {
	c.Namespace, c.Pod, c.UID = pod.GetNamespace(), pod.GetName(), pod.GetUid()
}

func (r *Runtime) setSandbox(call *Call, id string) {
	call.ID = id
	if sb, err := find(r.sandboxes, id); err == nil {
		call.setPod(sb.config.GetMetadata())
	}
}

func (r *Runtime) setContainer(call *Call, id string) {
	call.ID = id
	if c, err := find(r.containers, id); err == nil {
		call.setPod(c.sandbox.config.GetMetadata())
		call.Container = c.config.GetMetadata().GetName()
	}
}
