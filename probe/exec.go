package probe

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

func (c *Checker) execute(ctx context.Context, action *corev1.ExecAction, target Target, timeout time.Duration) (Outcome, error) {
	stdout, stderr, err := c.exec.ExecSync(ctx, target.ContainerID, action.Command, timeout)
	var exit *cri.ExitError
	switch {
	case err == nil:
		return outcome(Success, joined(stdout, stderr)), nil
	case errors.As(err, &exit):
		return outcome(Failure, joined(stdout, stderr)), nil
	case errors.Is(err, cri.ErrExecTimeout):
		return outcome(Failure, fmt.Sprintf("command timed out after %v", timeout)), nil
	default:
		return Outcome{}, fmt.Errorf("run probe command: %w", err)
	}
}

// joined is standard output, then standard error, without a copy of what will
// be cut off anyway: a runtime hands over up to 16 MiB of each.
func joined(stdout, stderr []byte) string {
	return string(stdout[:min(len(stdout), MaxOutput)]) + string(stderr[:min(len(stderr), MaxOutput)])
}
