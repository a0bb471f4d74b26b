package critest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// process is what goes on in a container that was started: the run it plays
// and where in it it is. Runtime.mu guards it.
type process struct {
	run        Run
	lines      []pendingLine
	ending     ending
	terminated bool      // it was told to end
	next       time.Time // when something is due, zero for never
	timer      *time.Timer
	log        *logFile
	done       chan struct{} // closed when the container has ended

	step sync.Mutex // held while what is due is done, before Runtime.mu
}

// ending is how a process ends by itself; without a time it does not.
type ending struct {
	at     time.Time
	code   int32
	reason string
}

func (e ending) due(now time.Time) bool { return !e.at.IsZero() && !now.Before(e.at) }

type pendingLine struct {
	at   time.Time
	line Log
}

var errDaemonGone = errors.New("the runtime was restarted")

func (s *service) StartContainer(ctx context.Context, req *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	c, run, err := s.r.beginStart(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	file, err := s.r.launch(ctx, c, run)
	return &runtimeapi.StartContainerResponse{}, s.r.endStart(c, run, file, err)
}

// beginStart finds what is to be started and how it will run.
func (r *Runtime) beginStart(id string) (*container, Run, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := find(r.containers, id)
	switch {
	case err != nil:
		return nil, Run{}, wrap(err, "an error occurred when try to find container %q", id)
	case c.state() != runtimeapi.ContainerState_CONTAINER_CREATED:
		return nil, Run{}, failed("failed to set starting state for container %q: container is in %s state", c.id, c.state())
	case c.starting:
		return nil, Run{}, failed("failed to set starting state for container %q: container is already in starting state", c.id)
	case !c.sandbox.ready:
		err := failed("sandbox container %q is not running", c.sandbox.id)
		r.failStart(c, err)
		return nil, Run{}, err
	}
	c.starting = true
	return c, r.nextRun(c), nil
}

// launch is the part of a start that takes time or touches files. The log is
// there before the process, and also when that cannot be started.
func (r *Runtime) launch(ctx context.Context, c *container, run Run) (*logFile, error) {
	if err := r.makeMounts(c); err != nil {
		return nil, failed("failed to create containerd task: %v", err)
	}
	file, err := r.createLog(c)
	if err != nil {
		return nil, failed("failed to create containerd task: failed to create container loggers: %v", err)
	}
	err = wait(ctx, run.StartDelay)
	if err != nil && r.front.shutting.Load() {
		return file, errDaemonGone
	}
	if err == nil && run.FailStart != "" {
		err = failed("%s", run.FailStart)
	}
	return file, err
}

// makeMounts makes the folders to be mounted that are missing.
func (r *Runtime) makeMounts(c *container) error {
	if !r.cfg.WriteLogs {
		return nil
	}
	for _, mount := range c.config.GetMounts() {
		if mount.GetHostPath() == "" { // an image
			continue
		}
		if _, err := os.Stat(mount.GetHostPath()); errors.Is(err, fs.ErrNotExist) {
			if err := os.MkdirAll(mount.GetHostPath(), 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Runtime) createLog(c *container) (*logFile, error) {
	if c.logPath == "" || !r.cfg.WriteLogs {
		return nil, nil
	}
	if err := os.MkdirAll(filepath.Dir(c.logPath), 0o755); err != nil {
		return nil, err
	}
	return openLog(c.logPath)
}

func (r *Runtime) endStart(c *container, run Run, file *logFile, err error) error {
	r.mu.Lock()
	defer r.unlock()
	c.starting = false
	if err == nil && r.containers[c.id] != c {
		err = status.Errorf(codes.NotFound, "an error occurred when try to find container %q: not found", c.id)
	}
	if err == nil {
		r.begin(c, run, file)
		return nil
	}
	file.close()
	if !errors.Is(err, errDaemonGone) {
		r.failStart(c, err)
	}
	return err
}

// failStart leaves a container as containerd does when its process could not
// be started: exited, without ever having run.
func (r *Runtime) failStart(c *container, err error) {
	if c.finishedAt != 0 {
		return
	}
	c.finishedAt = max(time.Now().UnixNano(), c.createdAt)
	c.exitCode, c.reason, c.message = exitStartError, reasonStartError, status.Convert(err).Message()
	c.releaseWaiters()
}

// begin starts the clock of a container.
func (r *Runtime) begin(c *container, run Run, file *logFile) {
	now := time.Now()
	c.startedAt = max(now.UnixNano(), c.createdAt)
	c.run, c.log = run, file
	c.usage.start(now)
	if run.Duration > 0 {
		c.ending = ending{at: now.Add(run.Duration), code: run.ExitCode, reason: run.Reason}
	}
	c.queue(now, run.Logs)
	r.log.Debug("container started", zap.String("container", c.config.GetMetadata().GetName()), zap.String("id", c.id))
	r.emit(c.sandbox, c.id, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	r.schedule(c)
}

// queue notes lines to be written, unless nobody would see them.
func (c *container) queue(now time.Time, lines []Log) {
	c.lines = nil
	if c.log == nil {
		return
	}
	for _, line := range lines {
		c.lines = append(c.lines, pendingLine{at: now.Add(line.At), line: line})
	}
}

// schedule sets the timer to the next thing that happens in the container.
func (r *Runtime) schedule(c *container) {
	c.stopTimer()
	c.next = c.ending.at
	for _, pending := range c.lines {
		if c.next.IsZero() || pending.at.Before(c.next) {
			c.next = pending.at
		}
	}
	if !c.next.IsZero() {
		c.timer = time.AfterFunc(time.Until(c.next), func() { r.advance(c) })
	}
}

func (c *container) stopTimer() {
	c.next = time.Time{}
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
}

// settle does what is due in all containers. In a bubble many things happen at
// the same time to the nanosecond: a call that comes in when a container ends
// finds that it has ended, and not now this and now that.
func (r *Runtime) settle() {
	for _, c := range r.dueContainers() {
		r.advance(c)
	}
}

func (r *Runtime) dueContainers() []*container {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var due []*container
	for _, c := range r.containers {
		if !c.next.IsZero() && !c.next.After(now) {
			due = append(due, c)
		}
	}
	return due
}

// advance does what is due in a container, if anything. Lines are in the log
// before the end that follows them can be seen.
func (r *Runtime) advance(c *container) {
	c.step.Lock()
	defer c.step.Unlock()
	lines, ended := r.due(c)
	r.warn(c, c.log.write(lines))
	if ended {
		r.warn(c, writeTerminationMessage(c.config, c.run.TerminationMessage))
	}
	r.mu.Lock()
	defer r.unlock()
	switch {
	case !c.running(): // it was killed meanwhile
	case ended:
		r.exit(c, c.ending.code, c.ending.reason)
	default:
		r.schedule(c)
	}
}

// due takes the lines whose time has come and tells whether the end has. While
// the runtime is away nobody reads what containers write.
func (r *Runtime) due(c *container) (due []pendingLine, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !c.running() {
		return nil, false
	}
	now := time.Now()
	var later []pendingLine
	for _, pending := range c.lines {
		if pending.at.After(now) {
			later = append(later, pending)
			continue
		}
		due = append(due, pending)
		if pending.line.Every > 0 {
			later = append(later, pendingLine{at: pending.at.Add(pending.line.Every), line: pending.line})
		}
	}
	c.lines = later
	if r.away {
		due = nil
	}
	slices.SortStableFunc(due, func(a, b pendingLine) int { return a.at.Compare(b.at) })
	return due, c.ending.due(now)
}

func (r *Runtime) warn(c *container, err error) {
	if err != nil {
		r.log.Warn("cannot write container's file", zap.String("id", c.id), zap.Error(err))
	}
}

// exit ends a container that runs or whose state is unknown. While the runtime
// is away it may see nothing of it, see lost.
func (r *Runtime) exit(c *container, code int32, reason string) {
	if r.away && r.cfg.Profile.forgetsEnds() {
		c.lost = true
		c.halt()
		return
	}
	now := time.Now()
	c.unknown = false
	c.finishedAt = max(now.UnixNano(), c.startedAt, c.createdAt)
	c.exitCode, c.reason = code, reason
	c.usage.stop(now)
	c.halt()
	c.releaseWaiters()
	r.log.Debug("container ended", zap.String("container", c.config.GetMetadata().GetName()), zap.String("id", c.id), zap.Int32("code", code))
	r.emit(c.sandbox, c.id, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

// endLost is what the runtime makes up for a container whose end it missed.
func (r *Runtime) endLost(c *container) {
	now := time.Now()
	c.lost, c.unknown = false, false
	c.finishedAt = now.UnixNano()
	c.exitCode, c.reason = exitUnknown, reasonUnknown
	c.usage.stop(now)
	c.releaseWaiters()
}

// halt stops the clock of a container, whatever state it is in.
func (c *container) halt() {
	c.stopTimer()
	c.lines, c.ending = nil, ending{}
	c.log.close()
}

// releaseWaiters lets go of the calls that wait for the container's end.
func (c *container) releaseWaiters() {
	select {
	case <-c.done:
	default:
		close(c.done)
	}
}

// terminate sends the container its stop signal. A second one does nothing, as
// containerd sends it once.
func (r *Runtime) terminate(c *container) {
	if !c.running() || c.terminated {
		return
	}
	c.terminated = true
	if c.run.Term.Ignore {
		return
	}
	now := time.Now()
	told := ending{at: now.Add(c.run.Term.After), code: c.run.Term.ExitCode}
	if c.ending.at.IsZero() || told.at.Before(c.ending.at) {
		c.ending = told
	}
	c.queue(now, c.run.Term.Logs)
	r.schedule(c)
}

// kill ends a container at once, as SIGKILL does. One that ends by itself at
// this very moment is too late for it, so that the outcome is no matter of luck.
func (r *Runtime) kill(c *container) {
	switch {
	case c.unknown:
		r.exit(c, exitUnknown, "")
	case c.running() && c.ending.due(time.Now()):
		r.exit(c, c.ending.code, c.ending.reason)
	case c.running():
		r.exit(c, exitKilled, "")
	}
}

// awaitEnd waits for the end of a container that was told to end, and kills it
// after the grace. It returns early when ctx ends, and does not kill then.
func (r *Runtime) awaitEnd(ctx context.Context, c *container, grace time.Duration) error {
	r.mu.Lock()
	running := c.running()
	r.mu.Unlock()
	if running && grace > 0 {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-c.done:
			return nil
		case <-timer.C:
		}
	}
	r.mu.Lock()
	defer r.unlock()
	r.kill(c)
	return nil
}

// wait waits for d or the end of ctx, whose error it returns with its code.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
