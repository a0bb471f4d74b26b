package podsync

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

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
	restarts, err := s.restartCount(sandbox, next)
	if err != nil {
		return &startError{reasonCreateConfig, err}
	}
	options := s.cfg.Container
	options.RestartCount = restarts
	options.Image = image
	options.PodIPs = sandbox.ips
	options.Mounts = volumes
	config, err := podspec.Container(pod, next.spec, options)
	if err != nil {
		return err
	}
	logFile := filepath.Join(sandbox.config.GetLogDirectory(), config.GetLogPath())
	if err := makeLogDirectory(filepath.Dir(logFile)); err != nil {
		return &startError{reasonCreateContainer, err}
	}
	// From here on the end of ctx interrupts nothing: see createSandbox.
	ctx = context.WithoutCancel(ctx)
	id, err := s.rooms.Runtime.CreateContainer(ctx, sandbox.id, config, sandbox.config)
	if err != nil {
		return &startError{reasonCreateContainer, err}
	}
	s.armBackOff(next, rec)
	if err := s.rooms.Runtime.StartContainer(ctx, id); err != nil {
		return &startError{reasonRunContainer, err}
	}
	s.logger.Info("container started", podFields(pod, zap.String("container", next.spec.Name), zap.String("id", id), zap.Int("restarts", restarts))...)
	s.linkLog(pod, next.spec.Name, id, logFile)
	return nil
}

// linkLogs links the logs of the containers that are there when this agent first
// looks: the one before may have died between a start and its link.
func (s *Syncer) linkLogs(pod *corev1.Pod, state *cri.PodState, rec *record) {
	if rec.linked {
		return
	}
	rec.linked = true
	for _, c := range state.Containers {
		if c.GetLogPath() != "" {
			s.linkLog(pod, c.Name(), c.GetId(), c.GetLogPath())
		}
	}
}

func (s *Syncer) linkLog(pod *corev1.Pod, container, id, logFile string) {
	if err := crilog.Link(s.cfg.LogLinks, pod, container, id, logFile); err != nil {
		s.logger.Warn("no link to the container's log", podFields(pod, zap.String("container", container), zap.Error(err))...)
	}
}

// restartCount counts on from the instance that is replaced. One that was
// never started is not counted. Where the runtime remembers none, the log files tell.
func (s *Syncer) restartCount(sandbox readySandbox, next start) (int, error) {
	if next.previous == nil {
		return crilog.NextRestartCount(filepath.Join(sandbox.config.GetLogDirectory(), crilog.ContainerDirectory(next.spec.Name)))
	}
	if neverStarted(next.previous) {
		return next.previous.RestartCount(), nil
	}
	return next.previous.RestartCount() + 1, nil
}

func makeLogDirectory(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	return nil
}
