package probe

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Execer runs commands in containers; a *cri.Client is one. A command that ends
// with another code than 0 gives an error that is a *cri.ExitError, one that
// does not end in time an error that is cri.ErrExecTimeout. It must bound the
// time of a call by itself.
type Execer interface {
	ExecSync(ctx context.Context, containerID string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error)
}

// Target is the container that is checked, as it is at the time of the check.
type Target struct {
	// ContainerID is where commands run.
	ContainerID string
	// PodIP is where requests go to that name no host, the node's address for a
	// pod on the host network.
	PodIP string
	// Ports are those of the container's spec. Only they give names to ports.
	Ports []corev1.ContainerPort
}

// CheckerConfig configures NewChecker. The zero value works.
type CheckerConfig struct {
	// UserAgent is sent with HTTP requests that set none of their own,
	// "kube-probe/1.37" by default: servers know probes by the part before the
	// slash.
	UserAgent string
}

// Checker does single checks. It keeps no state between them.
type Checker struct {
	exec Execer
	cfg  CheckerConfig
	dial dialFunc // of HTTP checks
}

// NewChecker returns a Checker that runs commands through exec.
func NewChecker(exec Execer, cfg CheckerConfig) *Checker {
	if cfg.UserAgent == "" {
		cfg.UserAgent = "kube-probe/1.37"
	}
	return &Checker{exec: exec, cfg: cfg, dial: dial}
}

// Check checks the target once, as the probe's handler says. It blocks for the
// probe's timeout at the most, with a command for as long as the Execer does.
// It may be called concurrently.
//
// An error means that nothing was found out (the result is Unknown): the probe
// cannot be carried out as it is written, the runtime did not run the command,
// or ctx ended. It says nothing about the container's health.
func (c *Checker) Check(ctx context.Context, probe *corev1.Probe, target Target) (Outcome, error) {
	found, err := c.check(ctx, probe, target)
	if found.Result == Failure && ctx.Err() != nil {
		return Outcome{}, ctx.Err()
	}
	return found, err
}

func (c *Checker) check(ctx context.Context, probe *corev1.Probe, target Target) (Outcome, error) {
	timeout := timeoutOf(probe)
	switch {
	case probe.Exec != nil:
		return c.execute(ctx, probe.Exec, target, timeout)
	case probe.HTTPGet != nil:
		return c.get(ctx, probe.HTTPGet, target, timeout)
	case probe.TCPSocket != nil:
		return connect(ctx, probe.TCPSocket, target, timeout)
	case probe.GRPC != nil:
		return c.serving(ctx, probe.GRPC, target, timeout)
	default:
		return Outcome{}, errors.New("the probe has no handler")
	}
}

// timeoutOf is the probe's timeout, with the default of the Kubernetes API for
// specs that no API server has defaulted.
func timeoutOf(probe *corev1.Probe) time.Duration {
	return time.Duration(max(1, probe.TimeoutSeconds)) * time.Second
}
