//go:build !nomemory

package main

import (
	"context"

	"go.uber.org/zap"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

// connectMemory returns a runtime in memory, to try the agent without one at hand. It
// is half a megabyte that a board has no use for: see nomemory.go.
func connectMemory(ctx context.Context, logger *zap.Logger) (*cri.Client, func(), error) {
	runtime := critest.New(critest.Config{WriteLogs: true, Logger: logger})
	client, err := runtime.Dial(ctx, cri.Config{Logger: logger})
	if err != nil {
		runtime.Close()
		return nil, nil, err
	}
	return client, func() { _ = client.Close(ctx); runtime.Close() }, nil
}
