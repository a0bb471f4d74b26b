package podsync_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/podmanager/podsync"
)

// startLimit is how many starts of a stage may be under way.
const startLimit = 3

// stage is a Syncer on a runtime in memory.
type stage struct {
	t       *testing.T
	runtime *critest.Runtime
	client  *cri.Client
	observe *observer
	images  *images
	volumes *volumes
	cgroups podsync.Cgroups
	fits    func(*corev1.Pod) *podsync.Refusal
	hostIPs func() []string
	dns     func() *runtimeapi.DNSConfig
	logs    string

	mu     sync.Mutex                // guards what follows
	sick   map[string]podsync.Health // by container ID
	seen   []podsync.Observation
	began  metav1.Time
	phase  corev1.PodPhase // what the status says
	events []string
}

func newStage(t *testing.T, cfg critest.Config) *stage {
	t.Helper()
	cfg.WriteLogs = true
	runtime := critest.Start(t, cfg)
	client := runtime.Client(t)
	return &stage{
		t: t, runtime: runtime, client: client, logs: t.TempDir(),
		observe: &observer{client: client, ended: map[string]*runtimeapi.ContainerStatus{}}, images: &images{client: client}, volumes: &volumes{},
	}
}

// syncer returns a new Syncer, as of an agent that was just started.
func (s *stage) syncer() *podsync.Syncer { return s.syncerOn(s.client) }

func (s *stage) syncerOn(runtime podsync.Runtime) *podsync.Syncer {
	return s.syncerWith(runtime, s.observe)
}

// syncerThatSees is a Syncer with other eyes.
func (s *stage) syncerThatSees(observer podsync.Observer) *podsync.Syncer {
	return s.syncerWith(s.client, observer)
}

func (s *stage) syncerWith(runtime podsync.Runtime, observer podsync.Observer) *podsync.Syncer {
	cfg := podsync.Config{
		Root: s.logs + "/root", LogLinks: s.logs + "/links", MaxStarts: startLimit, HostIPs: s.hostIPs, NodeDNS: s.dns, Recorder: s,
	}
	cfg.Sandbox.LogRoot = s.logs + "/pods"
	return podsync.New(podsync.Rooms{
		Runtime: runtime, Observer: observer, Images: s.images, Volumes: s.volumes,
		Status: s.see, Health: s.health, Cgroups: s.cgroups, Fits: s.fits,
	}, cfg)
}

// reboot restarts the node, and lets the client hear of the end of its connection.
func (s *stage) reboot(options critest.RebootOptions) {
	s.runtime.Reboot(options)
	synctest.Wait()
}

func (s *stage) health(_ types.UID, containerID string) (podsync.Health, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	health, known := s.sick[containerID]
	return health, known
}

// sicken makes a probe fail the container.
func (s *stage) sicken(containerID string, failed podsync.KillingProbe) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sick == nil {
		s.sick = map[string]podsync.Health{}
	}
	s.sick[containerID] = podsync.Health{Failed: failed}
}

// changes returns the calls that changed something since the last time.
func (s *stage) changes() string {
	changes := s.runtime.Calls().Changes().String()
	s.runtime.ResetCalls()
	return changes
}

func (s *stage) state(pod *corev1.Pod) *cri.PodState {
	s.t.Helper()
	state, err := s.observe.State(s.t.Context(), pod.UID, time.Time{})
	require.NoError(s.t, err)
	return state
}

func (s *stage) see(_ *corev1.Pod, seen podsync.Observation) corev1.PodStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, seen)
	if s.began.IsZero() {
		s.began = metav1.Now()
	}
	return corev1.PodStatus{StartTime: &s.began, Phase: s.phase}
}

// Event keeps an event in short: "Warning Failed app: Error: no space".
func (s *stage) Event(about *corev1.ObjectReference, eventType, reason, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	where := about.Name
	if about.FieldPath != "" {
		where = about.FieldPath
	}
	s.events = append(s.events, eventType+" "+reason+" "+where+": "+message)
}

func (s *stage) last() podsync.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[len(s.seen)-1]
}

// observer looks at the runtime each time it is asked, but only once at what has
// ended.
type observer struct {
	client *cri.Client
	ended  map[string]*runtimeapi.ContainerStatus
	blind  error // why it is not healthy
}

func (o *observer) State(ctx context.Context, uid types.UID, _ time.Time) (*cri.PodState, error) {
	state := &cri.PodState{UID: uid, ObservedAt: time.Now()}
	selector := map[string]string{cri.LabelPodUID: string(uid)}
	sandboxes, err := o.client.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	for _, sandbox := range sandboxes {
		status, err := o.client.PodSandboxStatus(ctx, sandbox.Id, false)
		if err != nil {
			return nil, err
		}
		state.Sandboxes = append(state.Sandboxes, status.Status)
		state.Namespace, state.Name = sandbox.Metadata.Namespace, sandbox.Metadata.Name
	}
	containers, err := o.client.ListContainers(ctx, &runtimeapi.ContainerFilter{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	for _, container := range containers {
		status, err := o.container(ctx, container.Id)
		if err != nil {
			return nil, err
		}
		state.Containers = append(state.Containers, &cri.Container{SandboxID: container.PodSandboxId, ContainerStatus: status})
	}
	state.Sort()
	return state, nil
}

func (o *observer) container(ctx context.Context, id string) (*runtimeapi.ContainerStatus, error) {
	if status := o.ended[id]; status != nil {
		return status, nil
	}
	response, err := o.client.ContainerStatus(ctx, id, false)
	if err != nil {
		return nil, err
	}
	if response.Status.State == runtimeapi.ContainerState_CONTAINER_EXITED {
		o.ended[id] = response.Status
	}
	return response.Status, nil
}

func (o *observer) Refresh(types.UID) {}

func (o *observer) Healthy() error { return o.blind }

func (o *observer) Pods(ctx context.Context, _ time.Time) ([]*cri.PodState, error) {
	sandboxes, err := o.client.ListPodSandbox(ctx, nil)
	if err != nil {
		return nil, err
	}
	var states []*cri.PodState
	for _, sandbox := range sandboxes {
		state, err := o.State(ctx, types.UID(sandbox.Metadata.Uid), time.Time{})
		if err != nil {
			return nil, err
		}
		states = append(states, state)
	}
	return states, nil
}

// cached is an observer that looks again only when it has to.
type cached struct {
	*observer
	state *cri.PodState
	looks int
}

func (c *cached) State(ctx context.Context, uid types.UID, notBefore time.Time) (*cri.PodState, error) {
	if c.state != nil && c.state.ObservedAt.After(notBefore) {
		return c.state, nil
	}
	time.Sleep(time.Millisecond) // the clock of a bubble stands still otherwise
	state, err := c.observer.State(ctx, uid, notBefore)
	if err == nil {
		c.state = state
		c.looks++
	}
	return state, err
}

// images pulls what is not there, and fails for the images that fail.
type images struct {
	client    *cri.Client
	fail      map[string]error
	forgotten []types.UID
}

func (i *images) Ensure(ctx context.Context, _ *corev1.Pod, container *corev1.Container, sandbox *runtimeapi.PodSandboxConfig) (*runtimeapi.Image, func(), error) {
	if err := i.fail[container.Image]; err != nil {
		return nil, nil, err
	}
	spec := &runtimeapi.ImageSpec{Image: container.Image}
	if _, err := i.client.PullImage(ctx, spec, nil, sandbox); err != nil {
		return nil, nil, err
	}
	status, err := i.client.ImageStatus(ctx, spec, false)
	return status.GetImage(), func() {}, err
}

func (i *images) Forget(uid types.UID) { i.forgotten = append(i.forgotten, uid) }

// pullError is an error as of imagepull.
type pullError struct {
	reason  string
	retryAt time.Time
	cause   error
}

func (e *pullError) Error() string         { return "the registry said: " + e.reason }
func (e *pullError) Unwrap() error         { return e.cause }
func (e *pullError) WaitingReason() string { return e.reason }
func (e *pullError) RetryAt() time.Time    { return e.retryAt }

// volumes mounts nothing, or fails.
type volumes struct {
	err       error
	paths     map[string]string // by the name of the volume
	mounts    atomic.Int32
	unmounted []types.UID
	onUnmount func()
}

func (v *volumes) Mount(context.Context, *corev1.Pod) (map[string]string, error) {
	v.mounts.Add(1)
	return v.paths, v.err
}

func (v *volumes) Unmount(_ context.Context, uid types.UID) error {
	v.unmounted = append(v.unmounted, uid)
	if v.onUnmount != nil {
		v.onUnmount()
	}
	return v.err
}

// errDead is what calls return to an agent that is dead.
var errDead = errors.New("the agent is dead")

// mortal is a runtime to whose caller it happens to die after some calls: the
// call that is under way is made, but the caller does not learn of it.
type mortal struct {
	podsync.Runtime
	left     int
	removals int // of containers, which count apart
}

func (m *mortal) RemoveContainer(ctx context.Context, id string) error {
	m.removals--
	if m.removals < 0 {
		return errDead
	}
	return m.Runtime.RemoveContainer(ctx, id)
}

func (m *mortal) spend() error {
	m.left--
	if m.left < 0 {
		return errDead
	}
	return nil
}

func (m *mortal) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	if m.left < 0 {
		return "", errDead
	}
	id, err := m.Runtime.RunPodSandbox(ctx, config, handler)
	return id, errors.Join(err, m.spend())
}

func (m *mortal) PodSandboxStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	if m.left < 0 {
		return nil, errDead
	}
	response, err := m.Runtime.PodSandboxStatus(ctx, id, verbose)
	return response, errors.Join(err, m.spend())
}

func (m *mortal) CreateContainer(ctx context.Context, sandbox string, config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) (string, error) {
	if m.left < 0 {
		return "", errDead
	}
	id, err := m.Runtime.CreateContainer(ctx, sandbox, config, sandboxConfig)
	return id, errors.Join(err, m.spend())
}

func (m *mortal) StartContainer(ctx context.Context, id string) error {
	if m.left < 0 {
		return errDead
	}
	return errors.Join(m.Runtime.StartContainer(ctx, id), m.spend())
}

// spy is a runtime that shows what it is asked for.
type spy struct {
	podsync.Runtime
	run           func(*runtimeapi.PodSandboxConfig)
	created       func(*runtimeapi.ContainerConfig)
	forgetsToStop bool
}

func (s *spy) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	if s.run != nil {
		s.run(config)
	}
	return s.Runtime.RunPodSandbox(ctx, config, handler)
}

func (s *spy) CreateContainer(ctx context.Context, sandbox string, config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) (string, error) {
	if s.created != nil {
		s.created(config)
	}
	return s.Runtime.CreateContainer(ctx, sandbox, config, sandboxConfig)
}

func (s *spy) StopPodSandbox(ctx context.Context, id string) error {
	if s.forgetsToStop {
		return nil
	}
	return s.Runtime.StopPodSandbox(ctx, id)
}

// endsAfter is a context that is canceled after a time, as the manager cancels. A
// deadline would be told to the runtime, which may be the first to act on it.
func endsAfter(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	time.AfterFunc(d, cancel)
	return ctx
}

// podOf is a pod of containers that are named like their images.
func podOf(names ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid-1"},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSDefault},
	}
	for _, name := range names {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: name, Image: name})
	}
	return pod
}
