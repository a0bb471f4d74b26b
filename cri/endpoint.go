package cri

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

const unixScheme = "unix://"

// socketPath returns the path of an endpoint.
func socketPath(endpoint string) (string, error) {
	path := strings.TrimPrefix(endpoint, unixScheme)
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("CRI endpoint %q: want unix:///path or /path", endpoint)
	}
	return path, nil
}

// WellKnownEndpoints are the sockets at which runtimes listen by default, in
// the order in which DetectEndpoint tries them. Those of runtimes that belong to
// another agent, such as k3s's, are not among them: two agents on one runtime
// take each other's pods for orphans.
func WellKnownEndpoints() []string {
	return []string{
		"unix:///run/containerd/containerd.sock",
		"unix:///run/crio/crio.sock",
		"unix:///run/cri-dockerd.sock",
		"unix:///run/isulad.sock",
	}
}

// DetectEndpoint returns the first of the endpoints at which somebody listens;
// it tries the well-known ones when none are given. It does not ask who it is:
// Dial does. The error lists every endpoint and what was wrong with it.
func DetectEndpoint(ctx context.Context, endpoints ...string) (string, error) {
	if len(endpoints) == 0 {
		endpoints = WellKnownEndpoints()
	}
	var failures []error
	for _, endpoint := range endpoints {
		err := tryEndpoint(ctx, endpoint)
		if err == nil {
			return endpoint, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", endpoint, err))
	}
	return "", fmt.Errorf("no CRI runtime found, tried:\n%w", errors.Join(failures...))
}

func tryEndpoint(ctx context.Context, endpoint string) error {
	path, err := socketPath(endpoint)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := dialUnix(ctx, path)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			return op.Err
		}
		return err
	}
	return conn.Close()
}
