package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
)

// ledger knows what runs, as the runtime does and not as the agent does, and what
// was said of it, and holds the agent to what it promises.
type ledger struct {
	conn *grpc.ClientConn // of the goroutine that plays the history

	mu        sync.Mutex // guards what follows
	specs     map[types.UID]*corev1.Pod
	runs      map[string]*instance              // by container ID
	sandboxes map[string]*runtimeapi.PodSandbox // by ID
	reported  *promises
	exempted  []types.UID       // have lived before: their counts may begin anew
	started   map[types.UID]int // containers
	awayUntil time.Time         // the runtime tells of no ends before
	fate      critest.Delivery
	fates     int // events that it still hits
	said      []line
	broken    bool
}

// line is a line of the trace.
type line struct {
	at   time.Time
	text string
	call any // the request of the call that it is about, if it is about one
}

// instance is a container, as last seen.
type instance struct {
	pod, name string
	uid       types.UID
	sandbox   string
	image     string
	created   int64
	started   bool
	state     runtimeapi.ContainerState
	code      int32
	reason    string
	told      bool // the agent asked it to end
	doubtful  bool // the runtime was away since
	gone      bool // removed by the agent
}

func (r *instance) mayRun() bool {
	return !r.gone && (r.state == runtimeapi.ContainerState_CONTAINER_RUNNING || r.state == runtimeapi.ContainerState_CONTAINER_UNKNOWN)
}

// mayFollow reports whether a container may start after last, that of its name
// before. It allows what is in doubt: it forbids only what policy plainly does.
func mayFollow(pod *corev1.Pod, next, last *instance) bool {
	if last.doubtful || !last.started || last.state != runtimeapi.ContainerState_CONTAINER_EXITED || last.image != next.image {
		return true
	}
	spec, init := specNamed(pod, last.name)
	succeeded := last.code == 0 && !(init && last.reason == "OOMKilled") // as the kubelet has it
	sidecar := init && spec.RestartPolicy != nil && *spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
	if init && !sidecar && (succeeded || last.told) && last.sandbox != next.sandbox {
		return true // the new sandbox is to be initialized too
	}
	if init && !sidecar && succeeded {
		return false
	}
	policy := pod.Spec.RestartPolicy
	if spec.RestartPolicy != nil {
		policy = corev1.RestartPolicy(*spec.RestartPolicy)
	}
	switch {
	case len(spec.RestartPolicyRules) > 0 && last.code == 3:
		return true
	case policy == corev1.RestartPolicyNever:
		return false
	case policy == corev1.RestartPolicyOnFailure:
		return !succeeded || last.told // which is no success of its own
	default:
		return true
	}
}

func specNamed(pod *corev1.Pod, name string) (spec corev1.Container, init bool) {
	for _, c := range pod.Spec.InitContainers {
		if c.Name == name {
			return c, true
		}
	}
	i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == name })
	return pod.Spec.Containers[i], false
}

// happened takes each event of the runtime in the moment it happens, and decides
// what the agent hears of it.
func (l *ledger) happened(event *critest.Event) critest.Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	sandbox := event.GetPodSandboxStatus()
	l.sandboxes[sandbox.GetId()] = &runtimeapi.PodSandbox{Id: sandbox.GetId(), Metadata: sandbox.GetMetadata(), State: sandbox.GetState()}
	seen := map[string]bool{}
	for _, status := range event.GetContainersStatuses() {
		l.note(status, sandbox.GetId(), sandbox.GetMetadata())
		seen[status.GetId()] = true
	}
	for id, r := range l.runs {
		if r.sandbox == sandbox.GetId() && !seen[id] {
			r.gone = true
		}
	}
	if r := l.runs[event.GetContainerId()]; r != nil {
		switch event.GetContainerEventType() {
		case runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT:
			l.checkStart(event.GetContainerId())
		case runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT:
			l.write("    %s/%s ended with %d %s", r.pod, r.name, r.code, r.reason)
		}
	} else if event.GetContainerEventType() == runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT {
		delete(l.sandboxes, event.GetContainerId())
	}
	if l.fates == 0 {
		return critest.Delivery{}
	}
	l.fates--
	return l.fate
}

// note keeps what a container is like. l.mu is held.
func (l *ledger) note(status *runtimeapi.ContainerStatus, sandbox string, pod *runtimeapi.PodSandboxMetadata) {
	r := l.runs[status.GetId()]
	if r == nil {
		r = &instance{
			pod:     pod.GetName(),
			uid:     types.UID(pod.GetUid()),
			name:    status.GetMetadata().GetName(),
			sandbox: sandbox,
			created: status.GetCreatedAt(),
			image:   cmp.Or(status.GetImage().GetUserSpecifiedImage(), status.GetImage().GetImage()),
		}
		l.runs[status.GetId()] = r
	}
	r.state, r.code, r.reason = status.GetState(), status.GetExitCode(), status.GetReason()
	r.started, r.doubtful, r.gone = status.GetStartedAt() != 0, !time.Now().After(l.awayUntil), false
}

// checkStart holds a start against all that is promised. l.mu is held.
func (l *ledger) checkStart(id string) {
	next := l.runs[id]
	l.started[next.uid]++
	var last *instance
	for otherID, other := range l.runs {
		if otherID == id || other.pod != next.pod {
			continue
		}
		if other.mayRun() && !other.doubtful && other.uid != next.uid {
			l.violated("%s of %s starts while %s of %s is %s", next.name, next.uid, other.name, other.uid, other.state)
		}
		if other.uid != next.uid || other.name != next.name {
			continue
		}
		if other.mayRun() && !other.doubtful {
			l.violated("%s/%s starts while another one is %s", next.pod, next.name, other.state)
		}
		if last == nil || other.created > last.created {
			last = other
		}
	}
	lived := slices.Contains(l.exempted, next.uid)
	if last != nil && !(lived && last.gone) && !mayFollow(l.specs[next.uid], next, last) {
		l.violated("%s/%s starts again after exit code %d %s, against its policy", next.pod, next.name, last.code, last.reason)
	}
	if phase := l.reported.phase[next.uid]; ended(phase) && !lived {
		l.violated("%s/%s starts after its pod was reported as %s", next.pod, next.name, phase)
	}
}

// called notes what the agent does, and that it asks a container to end. It is a
// Fault's Match that hits nothing.
func (l *ledger) called(call critest.Call) bool {
	if !call.Changes() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, line{at: time.Now(), call: call.Request})
	if r := l.runs[call.ID]; r != nil && call.Method == "StopContainer" {
		r.told = true
	}
	return false
}

// isLedgers reports whether the ledger makes the call: the agent filters its
// lists and wants no verbose status.
func isLedgers(call critest.Call) bool {
	switch request := call.Request.(type) {
	case *runtimeapi.ListContainersRequest:
		return request.GetFilter() == nil
	case *runtimeapi.ListPodSandboxRequest:
		return request.GetFilter() == nil
	case *runtimeapi.ContainerStatusRequest:
		return request.GetVerbose()
	}
	return false
}

// refresh asks the runtime for what there was no event for, if it is there.
func (l *ledger) refresh(runtime *critest.Runtime) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if l.conn == nil {
		conn, err := grpc.NewClient("passthrough:///critest", grpc.WithContextDialer(runtime.DialContext), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			l.broke("%v", err)
			return
		}
		l.conn = conn
	}
	if err := l.list(ctx, runtimeapi.NewRuntimeServiceClient(l.conn)); err != nil {
		l.close() // and dial anew, without gRPC's back-off
	}
}

func (l *ledger) close() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

func (l *ledger) list(ctx context.Context, runtime runtimeapi.RuntimeServiceClient) error {
	sandboxes, err := runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	containers, err := runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return err
	}
	var statuses []*runtimeapi.ContainerStatus
	for _, c := range containers.GetContainers() {
		if !l.outdated(c) {
			continue
		}
		answer, err := runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: c.GetId(), Verbose: true})
		if err != nil {
			return err
		}
		statuses = append(statuses, answer.GetStatus())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.sandboxes)
	for _, sandbox := range sandboxes.GetItems() {
		l.sandboxes[sandbox.GetId()] = sandbox
	}
	left := map[string]bool{}
	for _, c := range containers.GetContainers() {
		left[c.GetId()] = true
	}
	maps.DeleteFunc(l.runs, func(id string, r *instance) bool { return !r.gone && !left[id] })
	for _, status := range statuses {
		if r := l.runs[status.GetId()]; r != nil {
			l.note(status, r.sandbox, nil)
		}
	}
	return nil
}

func (l *ledger) outdated(c *runtimeapi.Container) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.runs[c.GetId()]
	return r != nil && (r.doubtful || r.state != c.GetState())
}

func (l *ledger) runsNow(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[id] != nil && l.runs[id].mayRun()
}

// doubt is for when the runtime is away for a while: what ran may have ended, and
// what is seen meanwhile is not the last word, as nobody is told of ends.
func (l *ledger) doubt(away time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.awayUntil = time.Now().Add(away)
	for _, r := range l.runs {
		r.doubtful = true
	}
}

// forget is for what the runtime lost with a container's or sandbox's ID, unless
// that failed.
func (l *ledger) forget(id string, err error) error {
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.runs, func(container string, r *instance) bool { return container == id || r.sandbox == id })
	maps.DeleteFunc(l.sandboxes, func(sandbox string, _ *runtimeapi.PodSandbox) bool { return sandbox == id })
	return nil
}

// alive is what runs of each pod: names of containers, and whether it has a sandbox.
func (l *ledger) alive() (running map[types.UID][]string, ready map[types.UID]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	running, ready = map[types.UID][]string{}, map[types.UID]bool{}
	for _, r := range l.runs {
		if r.mayRun() {
			running[r.uid] = append(running[r.uid], r.name)
		}
	}
	for _, sandbox := range l.sandboxes {
		if sandbox.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY {
			ready[types.UID(sandbox.GetMetadata().GetUid())] = true
		}
	}
	return running, ready
}

func (l *ledger) scriptEvents(next int, fate critest.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fates, l.fate = next, fate
}

// promises are what was said of pods, which may not be taken back.
type promises struct {
	phase    map[types.UID]corev1.PodPhase
	restarts map[string]int32 // by UID and container
}

func newPromises() *promises {
	return &promises{phase: map[types.UID]corev1.PodPhase{}, restarts: map[string]int32{}}
}

// report takes what the agent tells the upstream, which is in its store.
func (l *ledger) report(pod *corev1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write("    reports %s %s", pod.UID, phases(&pod.Status))
	l.hold(l.reported, pod)
}

// shows takes what the agent shows.
func (l *ledger) shows(shown *promises, pod *corev1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold(shown, pod)
}

// hold compares what is said with what was. l.mu is held.
func (l *ledger) hold(m *promises, pod *corev1.Pod) {
	if slices.Contains(l.exempted, pod.UID) {
		return
	}
	if was := m.phase[pod.UID]; ended(was) && pod.Status.Phase != was {
		l.violated("phase of %s was %s and is %s", pod.UID, was, pod.Status.Phase)
	}
	m.phase[pod.UID] = pod.Status.Phase
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		key := string(pod.UID) + "/" + c.Name
		if c.RestartCount < m.restarts[key] {
			l.violated("restart count of %s was %d and is %d", key, m.restarts[key], c.RestartCount)
		}
		m.restarts[key] = c.RestartCount
	}
}

// starts is how many containers of the pod were started.
func (l *ledger) starts(uid types.UID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.started[uid]
}

func (l *ledger) exempt(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.exempted = append(l.exempted, uid)
}

// amnesia is for when the agent's store is lost.
func (l *ledger) amnesia() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reported = newPromises()
}

// forgive is for when the agent is killed, and what waited to be sent when it last wrote
// its store is sent once more; and for an upstream that ends a pod, which counts as it
// knows the pod.
func (l *ledger) forgive() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.reported.restarts)
}

// phases is a status in one line: "Running a:Running/2 b:CrashLoopBackOff/5".
func phases(status *corev1.PodStatus) string {
	text := string(status.Phase)
	for _, c := range slices.Concat(status.InitContainerStatuses, status.ContainerStatuses) {
		state := "Running"
		switch {
		case c.State.Waiting != nil:
			state = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			state = fmt.Sprintf("%s(%d)", c.State.Terminated.Reason, c.State.Terminated.ExitCode)
		}
		text += fmt.Sprintf(" %s:%s/%d", c.Name, state, c.RestartCount)
	}
	return text
}

func (l *ledger) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write("== "+format, args...)
}

// write adds a line to the trace. l.mu is held.
func (l *ledger) write(format string, args ...any) {
	l.said = append(l.said, line{at: time.Now(), text: fmt.Sprintf(format, args...)})
}

func (l *ledger) broke(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.violated(format, args...)
}

// violated notes that a promise was broken. l.mu is held.
func (l *ledger) violated(format string, args ...any) {
	l.broken = true
	l.write("!! "+format, args...)
}

func (l *ledger) isBroken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

func (l *ledger) lines() []line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.said)
}
