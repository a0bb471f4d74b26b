package cri_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/cri"
)

// socketDir is short, as the path of a unix socket may have 104 bytes at most.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cri") //nolint:usetesting // t.TempDir is too long
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestDetectEndpointTakesTheFirstThatListens(t *testing.T) {
	dir := socketDir(t)
	socket := filepath.Join(dir, "live.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer listener.Close()

	endpoint, err := cri.DetectEndpoint(t.Context(), "unix://"+filepath.Join(dir, "absent.sock"), "unix://"+socket)
	require.NoError(t, err)
	assert.Equal(t, "unix://"+socket, endpoint)
}

func TestDetectEndpointListsWhatItTried(t *testing.T) {
	dir := socketDir(t)
	plain := filepath.Join(dir, "plain")
	require.NoError(t, os.WriteFile(plain, nil, 0o600))

	_, err := cri.DetectEndpoint(t.Context(), "unix:///absent.sock", plain, "tcp://127.0.0.1:1")
	require.Error(t, err)
	assert.ErrorContains(t, err, "unix:///absent.sock: ")
	assert.ErrorContains(t, err, "no such file or directory")
	assert.ErrorContains(t, err, plain+": ")
	assert.ErrorContains(t, err, `"tcp://127.0.0.1:1": want unix:///path or /path`)
}

func TestDetectEndpointTriesTheWellKnownSocketsByDefault(t *testing.T) {
	if _, err := cri.DetectEndpoint(t.Context()); err != nil {
		for _, endpoint := range cri.WellKnownEndpoints() {
			assert.ErrorContains(t, err, endpoint)
		}
	}
	assert.Equal(t, "unix:///run/containerd/containerd.sock", cri.WellKnownEndpoints()[0])
}

func TestDialRefusesEndpointsThatAreNoUnixSockets(t *testing.T) {
	for _, endpoint := range []string{"tcp://127.0.0.1:1", "npipe:////./pipe/x", "run/containerd.sock", ""} {
		_, err := cri.Dial(t.Context(), endpoint, cri.Config{})
		assert.ErrorContains(t, err, "want unix:///path or /path", endpoint)
	}
}
