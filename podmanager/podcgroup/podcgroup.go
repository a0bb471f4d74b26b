package podcgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/podmanager/podspec"
)

// Runtime is asked for its cgroup driver; *cri.Client is.
type Runtime interface {
	RuntimeConfig(ctx context.Context) (*runtimeapi.RuntimeConfigResponse, error)
}

// Config of a Manager. The zero value works.
type Config struct {
	// Root is the cgroup in which that of all pods is made. Default "/".
	Root string
	// Mount is where the node's cgroups are mounted. Default /sys/fs/cgroup.
	Mount string
	// Driver is the runtime's. Default: the runtime is asked, and one that does not
	// tell (containerd before 2.0) has Cgroupfs.
	Driver Driver
	// Period is the time from the end of a clean-up to the next. Default 1 min.
	Period time.Duration
	// Ready reports whether every source of pods has delivered; until then nothing
	// is cleaned up. Nil means that it is so from the start.
	Ready func() bool
	// Removed reports whether a pod is gone for good: nothing of it runs, or will.
	// It must not block and is only asked when Ready. Nil means that none is.
	Removed func(uid types.UID) bool
	// Logger, nil logs nothing.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.Mount == "" {
		c.Mount = "/sys/fs/cgroup"
	}
	if c.Period <= 0 {
		c.Period = time.Minute
	}
	if c.Ready == nil {
		c.Ready = func() bool { return true }
	}
	if c.Removed == nil {
		c.Removed = func(types.UID) bool { return false }
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Manager makes, limits and removes the cgroups of pods. Its methods may be called
// at once for different pods; for one pod, one at a time.
type Manager struct {
	runtime Runtime
	cfg     Config
	logger  *zap.Logger
	kernel  kernel

	driver atomic.Pointer[Driver] // once the runtime was asked
	layout atomic.Pointer[layout] // once it was found

	mu     sync.Mutex // guards what follows
	shares map[types.UID]int64
	said   map[string]bool
}

// kernel makes and removes directories that have files from the beginning.
type kernel interface {
	Mkdir(path string) error
	Rmdir(path string) error
}

type realKernel struct{}

func (realKernel) Mkdir(path string) error { return os.Mkdir(path, 0o755) }
func (realKernel) Rmdir(path string) error { return os.Remove(path) }

// New returns a Manager. It does nothing yet.
func New(rt Runtime, cfg Config) *Manager {
	cfg = cfg.withDefaults()
	m := &Manager{
		runtime: rt, cfg: cfg, logger: cfg.Logger.Named("podcgroup"), kernel: realKernel{},
		shares: map[types.UID]int64{}, said: map[string]bool{},
	}
	if cfg.Driver != "" {
		m.driver.Store(&cfg.Driver)
	}
	return m
}

// Ensure makes the pod's cgroup, and those above it, and returns its name as the
// runtime takes it for CgroupParent. The limits of a new cgroup are set; those of
// one that is there are only ever raised, so that its containers can be given more
// next: see Settle. On a node where cgroups cannot be written the name is empty,
// and there is no error. It is idempotent and does not block but for asking the
// runtime for its driver, once. Errors name the pod.
func (m *Manager) Ensure(ctx context.Context, pod *corev1.Pod) (cgroupParent string, err error) {
	made, err := m.ensure(ctx, pod)
	if unwritable(err) {
		m.once(zap.ErrorLevel, "cgroups cannot be written: pods have none of their own, and no limits as a whole", zap.Error(err))
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("make cgroup of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return made, nil
}

func (m *Manager) ensure(ctx context.Context, pod *corev1.Pod) (string, error) {
	cgroup, err := nameOf(m.cfg.Root, pod)
	if err != nil {
		return "", err
	}
	if systemd, err := m.systemd(ctx); systemd || err != nil {
		return cgroup.systemd(), err
	}
	found, err := m.find()
	if err != nil {
		return "", err
	}
	if err := m.makeClass(found, cgroup[:len(cgroup)-1]); err != nil {
		return "", err
	}
	isNew, err := m.makeOne(found, cgroup)
	if err != nil {
		return "", err
	}
	want, err := podspec.PodResources(pod)
	if err != nil {
		return "", err
	}
	if err := m.limit(found, cgroup, want, isNew); err != nil {
		return "", err
	}
	return cgroup.cgroupfs(), m.weighClass(found, pod, want.CpuShares)
}

// Settle lowers the limits of the pod's cgroup to what its spec says. It is to be
// called when no container has more. It is idempotent, does not block, and does
// nothing where there is no cgroup. Errors name the pod: the kernel refuses to
// take memory that is in use.
func (m *Manager) Settle(ctx context.Context, pod *corev1.Pod) error {
	cgroup, err := nameOf(m.cfg.Root, pod)
	if err == nil {
		err = m.settle(ctx, cgroup, pod)
	}
	if err != nil && !unwritable(err) {
		return fmt.Errorf("limit cgroup of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

func (m *Manager) settle(ctx context.Context, cgroup name, pod *corev1.Pod) error {
	if systemd, err := m.systemd(ctx); systemd || err != nil {
		return err
	}
	found, err := m.find()
	if err != nil || !found.has(cgroup) {
		return err
	}
	want, err := podspec.PodResources(pod)
	if err != nil {
		return err
	}
	return m.limit(found, cgroup, want, true)
}

// Exists reports whether the pod's cgroup is there. That of systemd always is, as
// it comes with the first container.
func (m *Manager) Exists(pod *corev1.Pod) bool {
	cgroup, err := nameOf(m.cfg.Root, pod)
	if err != nil {
		return false
	}
	if driver := m.driver.Load(); driver != nil && *driver == Systemd {
		return true
	}
	found, err := m.find()
	return err == nil && found.has(cgroup)
}

func (l *layout) has(cgroup name) bool {
	for _, dir := range l.own() {
		if _, err := os.Stat(filepath.Join(dir, cgroup.cgroupfs())); err != nil {
			return false
		}
	}
	return true
}

// systemd reports whether it is systemd that makes cgroups.
func (m *Manager) systemd(ctx context.Context) (bool, error) {
	if known := m.driver.Load(); known != nil {
		return *known == Systemd, nil
	}
	response, err := m.runtime.RuntimeConfig(ctx)
	if err != nil && !cri.IsUnimplemented(err) {
		return false, err
	}
	driver := Cgroupfs
	if linux := response.GetLinux(); linux != nil && linux.GetCgroupDriver() == runtimeapi.CgroupDriver_SYSTEMD {
		driver = Systemd
	}
	m.driver.Store(&driver)
	m.logger.Info("cgroup driver known", zap.String("driver", string(driver)))
	return driver == Systemd, nil
}

func (m *Manager) find() (*layout, error) {
	if found := m.layout.Load(); found != nil {
		return found, nil
	}
	found, err := findLayout(m.cfg.Mount)
	if err != nil {
		return nil, err
	}
	m.layout.Store(found)
	return found, nil
}

// unwritable reports whether the node does not let this agent make cgroups, now
// or later. (A cgroup namespace whose root holds processes answers EBUSY.)
func unwritable(err error) bool {
	return errors.Is(err, errNoCgroups) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, syscall.EROFS) || errors.Is(err, errNotDelegated)
}

// allShares is the weight of all pods on a node with this many CPUs.
func allShares() int64 { return int64(runtime.NumCPU()) * 1024 }

// weighClass gives the burstable pods the weight of their requests together.
// Whoever writes last has seen all the pods that were there when it wrote.
func (m *Manager) weighClass(found *layout, pod *corev1.Pod, shares int64) error {
	if podspec.QOSClass(pod) != corev1.PodQOSBurstable {
		return nil
	}
	m.mu.Lock()
	m.shares[pod.UID] = shares
	m.mu.Unlock()
	return m.weighBurstable(found)
}

func (m *Manager) weighBurstable(found *layout) error {
	class := classOf(m.cfg.Root, corev1.PodQOSBurstable)
	for {
		sum := m.burstableShares()
		if err := m.set(found, class, found.weight(sum), true); err != nil || m.burstableShares() == sum {
			return err
		}
	}
}

func (m *Manager) burstableShares() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum int64
	for _, shares := range m.shares {
		sum += shares
	}
	return min(max(sum, minShares), maxShares)
}
