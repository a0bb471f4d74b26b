package cri

import (
	"context"
	"fmt"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CreateContainer creates a container in a sandbox and returns its ID. It is
// not idempotent: the runtime refuses a second container of the same name and
// attempt.
func (c *Client) CreateContainer(ctx context.Context, podSandboxID string, config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) (string, error) {
	what := fmt.Sprintf("create container %q in sandbox %q", config.GetMetadata().GetName(), podSandboxID)
	response, err := call(ctx, c.timeout, what, c.runtime.CreateContainer,
		&runtimeapi.CreateContainerRequest{PodSandboxId: podSandboxID, Config: config, SandboxConfig: sandboxConfig})
	if err != nil {
		return "", err
	}
	return notEmpty(response.GetContainerId(), what, "container ID")
}

// StartContainer starts a created container.
func (c *Client) StartContainer(ctx context.Context, containerID string) error {
	_, err := call(ctx, c.timeout, fmt.Sprintf("start container %q", containerID), c.runtime.StartContainer,
		&runtimeapi.StartContainerRequest{ContainerId: containerID})
	return err
}

// StopContainer asks the container to end and kills it after timeout seconds.
// It blocks until the container has ended, with the timeout added to the
// usual deadline. It is idempotent.
func (c *Client) StopContainer(ctx context.Context, containerID string, timeout int64) error {
	_, err := call(ctx, c.timeout+seconds(timeout), fmt.Sprintf("stop container %q", containerID), c.runtime.StopContainer,
		&runtimeapi.StopContainerRequest{ContainerId: containerID, Timeout: timeout})
	return err
}

// RemoveContainer removes the container, killing it when it runs. It is idempotent.
func (c *Client) RemoveContainer(ctx context.Context, containerID string) error {
	_, err := call(ctx, c.timeout, fmt.Sprintf("remove container %q", containerID), c.runtime.RemoveContainer,
		&runtimeapi.RemoveContainerRequest{ContainerId: containerID})
	return err
}

// ContainerStatus returns the status of the container. A status without ID,
// metadata, creation time, image or image reference is an error.
func (c *Client) ContainerStatus(ctx context.Context, containerID string, verbose bool) (*runtimeapi.ContainerStatusResponse, error) {
	what := fmt.Sprintf("get status of container %q", containerID)
	response, err := call(ctx, c.timeout, what, c.runtime.ContainerStatus,
		&runtimeapi.ContainerStatusRequest{ContainerId: containerID, Verbose: verbose})
	if err != nil {
		return nil, err
	}
	if err := checkContainerStatus(response.GetStatus()); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return response, nil
}

// ListContainers returns the containers that match the filter, in any state
// when it names none; all of them when it is nil.
func (c *Client) ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	return list(ctx, c, listContainers, c.runtime.StreamContainers,
		&runtimeapi.StreamContainersRequest{Filter: filter},
		(*runtimeapi.StreamContainersResponse).GetContainers,
		func() ([]*runtimeapi.Container, error) {
			response, err := call(ctx, c.timeout, "list containers", c.runtime.ListContainers,
				&runtimeapi.ListContainersRequest{Filter: filter})
			return response.GetContainers(), err
		})
}

// UpdateContainerResources changes the resources of a container in place.
func (c *Client) UpdateContainerResources(ctx context.Context, containerID string, resources *runtimeapi.ContainerResources) error {
	_, err := call(ctx, c.timeout, fmt.Sprintf("update resources of container %q", containerID), c.runtime.UpdateContainerResources,
		&runtimeapi.UpdateContainerResourcesRequest{ContainerId: containerID, Linux: resources.GetLinux(), Windows: resources.GetWindows()})
	return err
}

// ReopenContainerLog makes the runtime open the container's log file anew, as
// after a rotation.
func (c *Client) ReopenContainerLog(ctx context.Context, containerID string) error {
	_, err := call(ctx, c.timeout, fmt.Sprintf("reopen log of container %q", containerID), c.runtime.ReopenContainerLog,
		&runtimeapi.ReopenContainerLogRequest{ContainerId: containerID})
	return err
}

// CheckpointContainer writes a checkpoint of the container. The request's own
// timeout, in seconds, is added to the usual deadline.
func (c *Client) CheckpointContainer(ctx context.Context, options *runtimeapi.CheckpointContainerRequest) error {
	_, err := call(ctx, c.timeout+seconds(options.GetTimeout()), fmt.Sprintf("checkpoint container %q", options.GetContainerId()),
		c.runtime.CheckpointContainer, options)
	return err
}

// maxSeconds is half of what a time.Duration holds: a deadline can be added to it.
const maxSeconds = int64(1<<63-1) / int64(time.Second) / 2

func seconds(n int64) time.Duration {
	return time.Duration(max(0, min(n, maxSeconds))) * time.Second
}
