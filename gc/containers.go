package gc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// stopGrace is how many seconds a container in unknown state gets to end before
// it is removed: the kubelet's least.
const stopGrace = 2

// Runtime is what the collector asks of a container runtime; a *cri.Client is
// one. Its methods bound their own time and are idempotent, as CRI has them.
type Runtime interface {
	ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error)
	StopContainer(ctx context.Context, containerID string, timeout int64) error
	RemoveContainer(ctx context.Context, containerID string) error
	ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error)
	StopPodSandbox(ctx context.Context, podSandboxID string) error
	RemovePodSandbox(ctx context.Context, podSandboxID string) error
}

// ContainersConfig configures NewContainers. The zero value collects by the
// default policy and takes no pod for gone.
type ContainersConfig struct {
	// Policy says which dead containers stay. The zero value is the kubelet's
	// default.
	Policy Policy
	// Period is the time from the end of a round to the next, 1 minute by default.
	Period time.Duration

	// Ready reports whether every source of pods has delivered its pods; until
	// then no pod counts as gone or ended. Nil means that it is so from the start.
	Ready func() bool
	// Removed reports whether the pod is gone for good: no source has it, and
	// none of its containers runs or will be started. All that such a pod left
	// is removed. A UID that nobody knows is gone. It must not block and is only
	// asked when Ready. Nil means that no pod is gone.
	Removed func(uid types.UID) bool
	// Ended reports whether nothing of the pod runs or will run again, though a
	// source may still have it: a job that is done, a pod that was evicted.
	// CollectAll removes the containers of such pods too. It must not block and is
	// only asked when Ready. Nil means that no pod has ended.
	Ended func(uid types.UID) bool

	// PodLogs is the directory below which the pods' sandboxes were told to log
	// (crilog.PodDirectory), /var/log/pods by default.
	PodLogs string
	// ContainerLogs is the directory of the links to containers' logs
	// (crilog.LinkPath), /var/log/containers by default.
	ContainerLogs string

	// Logger gets what was removed. Nil means no log.
	Logger *zap.Logger
}

// Containers collects dead containers, then sandboxes, then logs.
type Containers struct {
	rt   Runtime
	cfg  ContainersConfig
	logs logs
	log  *zap.Logger
	wake chan struct{} // size 1: there are changed pods

	mu      sync.Mutex // guards changed
	changed map[types.UID]bool
}

// NewContainers returns a collector for what rt holds.
func NewContainers(rt Runtime, cfg ContainersConfig) *Containers {
	if cfg.Period <= 0 {
		cfg.Period = time.Minute
	}
	if cfg.Ready == nil {
		cfg.Ready = func() bool { return true }
	}
	if cfg.Removed == nil {
		cfg.Removed = func(types.UID) bool { return false }
	}
	if cfg.Ended == nil {
		cfg.Ended = func(types.UID) bool { return false }
	}
	ready, removed, ended := cfg.Ready, cfg.Removed, cfg.Ended
	cfg.Removed = func(uid types.UID) bool { return ready() && removed(uid) }
	cfg.Ended = func(uid types.UID) bool { return ready() && ended(uid) }
	if cfg.PodLogs == "" {
		cfg.PodLogs = "/var/log/pods"
	}
	if cfg.ContainerLogs == "" {
		cfg.ContainerLogs = "/var/log/containers"
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return &Containers{
		rt:   rt,
		cfg:  cfg,
		logs: logs{pods: cfg.PodLogs, links: cfg.ContainerLogs},
		log:  cfg.Logger.Named("gc"),
		wake: make(chan struct{}, 1), changed: map[types.UID]bool{},
	}
}

// Run collects at once and then once each period, also as soon as it is Ready, and
// the dead containers of pods that have Changed sooner, until ctx ends.
// It returns nil then, and an error only for a policy that is not valid: what a
// round could not remove is logged and tried again in the next.
func (c *Containers) Run(ctx context.Context) error {
	if err := c.cfg.Policy.Validate(); err != nil {
		return err
	}
	for {
		wasReady := c.cfg.Ready()
		if err := c.Collect(ctx); err != nil && ctx.Err() == nil {
			c.log.Warn("round left something behind", zap.Error(err))
		}
		if !c.wait(ctx, wasReady) {
			return nil
		}
	}
}

// Collect does one round: containers, then the sandboxes that this emptied,
// then logs. It blocks for as long as the runtime takes, and returns the joined
// errors of what could not be removed. It is idempotent and may be called while Run
// runs.
func (c *Containers) Collect(ctx context.Context) error {
	return c.collect(ctx, c.cfg.Removed)
}

// CollectAll is Collect for a node whose disk is full: of pods that have Ended
// it keeps neither dead containers nor sandboxes. Their log directories stay, as
// long as the pods are not gone. MinAge holds here too.
func (c *Containers) CollectAll(ctx context.Context) error {
	return c.collect(ctx, func(uid types.UID) bool { return c.cfg.Removed(uid) || c.cfg.Ended(uid) })
}

// collect does one round, in which nothing but logs is kept of the pods that
// gone names.
func (c *Containers) collect(ctx context.Context, gone func(types.UID) bool) error {
	if err := c.cfg.Policy.Validate(); err != nil {
		return err
	}
	// Each step lists anew, to see what the one before it has removed.
	return errors.Join(c.collectContainers(ctx, gone), c.collectSandboxes(ctx, gone), c.collectLogs(ctx))
}

func (c *Containers) collectContainers(ctx context.Context, gone func(types.UID) bool) error {
	all, err := c.rt.ListContainers(ctx, nil)
	if err != nil {
		return fmt.Errorf("collect containers: %w", err)
	}
	return carryOut(ctx, gone, func(gone func(types.UID) bool) []*runtimeapi.Container {
		return planContainers(all, gone, c.cfg.Policy, time.Now())
	}, c.removeContainer)
}

// removeContainer removes the log first: a crash in between leaves a container,
// which the next round finds, and not a log, which nobody would. A container in
// unknown state is stopped before, without its preStop hook: nothing can be
// run in it.
func (c *Containers) removeContainer(ctx context.Context, container *runtimeapi.Container) error {
	id := container.GetId()
	if container.GetState() == runtimeapi.ContainerState_CONTAINER_UNKNOWN {
		if err := c.rt.StopContainer(ctx, id, stopGrace); err != nil && !cri.IsNotFound(err) {
			return fmt.Errorf("stop container %q of unknown state: %w", id, err)
		}
	}
	if err := c.logs.removeContainer(container); err != nil {
		return fmt.Errorf("remove log of container %q: %w", id, err)
	}
	if err := c.rt.RemoveContainer(ctx, id); err != nil && !cri.IsNotFound(err) {
		return fmt.Errorf("remove container %q: %w", id, err)
	}
	c.log.Info("container removed", append(podFields(container.GetLabels()),
		zap.String("container", container.GetLabels()[cri.LabelContainerName]), zap.String("id", id))...)
	return nil
}

func (c *Containers) collectSandboxes(ctx context.Context, gone func(types.UID) bool) error {
	sandboxes, err := c.rt.ListPodSandbox(ctx, nil)
	if err != nil {
		return fmt.Errorf("collect sandboxes: %w", err)
	}
	containers, err := c.rt.ListContainers(ctx, nil)
	if err != nil {
		return fmt.Errorf("collect sandboxes: %w", err)
	}
	return carryOut(ctx, gone, func(gone func(types.UID) bool) []*runtimeapi.PodSandbox {
		return planSandboxes(sandboxes, containers, gone)
	}, c.removeSandbox)
}

// removeSandbox stops the sandbox even though it is not ready: that is when a
// runtime gives back the pod's network.
func (c *Containers) removeSandbox(ctx context.Context, sandbox *runtimeapi.PodSandbox) error {
	id := sandbox.GetId()
	if err := c.rt.StopPodSandbox(ctx, id); err != nil && !cri.IsNotFound(err) {
		return fmt.Errorf("stop sandbox %q: %w", id, err)
	}
	if err := c.rt.RemovePodSandbox(ctx, id); err != nil && !cri.IsNotFound(err) {
		return fmt.Errorf("remove sandbox %q: %w", id, err)
	}
	c.log.Info("sandbox removed", append(podFields(sandbox.GetLabels()), zap.String("id", id))...)
	return nil
}

func (c *Containers) collectLogs(ctx context.Context) error {
	containers, err := c.rt.ListContainers(ctx, nil)
	if err != nil {
		return fmt.Errorf("collect logs: %w", err)
	}
	present := make(map[types.UID]bool)
	for _, container := range containers {
		present[podUID(container.GetLabels())] = true
	}
	// A pod that still has a container has a reason to keep its logs, even if
	// it is gone by all that its source knows.
	removable := func(uid types.UID) bool { return !present[uid] && c.cfg.Removed(uid) }
	return errors.Join(c.logs.removePods(removable), c.logs.removeDanglingLinks(containers))
}

// carryOut removes what is planned, whatever fails, until ctx ends. What a pod left that
// was gone when that was planned stays if the pod is back when its turn comes.
func carryOut[T interface{ GetLabels() map[string]string }](
	ctx context.Context, gone func(types.UID) bool, plan func(gone func(types.UID) bool) []T, remove func(context.Context, T) error,
) error {
	wasGone := make(map[types.UID]bool)
	planned := plan(func(uid types.UID) bool {
		wasGone[uid] = wasGone[uid] || gone(uid)
		return wasGone[uid]
	})
	var errs []error
	for _, item := range planned {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		if uid := podUID(item.GetLabels()); !wasGone[uid] || gone(uid) {
			errs = append(errs, remove(ctx, item))
		}
	}
	return errors.Join(errs...)
}

func podUID(labels map[string]string) types.UID { return types.UID(labels[cri.LabelPodUID]) }

func podFields(labels map[string]string) []zap.Field {
	return []zap.Field{
		zap.String("pod", labels[cri.LabelPodNamespace]+"/"+labels[cri.LabelPodName]),
		zap.String("uid", labels[cri.LabelPodUID]),
	}
}
