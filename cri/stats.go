package cri

import (
	"context"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ContainerStats returns the resource usage of the container.
func (c *Client) ContainerStats(ctx context.Context, containerID string) (*runtimeapi.ContainerStats, error) {
	response, err := call(ctx, c.timeout, fmt.Sprintf("get stats of container %q", containerID), c.runtime.ContainerStats,
		&runtimeapi.ContainerStatsRequest{ContainerId: containerID})
	return response.GetStats(), err
}

// ListContainerStats returns the resource usage of the running containers that
// match the filter.
func (c *Client) ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	return list(ctx, c, listContainerStats, c.runtime.StreamContainerStats,
		&runtimeapi.StreamContainerStatsRequest{Filter: filter},
		(*runtimeapi.StreamContainerStatsResponse).GetContainerStats,
		func() ([]*runtimeapi.ContainerStats, error) {
			response, err := call(ctx, c.timeout, "list container stats", c.runtime.ListContainerStats,
				&runtimeapi.ListContainerStatsRequest{Filter: filter})
			return response.GetStats(), err
		})
}

// PodSandboxStats returns the resource usage of the sandbox.
func (c *Client) PodSandboxStats(ctx context.Context, podSandboxID string) (*runtimeapi.PodSandboxStats, error) {
	response, err := call(ctx, c.timeout, fmt.Sprintf("get stats of sandbox %q", podSandboxID), c.runtime.PodSandboxStats,
		&runtimeapi.PodSandboxStatsRequest{PodSandboxId: podSandboxID})
	return response.GetStats(), err
}

// ListPodSandboxStats returns the resource usage of the sandboxes that match
// the filter.
func (c *Client) ListPodSandboxStats(ctx context.Context, filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	return list(ctx, c, listSandboxStats, c.runtime.StreamPodSandboxStats,
		&runtimeapi.StreamPodSandboxStatsRequest{Filter: filter},
		(*runtimeapi.StreamPodSandboxStatsResponse).GetPodSandboxStats,
		func() ([]*runtimeapi.PodSandboxStats, error) {
			response, err := call(ctx, c.timeout, "list sandbox stats", c.runtime.ListPodSandboxStats,
				&runtimeapi.ListPodSandboxStatsRequest{Filter: filter})
			return response.GetStats(), err
		})
}

// ListMetricDescriptors describes the metrics of ListPodSandboxMetrics.
func (c *Client) ListMetricDescriptors(ctx context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	response, err := call(ctx, c.timeout, "list metric descriptors", c.runtime.ListMetricDescriptors, &runtimeapi.ListMetricDescriptorsRequest{})
	return response.GetDescriptors(), err
}

// ListPodSandboxMetrics returns the runtime's metrics of every sandbox.
func (c *Client) ListPodSandboxMetrics(ctx context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	return list(ctx, c, listSandboxMetrics, c.runtime.StreamPodSandboxMetrics,
		&runtimeapi.StreamPodSandboxMetricsRequest{},
		(*runtimeapi.StreamPodSandboxMetricsResponse).GetPodSandboxMetrics,
		func() ([]*runtimeapi.PodSandboxMetrics, error) {
			response, err := call(ctx, c.timeout, "list sandbox metrics", c.runtime.ListPodSandboxMetrics, &runtimeapi.ListPodSandboxMetricsRequest{})
			return response.GetPodMetrics(), err
		})
}
