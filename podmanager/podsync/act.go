package podsync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
	"github.com/edged-project/edged/podmanager/podspec"
)

// act does what was planned: it stops before it starts, starts nothing when
// something could not be stopped, and stops nothing for what could not be started
// without its volumes. Resources that cannot be taken away keep nothing from starting.
func (s *Syncer) act(ctx context.Context, pod *corev1.Pod, state *cri.PodState, todo actions, rec *record) error {
	if todo.newSandbox {
		if err := s.networkReady(ctx, pod); err != nil {
			s.holdUp(ctx, pod, todo.start, rec, eventNetworkNotReady, "network is not ready", err)
			return err
		}
	}
	if err := s.ensureCgroup(ctx, pod, rec); err != nil {
		s.holdUp(ctx, pod, todo.start, rec, eventFailedCgroup, "unable to ensure pod container exists", err)
		return err
	}
	volumes, err := s.rooms.Volumes.Mount(ctx, pod)
	if err != nil {
		s.holdUp(ctx, pod, todo.start, rec, eventFailedMount, "Unable to attach or mount volumes", err)
		return fmt.Errorf("mount volumes: %w", err)
	}
	if err := s.clear(ctx, pod, state, todo, rec); err != nil {
		return err
	}
	resized := s.resizeAll(ctx, pod, todo.resize, rec)
	if resized == nil {
		resized = s.rooms.Cgroups.Settle(ctx, pod)
	}
	if len(todo.start) == 0 && !todo.newSandbox {
		return resized
	}
	sandbox, err := s.sandbox(ctx, pod, todo, rec)
	if err != nil {
		s.holdUp(ctx, pod, todo.start, rec, eventFailedSandbox, "Failed to create pod sandbox", err)
		return errors.Join(resized, err)
	}
	s.dropMessageFiles(pod, state, todo.start)
	return errors.Join(resized, s.startAll(ctx, pod, sandbox, volumes, todo.start, rec))
}

// dropMessageFiles removes the termination message files of containers that are
// no more, so that those of a crash loop do not pile up.
func (s *Syncer) dropMessageFiles(pod *corev1.Pod, state *cri.PodState, starts []start) {
	for _, next := range starts {
		if err := s.files.dropTerminations(pod, next.spec.Name, state); err != nil {
			s.logger.Warn("termination message file stays", podFields(pod, zap.String("container", next.spec.Name), zap.Error(err))...)
		}
	}
}

// holdUp has all the containers that were to be started say why none is. That ctx
// has ended is nothing to tell: somebody wanted it.
func (s *Syncer) holdUp(ctx context.Context, pod *corev1.Pod, starts []start, rec *record, event, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	for _, next := range starts {
		rec.failed[next.spec.Name] = corev1.ContainerStateWaiting{Reason: reasonCreating, Message: cri.Message(err)}
	}
	s.warn(ctx, pod, nil, event, what+": "+cri.Message(err))
}

// clear takes away what is in the way of the new.
func (s *Syncer) clear(ctx context.Context, pod *corev1.Pod, state *cri.PodState, todo actions, rec *record) error {
	if todo.newSandbox {
		if len(state.Sandboxes) > 0 {
			s.tell(pod, nil, eventSandboxChanged, "Pod sandbox changed, it will be killed and re-created.")
		}
		if err := s.stopPod(ctx, pod, state, gracePeriod(pod), rec); err != nil {
			return err
		}
	}
	var group errgroup.Group
	for _, each := range todo.stop {
		if each.sick {
			rec.sick[each.container.GetId()] = true
		}
		end := time.Now().Add(each.grace)
		hook := s.takePreStop(pod, each.container, firstOf(state.IPs), end, rec)
		group.Go(func() error {
			s.preStop(ctx, pod, each.container, hook, end)
			return s.stopContainer(ctx, pod, each.container, time.Until(end), each.why)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, c := range todo.remove {
		if err := s.remove(ctx, pod, c); err != nil {
			return err
		}
	}
	if todo.restartedBy != nil && len(todo.remove) > 0 {
		s.armBackOff(*todo.restartedBy, rec)
	}
	return nil
}

// remove removes a container that has ended. Its log stays, for people to read what the
// last run has said; those of the runs before go, as their containers have: nobody
// else would remove them as long as there is the pod.
func (s *Syncer) remove(ctx context.Context, pod *corev1.Pod, c *cri.Container) error {
	if err := s.rooms.Runtime.RemoveContainer(ctx, c.GetId()); err != nil {
		return fmt.Errorf("remove container %q: %w", c.Name(), err)
	}
	if neverStarted(c) { // earlier ones may be there
		return nil
	}
	if err := crilog.RemoveEarlier(c.GetLogPath()); err != nil {
		s.logger.Warn("earlier logs stay", podFields(pod, zap.String("container", c.Name()), zap.Error(err))...)
	}
	return nil
}

// readySandbox is a sandbox to start containers in.
type readySandbox struct {
	id     string
	config *runtimeapi.PodSandboxConfig
	ips    []string
}

// sandbox returns the sandbox to work in, making it if need be.
func (s *Syncer) sandbox(ctx context.Context, pod *corev1.Pod, todo actions, rec *record) (readySandbox, error) {
	attempt := todo.attempt
	if !todo.newSandbox {
		attempt = todo.sandbox.GetMetadata().GetAttempt()
	}
	options := s.cfg.Sandbox
	options.Attempt, options.CgroupParent = attempt, rec.cgroup
	options.NodeDNS = s.cfg.NodeDNS()
	config, err := podspec.Sandbox(pod, options)
	if err != nil {
		return readySandbox{}, fmt.Errorf("configure sandbox: %w", err)
	}
	if !todo.newSandbox {
		return readySandbox{id: todo.sandbox.GetId(), config: config, ips: cri.SandboxIPs(todo.sandbox)}, nil
	}
	made, err := s.createSandbox(ctx, pod, config)
	if err != nil {
		return readySandbox{}, err
	}
	for _, warning := range podspec.SandboxWarnings(pod, options) {
		s.warn(ctx, pod, nil, warning.Reason, warning.Message)
	}
	return made, nil
}

// createSandbox makes a sandbox. Once it has begun, the end of ctx does not
// interrupt it: a sandbox that is torn half made is harder to clean up than a whole one.
func (s *Syncer) createSandbox(ctx context.Context, pod *corev1.Pod, config *runtimeapi.PodSandboxConfig) (readySandbox, error) {
	if err := makeLogDirectory(config.GetLogDirectory()); err != nil {
		return readySandbox{}, err
	}
	handler, err := podspec.RuntimeHandler(pod, s.cfg.Sandbox.RuntimeHandlers)
	if err != nil {
		return readySandbox{}, err
	}
	release, err := s.takeTurn(ctx)
	if err != nil {
		return readySandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	defer release()
	ctx = context.WithoutCancel(ctx)
	id, err := s.rooms.Runtime.RunPodSandbox(ctx, config, handler)
	if err != nil {
		return readySandbox{}, err
	}
	s.logger.Info("sandbox started", podFields(pod, zap.String("sandbox", id), zap.Uint32("attempt", config.GetMetadata().GetAttempt()))...)
	status, err := s.rooms.Runtime.PodSandboxStatus(ctx, id, false)
	if err != nil {
		return readySandbox{}, err
	}
	return readySandbox{id: id, config: config, ips: cri.SandboxIPs(status.GetStatus())}, nil
}

// slowStart is how long a start counts against Config.MaxStarts. The bound is
// there to spare the runtime from bursts; a call that hangs is no load, and must
// not keep other pods from starting.
const slowStart = 10 * time.Second

// takeTurn waits until one more start may be under way.
func (s *Syncer) takeTurn(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s.starts <- struct{}{}:
		giveBack := sync.OnceFunc(func() { <-s.starts })
		late := time.AfterFunc(slowStart, giveBack)
		return func() { late.Stop(); giveBack() }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// startAll starts the containers in order. A regular container that cannot be
// started keeps no other from starting; an init container does.
func (s *Syncer) startAll(
	ctx context.Context, pod *corev1.Pod, sandbox readySandbox, volumes map[string]string, starts []start, rec *record,
) error {
	var failures []error
	for _, next := range starts {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(failures, fmt.Errorf("start container %q: %w", next.spec.Name, err))...)
		}
		err := s.start(ctx, pod, sandbox, volumes, next, rec)
		if err == nil {
			delete(rec.failed, next.spec.Name)
			continue
		}
		if ctx.Err() == nil {
			rec.failed[next.spec.Name] = waitingFor(err)
			s.warn(ctx, pod, next.spec, eventFailed, failedMessage(rec.failed[next.spec.Name]))
		}
		failures = append(failures, fmt.Errorf("start container %q: %w", next.spec.Name, err))
		if next.init {
			break
		}
	}
	return errors.Join(failures...)
}

// armBackOff makes the next exit of a container that is started again wait longer.
func (s *Syncer) armBackOff(restarted start, rec *record) {
	if !restarted.again {
		return
	}
	now := time.Now()
	ended := now // just stopped, unless it has ended by itself
	if restarted.previous.Exited() {
		ended = restarted.previous.FinishedTime()
	}
	key := crashKey(restarted.spec)
	maps.DeleteFunc(rec.crashes, func(other string, _ crash) bool {
		return other != key && sameContainer(other, key)
	})
	rec.crashes[key] = rec.crashes[key].next(ended, now, s.cfg.MaxCrashDelay)
}
