package cri

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
)

// The list calls that newer runtimes answer with a stream, which no message
// size limits (KEP-5825).
const (
	listSandboxes = iota
	listContainers
	listContainerStats
	listSandboxStats
	listSandboxMetrics
	listImages
	listCalls
)

// list streams a list where the runtime can, and asks for it in one message
// where it cannot. A runtime that once said that it cannot is not asked again.
func list[Request, Part, Item any](
	ctx context.Context, c *Client, listCall int,
	open func(context.Context, *Request, ...grpc.CallOption) (grpc.ServerStreamingClient[Part], error),
	request *Request, itemsOf func(*Part) []Item, unary func() ([]Item, error),
) ([]Item, error) {
	if c.noStream[listCall].Load() {
		return unary()
	}
	items, err := drain(ctx, c.timeout, open, request, itemsOf)
	if !IsUnimplemented(err) {
		return items, err
	}
	c.noStream[listCall].Store(true)
	return unary()
}

// drain reads a stream of parts of a list to its end.
func drain[Request, Part, Item any](
	ctx context.Context, timeout time.Duration,
	open func(context.Context, *Request, ...grpc.CallOption) (grpc.ServerStreamingClient[Part], error),
	request *Request, itemsOf func(*Part) []Item,
) ([]Item, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stream, err := open(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("open list stream: %w", err)
	}
	var items []Item
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return items, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read list stream: %w", err)
		}
		items = append(items, itemsOf(part)...)
	}
}
