package cri

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Version returns the name and versions of the runtime. apiVersion is the
// kubelet's runtime API version, "0.1.0".
func (c *Client) Version(ctx context.Context, apiVersion string) (*runtimeapi.VersionResponse, error) {
	response, err := call(ctx, c.timeout, "get runtime version", c.runtime.Version, &runtimeapi.VersionRequest{Version: apiVersion})
	if err != nil {
		return nil, err
	}
	return response, checkVersion(response)
}

// Status returns the conditions of the runtime. A status without the conditions
// RuntimeReady and NetworkReady is an error.
func (c *Client) Status(ctx context.Context, verbose bool) (*runtimeapi.StatusResponse, error) {
	response, err := call(ctx, c.timeout, "get runtime status", c.runtime.Status, &runtimeapi.StatusRequest{Verbose: verbose})
	if err != nil {
		return nil, err
	}
	return response, checkRuntimeStatus(response.GetStatus())
}

// RuntimeConfig returns the runtime's configuration, such as its cgroup driver.
func (c *Client) RuntimeConfig(ctx context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return call(ctx, c.timeout, "get runtime configuration", c.runtime.RuntimeConfig, &runtimeapi.RuntimeConfigRequest{})
}

// UpdateRuntimeConfig tells the runtime the node's configuration, such as the
// pod CIDR.
func (c *Client) UpdateRuntimeConfig(ctx context.Context, runtimeConfig *runtimeapi.RuntimeConfig) error {
	_, err := call(ctx, c.timeout, "update runtime configuration", c.runtime.UpdateRuntimeConfig,
		&runtimeapi.UpdateRuntimeConfigRequest{RuntimeConfig: runtimeConfig})
	return err
}

// GetContainerEvents sends the runtime's container events to containerEventsCh
// until the stream breaks (an error), the runtime ends it (io.EOF) or the context
// ends. It blocks while nobody receives. The callback, if any, is called once
// the stream is open; that the runtime has no events is told after that.
func (c *Client) GetContainerEvents(
	ctx context.Context, containerEventsCh chan *runtimeapi.ContainerEventResponse,
	connectionEstablishedCallback func(runtimeapi.RuntimeService_GetContainerEventsClient),
) error {
	stream, err := c.runtime.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		return fmt.Errorf("subscribe to container events: %w", err)
	}
	if connectionEstablishedCallback != nil {
		connectionEstablishedCallback(stream)
	}
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		if ctx.Err() != nil {
			return fmt.Errorf("receive container event: %w", ctx.Err())
		}
		if err != nil {
			return fmt.Errorf("receive container event: %w", err)
		}
		select {
		case containerEventsCh <- event:
		case <-ctx.Done():
			return fmt.Errorf("deliver container event: %w", ctx.Err())
		}
	}
}

// streaming makes a call whose answer is the URL of a stream.
func streaming[Request any, Response interface{ GetUrl() string }](
	ctx context.Context, c *Client, what string,
	method func(context.Context, *Request, ...grpc.CallOption) (Response, error), request *Request,
) (Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	response, err := method(ctx, request)
	if err != nil {
		return response, fmt.Errorf("%s: %w", what, err)
	}
	_, err = notEmpty(response.GetUrl(), what, "URL")
	return response, err
}
