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
		return nil, fmt.Errorf("serve: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("serve: %w", err), listener.Close())
	}
	return listener, nil
}

// serve answers GET /pods and GET /events with lists as of the Kubernetes API,
// until ctx ends.
func serve(ctx context.Context, listener net.Listener, a *agent) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pods", func(w http.ResponseWriter, _ *http.Request) {
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		for _, pod := range a.statuses.Pods() {
			list.Items = append(list.Items, *pod)
		}
		answer(w, list)
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, _ *http.Request) {
		list := corev1.EventList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "EventList"}}
		for _, event := range a.events.List() {
			list.Items = append(list.Items, *event)
		}
		answer(w, list)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

func answer(w http.ResponseWriter, list any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

// fetch asks the agent that has its files below root for a list.
func fetch(ctx context.Context, root, what string, list any) error {
	socket := socketPath(root)
	client := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://nodeagent/"+what, nil)
	if err != nil {
		return fmt.Errorf("ask for %s: %w", what, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no agent answers at %s (is it running, with this -root?): %w", socket, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("agent at %s answered %s", socket, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(list); err != nil {
		return fmt.Errorf("read answer of agent at %s: %w", socket, err)
	}
	return nil
}
