package podsync

import (
	"context"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/podmanager"
	"github.com/edged-project/edged/podmanager/podspec"
)

// Runtime is the part of CRI's RuntimeService that podsync calls; *cri.Client
// has it. Each call must have a deadline of its own: the start of a sandbox or
// container does not end with the caller's context.
type Runtime interface {
	RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, runtimeHandler string) (string, error)
	StopPodSandbox(ctx context.Context, podSandboxID string) error
	PodSandboxStatus(ctx context.Context, podSandboxID string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error)
	CreateContainer(ctx context.Context, podSandboxID string, config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) (string, error)
	StartContainer(ctx context.Context, containerID string) error
	StopContainer(ctx context.Context, containerID string, timeout int64) error
	RemoveContainer(ctx context.Context, containerID string) error
	UpdateContainerResources(ctx context.Context, containerID string, resources *runtimeapi.ContainerResources) error
	ContainerStats(ctx context.Context, containerID string) (*runtimeapi.ContainerStats, error)
	ExecSync(ctx context.Context, containerID string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error)
	Status(ctx context.Context, verbose bool) (*runtimeapi.StatusResponse, error)
}

// Observer tells what runs; *pleg.Generator does.
type Observer interface {
	// State returns the pod as observed after notBefore, waiting for it.
	State(ctx context.Context, uid types.UID, notBefore time.Time) (*cri.PodState, error)
	// Refresh asks for an observation of the pod soon. It does not block.
	Refresh(uid types.UID)
	// Healthy says why observations are too old to act on, nil when they are not.
	Healthy() error
	// Pods returns every pod that the runtime knows by a listing after notBefore,
	// waiting for it. UID, Namespace and Name are there; sandboxes and containers
	// only of pods that were looked at since.
	Pods(ctx context.Context, notBefore time.Time) ([]*cri.PodState, error)
}

// Images makes images present; *imagepull.Puller does.
type Images interface {
	// Ensure returns the container's image, pulling it as its policy says. The
	// image is not removed from the node before release is called.
	Ensure(ctx context.Context, pod *corev1.Pod, container *corev1.Container, sandbox *runtimeapi.PodSandboxConfig) (image *runtimeapi.Image, release func(), err error)
	// Forget drops what is remembered of the pod.
	Forget(uid types.UID)
}

// Volumes gives a pod its volumes; *volume.Manager does.
type Volumes interface {
	// Mount returns the path on the node of each volume that the pod uses, and brings
	// the content of those that it has already up to date. It is called in each Sync.
	Mount(ctx context.Context, pod *corev1.Pod) (map[string]string, error)
	// Unmount gives back the volumes of a pod that has ended.
	Unmount(ctx context.Context, uid types.UID) error
}

// SubPaths is what Volumes can do beside it for containers that mount parts of
// volumes; *volume.Manager does. Without it they do not start.
type SubPaths interface {
	// SubPath returns the path on the node of a part of a volume, for the mount of
	// that index of the container.
	SubPath(ctx context.Context, pod *corev1.Pod, container string, index int, volumePath, subPath string) (string, error)
}

// VolumeGroups is what Volumes can do beside it for volumes that belong to groups;
// *volume.Manager does.
type VolumeGroups interface {
	// Groups returns the groups that containers of a mounted pod need. It does not block.
	Groups(uid types.UID) []int64
}

// Recorder takes what happens to a pod, for people to read. It must not block.
type Recorder interface {
	Event(about *corev1.ObjectReference, eventType, reason, message string)
}

// Rooms are the collaborators of a Syncer. Those from Health on may be left out.
type Rooms struct {
	Runtime  Runtime
	Observer Observer
	Images   Images
	Volumes  Volumes
	// Status takes what was observed of a pod, each time before podsync acts on it
	// and when it learns why a container does not start, and returns the status
	// that was made from it. It must not block.
	Status func(pod *corev1.Pod, seen Observation) corev1.PodStatus
	// Health tells what the probes of a running container have found, and is false of
	// a container that is not probed yet. Without it nobody probes. It must not block.
	Health func(uid types.UID, containerID string) (Health, bool)
	// Objects are asked for what environments refer to. Without them, containers
	// with such references wait, and say so.
	Objects Objects
	// Services are told to containers by their environment, none when it is nil.
	Services Services
	// Cgroups give each pod one, the runtime chooses when it is nil.
	Cgroups Cgroups
	// Fits is asked when the resources of a pod were changed, and tells why the node
	// cannot set aside what its spec asks for now, nil if it can. What it holds against
	// that is what is Allocated to other pods. It must not block, and is asked for one
	// pod at a time. Without it every resize fits.
	Fits func(pod *corev1.Pod) *Refusal
}

func (r Rooms) withDefaults() Rooms {
	if r.Health == nil {
		r.Health = func(types.UID, string) (Health, bool) { return Health{}, true }
	}
	if r.Objects == nil {
		r.Objects = noObjects{}
	}
	if r.Services == nil {
		r.Services = noServices{}
	}
	if r.Cgroups == nil {
		r.Cgroups = noCgroups{}
	}
	if r.Fits == nil {
		r.Fits = func(*corev1.Pod) *Refusal { return nil }
	}
	return r
}

// Observation is what a pod's status is made from.
type Observation struct {
	// State is the pod as last observed. It is shared and must not be changed.
	State *cri.PodState
	// Waiting tells, by container name, why a container does not run.
	Waiting map[string]corev1.ContainerStateWaiting
	// Messages are what ended containers left to say, by container ID.
	Messages map[string]string
	// Restarting are the ended containers, by ID, that run again whatever their exit
	// code is, as a failed probe has had them ended.
	Restarting map[string]bool
	// RestartingAll: all containers are being restarted by a restart rule of one.
	RestartingAll bool
	// Resize is how far the node follows a change of the pod's resources.
	Resize Resize
	// Failure is why the node ends the pod, nil if it does not.
	Failure *Failure
	// Ending: the pod's containers are about to be stopped for good, and its probes
	// are not to end them any more.
	Ending bool
	// Ended: nothing of the pod runs, and nothing will again.
	Ended bool
}

// Failure is a decision of the node to end a pod, as its status words it.
type Failure struct {
	Reason, Message string
	// Disruption is the reason of the condition DisruptionTarget, empty for an end
	// that is the pod's own fault.
	Disruption string
}

// Config of a Syncer. The zero value works.
type Config struct {
	// Root is the agent's directory: below it are the files that are mounted into
	// containers. Default /var/lib/edged.
	Root string
	// LogLinks is the directory of the links by which log shippers find the
	// containers' logs. Default /var/log/containers.
	LogLinks string
	// MaxCrashDelay is the longest crash-loop delay. Default 5 min.
	MaxCrashDelay time.Duration
	// MaxStarts is how many sandboxes and containers are being started at once, so
	// that many pods do not make the runtime thrash. Default: the number of CPUs,
	// but at least 2.
	MaxStarts int
	// Sandbox and Container say what podspec needs to know of the node. What
	// differs from pod to pod in them, and whether the runtime can do
	// Container.RecursiveReadOnly, is filled in by the Syncer. Default
	// Container.SeccompRoot: <Root>/seccomp.
	Sandbox   podspec.SandboxOptions
	Container podspec.ContainerOptions
	// HostIPs and NodeDNS return the addresses and the resolver of the node as they
	// are now: before each start of a container and each new sandbox, as both change
	// while the agent runs (a network that comes up late, DHCP, roaming). They must be
	// quick. Default: Container.HostIPs and Sandbox.NodeDNS.
	HostIPs func() []string
	NodeDNS func() *runtimeapi.DNSConfig
	// Recorder of events, nil records none.
	Recorder Recorder
	// Logger, nil logs nothing.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.Root == "" {
		c.Root = "/var/lib/edged"
	}
	if c.Container.SeccompRoot == "" {
		c.Container.SeccompRoot = filepath.Join(c.Root, "seccomp")
	}
	if c.HostIPs == nil {
		c.HostIPs = func() []string { return c.Container.HostIPs }
	}
	if c.NodeDNS == nil {
		c.NodeDNS = func() *runtimeapi.DNSConfig { return c.Sandbox.NodeDNS }
	}
	if c.MaxStarts <= 0 {
		c.MaxStarts = max(2, runtime.NumCPU())
	}
	if c.Recorder == nil {
		c.Recorder = noRecorder{}
	}
	if c.LogLinks == "" {
		c.LogLinks = "/var/log/containers"
	}
	if c.MaxCrashDelay <= 0 {
		c.MaxCrashDelay = maxCrashDelay
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Syncer is the podmanager.Syncer of container runtimes. Its methods may be
// called for different pods at once; for one pod, one call at a time.
type Syncer struct {
	rooms  Rooms
	cfg    Config
	logger *zap.Logger
	files  files
	starts chan struct{} // as many as may be under way
	parts  SubPaths      // nil if the volumes have none
	groups VolumeGroups  // nil if the volumes have none
	// allocating is held by the one pod that resources are being set aside for.
	allocating chan struct{}

	mu      sync.Mutex // guards what follows, but not what the records hold
	records map[types.UID]*record
	// condemned are the pods that were condemned since they were last looked at.
	condemned map[types.UID]Failure
	allocated map[types.UID]allocation
	// over are the pods, no orphans, that were killed and of which the runtime may have
	// something.
	over  map[types.UID]bool
	acted time.Time // the newest of the records', kept when they go
}

var (
	_ podmanager.Syncer = (*Syncer)(nil)
	_ podmanager.Lister = (*Syncer)(nil)
)

// record is what is remembered of one pod from one call to the next. Its loss
// costs each crash-looping container one restart without delay.
type record struct {
	// acted is when the last action on the pod ended: older observations say
	// nothing.
	acted   time.Time
	crashes map[string]crash
	// linked: the logs of all containers are. unlinked: it was told that one could not be.
	linked, unlinked bool
	// failed tells, by name, why a container that is to be started could not be.
	failed map[string]corev1.ContainerStateWaiting
	// published is the last status that was made.
	published corev1.PodStatus
	// resized tells to what running containers were resized, by ID.
	resized map[string]string
	// resize is how far the pod's resources are what its spec asks for.
	resize Resize
	// sick are the containers that a failed probe has had ended, to be started again,
	// by ID.
	sick map[string]bool
	// hooked are the containers whose preStop hook was begun, by ID.
	hooked map[string]bool
	// messages of the ended containers, by ID: each is read once.
	messages map[string]string
	// failure is why the node ends the pod.
	failure *Failure
	// cgroup is the pod's, as the runtime is told, once this agent made it.
	cgroup string
}

// New returns a Syncer. It starts nothing.
func New(rooms Rooms, cfg Config) *Syncer {
	cfg = cfg.withDefaults()
	s := &Syncer{
		rooms:      rooms.withDefaults(),
		cfg:        cfg,
		logger:     cfg.Logger.Named("podsync"),
		files:      files{root: cfg.Root},
		starts:     make(chan struct{}, cfg.MaxStarts),
		allocating: make(chan struct{}, 1),
		records:    map[types.UID]*record{}, condemned: map[types.UID]Failure{}, allocated: map[types.UID]allocation{},
		over: map[types.UID]bool{},
	}
	s.parts, _ = rooms.Volumes.(SubPaths)
	s.groups, _ = rooms.Volumes.(VolumeGroups)
	return s
}

// Condemn decides that the pod has failed: from its next Sync or Kill on, its status
// says so as soon as nothing of it runs, and Sync reports it as finished. Who wants
// it ended sooner, or within another grace than the pod's own, has it killed. The
// first decision stands. Of a pod that was not yet synced, or is over, nothing runs:
// it is not condemned, and false returned. Condemn does not block.
func (s *Syncer) Condemn(uid types.UID, failure Failure) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.records[uid] == nil {
		return false
	}
	if _, ok := s.condemned[uid]; !ok {
		s.condemned[uid] = failure
	}
	return true
}

func (s *Syncer) record(uid types.UID) *record {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec := s.records[uid]
	if rec == nil {
		rec = &record{
			crashes: map[string]crash{}, failed: map[string]corev1.ContainerStateWaiting{},
			resized: map[string]string{}, hooked: map[string]bool{}, sick: map[string]bool{},
		}
		s.records[uid] = rec
	}
	if failure, ok := s.condemned[uid]; ok && rec.failure == nil {
		rec.failure = &failure
	}
	return rec
}

// dropGone forgets the containers that the runtime has no more.
func (r *record) dropGone(state *cri.PodState) {
	maps.DeleteFunc(r.resized, func(id, _ string) bool { return !has(state, id) })
	for _, containers := range []map[string]bool{r.hooked, r.sick} {
		maps.DeleteFunc(containers, func(id string, _ bool) bool { return !has(state, id) })
	}
}

func has(state *cri.PodState, id string) bool {
	return slices.ContainsFunc(state.Containers, func(c *cri.Container) bool { return c.GetId() == id })
}

func (s *Syncer) forget(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, pod.UID)
	delete(s.condemned, pod.UID)
	delete(s.allocated, pod.UID)
	s.over[pod.UID] = s.over[pod.UID] || !isSkeleton(pod)
}

// done notes that the pod was acted upon, and asks for a look at the outcome.
func (s *Syncer) done(pod *corev1.Pod, rec *record) {
	s.mu.Lock()
	rec.acted = time.Now()
	s.acted = rec.acted
	s.mu.Unlock()
	s.rooms.Observer.Refresh(pod.UID)
}
