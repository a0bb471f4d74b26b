package cri

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ExecSync runs a command in the container and returns its output. A command
// that ends with another code than 0 gives an *ExitError and the output; one
// that does not end within timeout gives an error that is ErrExecTimeout. The
// runtime counts in whole seconds, so the timeout is rounded up. A timeout of
// 0 means that only the context ends the command.
func (c *Client) ExecSync(ctx context.Context, containerID string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error) {
	deadline := time.Duration(0)
	if timeout > 0 {
		deadline = c.timeout + timeout
	}
	what := fmt.Sprintf("execute command in container %q", containerID)
	response, err := call(ctx, deadline, what, c.runtime.ExecSync, &runtimeapi.ExecSyncRequest{
		ContainerId: containerID,
		Cmd:         cmd,
		Timeout:     int64((timeout + time.Second - 1) / time.Second),
	})
	switch {
	case status.Code(err) == codes.DeadlineExceeded:
		return nil, nil, fmt.Errorf("%w: %w", ErrExecTimeout, err)
	case err != nil:
		return nil, nil, err
	case response.GetExitCode() != 0:
		err = fmt.Errorf("%s: %w", what, &ExitError{Code: int(response.GetExitCode())})
	}
	return response.GetStdout(), response.GetStderr(), err
}

// Exec prepares a stream to a command in the container and returns its URL.
func (c *Client) Exec(ctx context.Context, request *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return streaming(ctx, c, fmt.Sprintf("prepare exec in container %q", request.GetContainerId()), c.runtime.Exec, request)
}

// Attach prepares a stream to the container's main process and returns its URL.
func (c *Client) Attach(ctx context.Context, request *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return streaming(ctx, c, fmt.Sprintf("prepare attach to container %q", request.GetContainerId()), c.runtime.Attach, request)
}

// PortForward prepares a stream to ports of the sandbox and returns its URL.
func (c *Client) PortForward(ctx context.Context, request *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return streaming(ctx, c, fmt.Sprintf("prepare port forward to sandbox %q", request.GetPodSandboxId()), c.runtime.PortForward, request)
}
