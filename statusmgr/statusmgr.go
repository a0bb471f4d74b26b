package statusmgr

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Updater takes the changed statuses: a store, an API server, a log.
type Updater interface {
	// ReportPodStatus takes the pod with its newest status; the pod is the
	// Updater's to keep. It is called from one goroutine, must return when ctx
	// ends, and may be given the same status again after it returned an error.
	//
	// The UID says which pod is meant: upstream may have another of that name.
	// Conditions that are not the agent's are as they were in the pod, maybe
	// stale, and not to be written over newer ones. That a pod is gone upstream
	// is no error.
	ReportPodStatus(ctx context.Context, pod *corev1.Pod) error
}

// Config configures a Manager. The zero value works.
type Config struct {
	// FullSyncPeriod is the time between the passes that repeat what the
	// Updater did not take. Default 10 s.
	FullSyncPeriod time.Duration
	// UpdateTimeout bounds each call of the Updater, and so the time by which
	// one pod can delay the others. Default 10 s.
	UpdateTimeout time.Duration
	// OnChange is told each change of a status, with the pod before and after
	// it: previous is nil for a new pod, current for a removed one. The pods
	// are the callback's to keep. It is called by the goroutine that called Set
	// or Remove and must not block. Default: nobody is told.
	OnChange func(previous, current *corev1.Pod)
	// Logger is where failing updates and refused statuses go. Default: none.
	Logger *zap.Logger
}

// Manager keeps the newest status of each pod, and hands what changed to an
// Updater. Its methods may be called from any goroutine. What it is given and
// what it returns are copies: no caller's change reaches what it keeps.
type Manager struct {
	updater Updater
	cfg     Config
	log     *zap.Logger
	wake    chan struct{} // size 1: something is due

	mu      sync.Mutex // guards what follows
	entries map[types.UID]*entry
	turn    uint64 // of the newest change
}

// entry is one pod. Its fields are guarded by Manager.mu.
type entry struct {
	delivery
	// pod is replaced, never changed.
	pod *corev1.Pod
	// removed: it is there to be handed on only.
	removed bool
}

// New returns a Manager without pods. Nothing is handed on before Run. Without an
// updater nobody is told, and the statuses can only be read.
func New(updater Updater, cfg Config) *Manager {
	if updater == nil {
		updater = nobody{}
	}
	cfg.FullSyncPeriod = orDefault(cfg.FullSyncPeriod)
	cfg.UpdateTimeout = orDefault(cfg.UpdateTimeout)
	log := cfg.Logger
	if log == nil {
		log = zap.NewNop()
	}
	return &Manager{
		updater: updater,
		cfg:     cfg,
		log:     log.Named("statusmgr"),
		wake:    make(chan struct{}, 1),
		entries: map[types.UID]*entry{},
	}
}

type nobody struct{}

func (nobody) ReportPodStatus(context.Context, *corev1.Pod) error { return nil }

func orDefault(d time.Duration) time.Duration {
	if d <= 0 {
		return 10 * time.Second
	}
	return d
}

// Set makes status the newest of the pod, whose own Status is not looked at. It
// does not block and is idempotent: a status that means the same as the one
// kept, times of conditions, order and other owners' conditions aside, is not
// reported. The pod itself and other owners' conditions are always taken, so that
// Pods shows its newest spec and metadata, and SetHealth counts with them.
//
// A status is refused, the old one kept and a warning logged, if it would undo
// what others have acted on: a terminal phase, or the end of a container that
// may not run again.
func (m *Manager) Set(pod *corev1.Pod, status corev1.PodStatus) {
	next := withStatus(pod, status)
	previous, changed, err := m.store(next)
	if err != nil {
		m.log.Warn("status refused", append(podFields(pod), zap.Error(err))...)
		return
	}
	if !changed {
		return
	}
	notify(m.wake)
	m.changed(previous, next)
}

// store keeps the pod and reports whether its status has changed. The pod that
// it returns is the one kept before.
func (m *Manager) store(next *corev1.Pod) (previous *corev1.Pod, changed bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(next.UID)
	if e == nil {
		e = &entry{}
		m.entries[next.UID] = e
	} else {
		previous = e.pod
		if err := checkTransition(next, &previous.Status); err != nil {
			return nil, false, err
		}
		if sameStatus(&previous.Status, &next.Status) {
			others := foreign(next.Status.Conditions) // which SetHealth looks at
			next.Status = previous.Status
			next.Status.Conditions = slices.Concat(agents(previous.Status.Conditions), others)
			e.pod = next
			return nil, false, nil
		}
	}
	m.keep(e, next)
	return previous, true, nil
}

// keep makes the pod the entry's, and due. m.mu is held.
func (m *Manager) keep(e *entry, pod *corev1.Pod) {
	m.turn++
	e.pod, e.due, e.turn = pod, true, m.turn
}

// SetHealth shows at once what the probes of a container have found, while the worker
// that would call Set may be busy for minutes: it redoes started and ready of that
// container in the status kept, and the pod's ContainersReady and Ready. All else
// follows with the next Set, so that the worker is to be woken all the same: it may
// also have just begun with what was found before. The rule is the kubelet's, see
// SetContainerReadiness and SetContainerStartup of its status manager.
//
// The ID is the runtime's, as in Input.Health. Nothing is done if the status kept has
// no container running under it that may have probes, or if the pod has ended. It does
// not block and is idempotent; a change is reported as one by Set is.
func (m *Manager) SetHealth(uid types.UID, containerID string, health Health) {
	previous, next := m.storeHealth(uid, containerID, health)
	if next == nil {
		return
	}
	notify(m.wake)
	m.changed(previous, next)
}

// storeHealth keeps the pod with what was found, and returns it and the one kept
// before; nil if that is no change.
func (m *Manager) storeHealth(uid types.UID, containerID string, health Health) (previous, next *corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(uid)
	if e == nil {
		return nil, nil
	}
	if c := probed(e.pod, containerID); c == nil || health.shown(c) {
		return nil, nil
	}
	previous, next = e.pod, withHealth(e.pod, containerID, health, time.Now())
	m.keep(e, next)
	return previous, next
}

// Get returns the newest status of the pod, false if there is none. It does not
// block.
func (m *Manager) Get(uid types.UID) (corev1.PodStatus, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(uid)
	if e == nil {
		return corev1.PodStatus{}, false
	}
	return *e.pod.Status.DeepCopy(), true
}

// Pods returns every pod with its newest status, by namespace and name. It does
// not block.
func (m *Manager) Pods() []*corev1.Pod {
	m.mu.Lock()
	pods := make([]*corev1.Pod, 0, len(m.entries))
	for _, e := range m.entries {
		if !e.removed {
			pods = append(pods, e.pod.DeepCopy())
		}
	}
	m.mu.Unlock()
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return pods
}

// Remove forgets the pod: it is for when nothing is left of it. If it was last set
// with a deletionTimestamp, its status is handed on once more, changed or not, until
// the Updater takes it: upstream waits for that to let go of the pod. Else what was
// not handed on yet is dropped, as upstream has no such pod any more. It does not
// block and is idempotent.
func (m *Manager) Remove(uid types.UID) {
	if last := m.remove(uid); last != nil {
		notify(m.wake)
		m.changed(last, nil)
	}
}

// remove returns the pod as it was kept last, nil if it was not.
func (m *Manager) remove(uid types.UID) *corev1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entry(uid)
	if e == nil {
		return nil
	}
	if e.removed = true; e.pod.DeletionTimestamp != nil {
		m.keep(e, e.pod)
	} else {
		delete(m.entries, uid)
	}
	return e.pod
}

// entry returns that of the pod, nil if there is none. m.mu is held.
func (m *Manager) entry(uid types.UID) *entry {
	e := m.entries[uid]
	if e == nil || e.removed {
		return nil
	}
	return e
}

func (m *Manager) changed(previous, current *corev1.Pod) {
	if m.cfg.OnChange != nil {
		m.cfg.OnChange(previous.DeepCopy(), current.DeepCopy())
	}
}

func withStatus(pod *corev1.Pod, status corev1.PodStatus) *corev1.Pod {
	shallow := *pod
	shallow.Status = status
	next := shallow.DeepCopy()
	normalize(&next.Status)
	return next
}

func podFields(pod *corev1.Pod) []zap.Field {
	return []zap.Field{
		zap.String("pod", pod.Namespace+"/"+pod.Name),
		zap.String("uid", string(pod.UID)),
	}
}
