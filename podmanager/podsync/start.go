package podsync

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
	"github.com/edged-project/edged/podmanager/podspec"
)

// start runs one container: image, configuration, create, start, link of its log.
func (s *Syncer) start(ctx context.Context, pod *corev1.Pod, sandbox readySandbox, volumes map[string]string, next start, rec *record) error {
	image, release, err := s.rooms.Images.Ensure(ctx, pod, next.spec, sandbox.config)
	if err != nil {
		return err
	}
	defer release()
	restarts, err := restartCount(sandbox, next, rec.published)
	if err != nil {
		return &startError{reasonCreateConfig, err}
	}
	options, err := s.containerOptions(ctx, pod, next.spec, sandbox, volumes)
	if err != nil {
		return &startError{reasonCreateConfig, err}
	}
	releaseVolumes, err := s.prepareVolumes(ctx, pod, next.spec, sandbox.config, &options)
	if err != nil {
		return err
	}
	defer releaseVolumes()
	options.TargetContainerID = next.target
	options.RestartCount = restarts
	options.Image = image
	config, err := podspec.Container(pod, next.spec, options)
	if err != nil {
		return err
	}
	logFile := filepath.Join(sandbox.config.GetLogDirectory(), config.GetLogPath())
	if err := makeLogDirectory(filepath.Dir(logFile)); err != nil {
		return &startError{reasonCreateContainer, err}
	}
	id, err := s.createAndStart(ctx, pod, sandbox, config, next, rec)
	if err != nil {
		return err
	}
	s.logger.Info("container started", podFields(pod, zap.String("container", next.spec.Name), zap.String("id", id), zap.Int("restarts", restarts))...)
	s.linkLog(pod, rec, next.spec.Name, id, logFile)
	return s.postStart(ctx, pod, next.spec, id, firstOf(sandbox.ips), rec)
}

// containerOptions is what the container's configuration depends on, with the
// files that are mounted into it.
func (s *Syncer) containerOptions(
	ctx context.Context, pod *corev1.Pod, spec *corev1.Container, sandbox readySandbox, volumes map[string]string,
) (options podspec.ContainerOptions, err error) {
	options = s.cfg.Container
	options.PodIPs, options.HostIPs = sandbox.ips, s.cfg.HostIPs()
	options.Mounts = volumes
	if err = s.fetchObjects(ctx, pod, spec, &options); err != nil {
		return options, err
	}
	if err = s.runtimeFeatures(ctx, pod, spec, &options); err != nil {
		return options, err
	}
	if options.HostsFile, err = s.files.hosts(pod, sandbox.ips, s.cfg.Sandbox.ClusterDomain); err != nil {
		return options, err
	}
	options.TermMessageFile, err = s.files.termination(pod, spec.Name)
	return options, err
}

// createAndStart makes the container run. Once it has begun, the end of ctx does
// not interrupt it: see createSandbox.
func (s *Syncer) createAndStart(
	ctx context.Context, pod *corev1.Pod, sandbox readySandbox, config *runtimeapi.ContainerConfig, next start, rec *record,
) (string, error) {
	release, err := s.takeTurn(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	ctx = context.WithoutCancel(ctx)
	id, err := s.rooms.Runtime.CreateContainer(ctx, sandbox.id, config, sandbox.config)
	if err != nil {
		return "", &startError{reasonCreateContainer, err}
	}
	s.tell(pod, next.spec, eventCreated, "Container created")
	s.armBackOff(next, rec)
	if err := s.rooms.Runtime.StartContainer(ctx, id); err != nil {
		return "", &startError{reasonRunContainer, err}
	}
	s.tell(pod, next.spec, eventStarted, "Container started")
	return id, nil
}

// postStart runs the container's postStart hook. A container whose hook fails is
// stopped, and starts again when the back-off allows.
func (s *Syncer) postStart(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, id, podIP string, rec *record) error {
	if spec.Lifecycle == nil || spec.Lifecycle.PostStart == nil {
		return nil
	}
	err := s.runHook(ctx, spec.Lifecycle.PostStart, hookTarget{containerID: id, podIP: s.hookIP(pod, podIP), ports: spec.Ports})
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err() // nobody waits for the hook any more, which is not its fault
	}
	s.warn(ctx, pod, spec, eventFailedPostStart, "PostStartHook failed")
	failure := &startError{reasonPostStart, fmt.Errorf("postStart hook: %w", err)}
	if err := s.stopStarted(ctx, pod, spec, id, podIP, rec); err != nil {
		return errors.Join(failure, err)
	}
	return failure
}

// stopStarted stops a container that was started a moment ago and not observed since.
func (s *Syncer) stopStarted(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, id, podIP string, rec *record) error {
	started := &cri.Container{ContainerStatus: &runtimeapi.ContainerStatus{
		Id: id, Metadata: &runtimeapi.ContainerMetadata{Name: spec.Name}, State: runtimeapi.ContainerState_CONTAINER_RUNNING,
	}}
	end := time.Now().Add(gracePeriod(pod))
	s.preStop(ctx, pod, started, s.takePreStop(pod, started, podIP, end, rec), end)
	return s.stopContainer(ctx, pod, started, time.Until(end), eventFailedPostStart)
}

// linkLogs links the logs of the containers that are there when this agent first looks,
// as the one before may have died between a start and its link, and those that could not
// be linked, as on a disk that was full. The newest come last, as a link may be that of
// several where names are long.
func (s *Syncer) linkLogs(pod *corev1.Pod, state *cri.PodState, rec *record) {
	if rec.linked {
		return
	}
	rec.linked = true
	for _, c := range slices.Backward(state.Containers) {
		if c.GetLogPath() != "" {
			s.linkLog(pod, rec, c.Name(), c.GetId(), c.GetLogPath())
		}
	}
	rec.unlinked = !rec.linked
}

func (s *Syncer) linkLog(pod *corev1.Pod, rec *record, container, id, logFile string) {
	err := crilog.Link(s.cfg.LogLinks, pod, container, id, logFile)
	if err == nil {
		return
	}
	if !rec.unlinked {
		s.logger.Warn("no link to the container's log", podFields(pod, zap.String("container", container), zap.Error(err))...)
	}
	rec.linked, rec.unlinked = false, true
}

// restartCount counts on from the instance that is replaced. One that was
// never started is not counted. Where the runtime has forgotten the newest, the
// log files tell; and where these are gone too, the status does, which never
// counts back.
func restartCount(sandbox readySandbox, next start, status corev1.PodStatus) (int, error) {
	published := publishedRestarts(status, next.spec.Name)
	if next.previous != nil && neverStarted(next.previous) {
		return max(next.previous.RestartCount(), published), nil
	}
	logged, err := crilog.NextRestartCount(filepath.Join(sandbox.config.GetLogDirectory(), crilog.ContainerDirectory(next.spec.Name)))
	if err != nil || next.previous == nil {
		return max(logged, published), err
	}
	return max(next.previous.RestartCount()+1, logged, published), nil
}

func publishedRestarts(status corev1.PodStatus, container string) int {
	for _, statuses := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses} {
		for _, c := range statuses {
			if c.Name == container {
				return int(c.RestartCount)
			}
		}
	}
	return 0
}

func makeLogDirectory(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	return nil
}
