package cri

import (
	"context"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// RunPodSandbox creates and starts a sandbox and returns its ID. Its deadline
// is twice the usual one, as it waits for the network plugin. It is not
// idempotent: the runtime refuses a second sandbox of the same name and attempt.
func (c *Client) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, runtimeHandler string) (string, error) {
	what := fmt.Sprintf("run sandbox of pod %q", config.GetMetadata().GetNamespace()+"/"+config.GetMetadata().GetName())
	response, err := call(ctx, 2*c.timeout, what, c.runtime.RunPodSandbox,
		&runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: runtimeHandler})
	if err != nil {
		return "", err
	}
	return notEmpty(response.GetPodSandboxId(), what, "sandbox ID")
}

// StopPodSandbox stops the sandbox and kills what runs in it. It is idempotent.
func (c *Client) StopPodSandbox(ctx context.Context, podSandboxID string) error {
	_, err := call(ctx, c.timeout, fmt.Sprintf("stop sandbox %q", podSandboxID), c.runtime.StopPodSandbox,
		&runtimeapi.StopPodSandboxRequest{PodSandboxId: podSandboxID})
	return err
}

// RemovePodSandbox removes the sandbox and every container in it. It is idempotent.
func (c *Client) RemovePodSandbox(ctx context.Context, podSandboxID string) error {
	_, err := call(ctx, c.timeout, fmt.Sprintf("remove sandbox %q", podSandboxID), c.runtime.RemovePodSandbox,
		&runtimeapi.RemovePodSandboxRequest{PodSandboxId: podSandboxID})
	return err
}

// PodSandboxStatus returns the status of the sandbox. A status without ID,
// metadata or creation time is an error.
func (c *Client) PodSandboxStatus(ctx context.Context, podSandboxID string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	what := fmt.Sprintf("get status of sandbox %q", podSandboxID)
	response, err := call(ctx, c.timeout, what, c.runtime.PodSandboxStatus,
		&runtimeapi.PodSandboxStatusRequest{PodSandboxId: podSandboxID, Verbose: verbose})
	if err != nil {
		return nil, err
	}
	if err := checkSandboxStatus(response.GetStatus()); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return response, nil
}

// ListPodSandbox returns the sandboxes that match the filter, in any state when
// it names none; all of them when it is nil.
func (c *Client) ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	return list(ctx, c, listSandboxes, c.runtime.StreamPodSandboxes,
		&runtimeapi.StreamPodSandboxesRequest{Filter: filter},
		(*runtimeapi.StreamPodSandboxesResponse).GetPodSandboxes,
		func() ([]*runtimeapi.PodSandbox, error) {
			response, err := call(ctx, c.timeout, "list sandboxes", c.runtime.ListPodSandbox,
				&runtimeapi.ListPodSandboxRequest{Filter: filter})
			return response.GetItems(), err
		})
}

// UpdatePodSandboxResources tells the runtime that the resources of the pod as
// a whole have changed.
func (c *Client) UpdatePodSandboxResources(ctx context.Context, request *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return call(ctx, c.timeout, fmt.Sprintf("update resources of sandbox %q", request.GetPodSandboxId()),
		c.runtime.UpdatePodSandboxResources, request)
}

// CheckpointPod writes a checkpoint of the sandbox and its containers.
func (c *Client) CheckpointPod(ctx context.Context, options *runtimeapi.CheckpointPodRequest) error {
	_, err := call(ctx, c.timeout, fmt.Sprintf("checkpoint sandbox %q", options.GetPodSandboxId()), c.runtime.CheckpointPod, options)
	return err
}

// RestorePod makes a sandbox and its containers from a checkpoint.
func (c *Client) RestorePod(ctx context.Context, options *runtimeapi.RestorePodRequest) (*runtimeapi.RestorePodResponse, error) {
	return call(ctx, c.timeout, fmt.Sprintf("restore pod from %q", options.GetCheckpointPath()), c.runtime.RestorePod, options)
}
