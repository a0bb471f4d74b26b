//go:build nomemory

package main

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/edged-project/edged/cri"
)

func connectMemory(context.Context, *zap.Logger) (*cri.Client, func(), error) {
	return nil, nil, errors.New("this agent was built without the runtime in memory")
}
