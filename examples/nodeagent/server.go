package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const defaultRoot = "/var/lib/edged"

func socketPath(root string) string { return filepath.Join(root, "nodeagent.sock") }

// maxSocketPath is the longest path that a unix socket may have everywhere.
const maxSocketPath = 103

// listen opens the socket below root, which only this user may connect to.
func listen(ctx context.Context, root string) (net.Listener, error) {
	socket := socketPath(root)
	if len(socket) > maxSocketPath {
		return nil, fmt.Errorf("-root is too long for a socket in it: %s has %d bytes, want %d at most", socket, len(socket), maxSocketPath)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("take away the socket of an earlier run: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("serve pods: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("serve pods: %w", err), listener.Close())
	}
	return listener, nil
}

// servePods answers GET /pods with a v1.PodList until ctx ends.
func servePods(ctx context.Context, listener net.Listener, pods func() []*corev1.Pod) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pods", func(w http.ResponseWriter, _ *http.Request) {
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		for _, pod := range pods() {
			list.Items = append(list.Items, *pod)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(list)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve pods: %w", err)
	}
	return nil
}

// fetchPods asks the agent that has its files below root.
func fetchPods(ctx context.Context, root string) ([]corev1.Pod, error) {
	socket := socketPath(root)
	client := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://nodeagent/pods", nil)
	if err != nil {
		return nil, fmt.Errorf("ask for pods: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no agent answers at %s (is it running, with this -root?): %w", socket, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("agent at %s answered %s", socket, response.Status)
	}
	var list corev1.PodList
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return nil, fmt.Errorf("read answer of agent at %s: %w", socket, err)
	}
	return list.Items, nil
}
