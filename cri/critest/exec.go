package critest

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxExecOutput is where runtimes cut each stream of ExecSync.
const maxExecOutput = 16 << 20

// ExecScript says what commands executed by ExecSync answer. It is for the
// containers that match all of its names and for one command; an empty name or
// command matches any.
//
// A command that no script is for is simulated when it is a shell demo, such
// as `sh -c "sleep 2; exit 3"`; any other ends at once with code 0 and says
// nothing.
type ExecScript struct {
	Namespace, Pod, Container, Image string
	// Command is the command with a space between its words.
	Command string

	// Results are given one per execution, counted by pod UID and container
	// name. The last one repeats.
	Results []ExecResult
}

// ExecResult is how a command executed in a container ends.
type ExecResult struct {
	Stdout, Stderr string
	ExitCode       int32
	// Delay is how long it takes. One that is not below the call's timeout
	// makes the call fail with DeadlineExceeded when that is over.
	Delay time.Duration
	// Hang never ends: only the timeout, the caller or the container's end do.
	Hang bool
	// FailStart, when not empty, is the error of the call: the command could
	// not be started.
	FailStart string
}

// AddExec adds a script. Of those that match the last added decides.
func (r *Runtime) AddExec(script ExecScript) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.execs = append(r.execs, &script)
}

func (r *Runtime) nextExec(c *container, command []string) ExecResult {
	words := strings.Join(command, " ")
	for _, script := range slices.Backward(r.execs) {
		if (script.Command == "" || script.Command == words) &&
			r.matches(c, script.Namespace, script.Pod, script.Container, script.Image) {
			return takeTurn(r, c, script, script.Results)
		}
	}
	run, _, ok := simulate(command, environment(c.config))
	if !ok {
		return ExecResult{}
	}
	result := ExecResult{ExitCode: run.ExitCode, Delay: run.Duration, Hang: run.Duration == 0}
	now := time.Now()
	for _, line := range run.Logs {
		output := line.output(now.Add(line.At))
		if line.Stderr {
			result.Stderr += output
		} else {
			result.Stdout += output
		}
	}
	return result
}

func (s *service) ExecSync(ctx context.Context, req *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	result, containerEnd, err := s.r.beginExec(req)
	if err != nil {
		return nil, wrap(err, "failed to exec in container")
	}
	timeout := time.Duration(req.GetTimeout()) * time.Second
	tooLate := timeout > 0 && (result.Hang || result.Delay >= timeout)
	delay := result.Delay
	if tooLate {
		delay = timeout
	}
	ended := (<-chan time.Time)(nil)
	if tooLate || !result.Hang {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		ended = timer.C
	}
	select {
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	case <-containerEnd:
		return &runtimeapi.ExecSyncResponse{ExitCode: exitKilled}, nil
	case <-ended:
	}
	if tooLate {
		return nil, status.Errorf(codes.DeadlineExceeded, "failed to exec in container: timeout %s exceeded: context deadline exceeded", timeout)
	}
	return &runtimeapi.ExecSyncResponse{
		Stdout:   []byte(result.Stdout[:min(len(result.Stdout), maxExecOutput)]),
		Stderr:   []byte(result.Stderr[:min(len(result.Stderr), maxExecOutput)]),
		ExitCode: result.ExitCode,
	}, nil
}

func (r *Runtime) beginExec(req *runtimeapi.ExecSyncRequest) (ExecResult, <-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := find(r.containers, req.GetContainerId())
	if err != nil {
		return ExecResult{}, nil, wrap(err, "failed to find container %q in store", req.GetContainerId())
	}
	switch c.state() {
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return ExecResult{}, nil, status.Errorf(r.cfg.Profile.execInExited(), "container is in %s state", c.state())
	default:
		return ExecResult{}, nil, failed("container is in %s state", c.state())
	}
	result := r.nextExec(c, req.GetCmd())
	if result.FailStart != "" {
		return ExecResult{}, nil, failed("failed to start exec: %s", result.FailStart)
	}
	return result, c.done, nil
}

func (s *service) Exec(_ context.Context, req *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	url, err := s.r.streamFromContainer("exec", req.GetContainerId())
	return &runtimeapi.ExecResponse{Url: url}, err
}

func (s *service) Attach(_ context.Context, req *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	url, err := s.r.streamFromContainer("attach", req.GetContainerId())
	return &runtimeapi.AttachResponse{Url: url}, err
}

func (r *Runtime) streamFromContainer(kind, id string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := find(r.containers, id)
	if err != nil {
		return "", wrap(err, "failed to find container %q in store", id)
	}
	return r.streamURL(kind, c.id)
}

func (s *service) PortForward(_ context.Context, req *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	sb, err := find(s.r.sandboxes, req.GetPodSandboxId())
	if err != nil {
		return nil, wrap(err, "failed to find sandbox %q", req.GetPodSandboxId())
	}
	if !sb.ready {
		return nil, failed("sandbox container is not running")
	}
	url, err := s.r.streamURL("portforward", sb.id)
	return &runtimeapi.PortForwardResponse{Url: url}, err
}

func (r *Runtime) streamURL(kind, id string) (string, error) {
	if r.cfg.StreamingURL == "" {
		return "", status.Errorf(codes.Unimplemented, "critest: no Config.StreamingURL for %s", kind)
	}
	return strings.TrimSuffix(r.cfg.StreamingURL, "/") + "/" + kind + "/" + id, nil
}
