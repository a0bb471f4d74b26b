package main

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/cri/critest"
)

func TestOneRound(t *testing.T) {
	runtime := critest.New(critest.Config{Images: []critest.Image{{Name: "unused"}, {Name: "wanted"}, {Name: "pause:1"}}})
	defer runtime.Close()
	runtime.SetImageFs(t.TempDir(), 0)
	socket := filepath.Join(t.TempDir(), "cri.sock")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	require.NoError(t, err)
	go func() { _ = runtime.Serve(listener) }()

	// The disk of the test machine is not empty, and no image of the fake changes that.
	err = run(t.Context(), []string{"-runtime", "unix://" + socket, "-once", "-high", "1", "-low", "0", "-wanted", "wanted"})
	if err != nil {
		require.ErrorContains(t, err, "not enough images may be removed")
	}
	images, err := runtime.Client(t).ListImages(t.Context(), nil)
	require.NoError(t, err)
	var left []string
	for _, image := range images {
		left = append(left, image.GetRepoTags()...)
	}
	require.ElementsMatch(t, []string{"docker.io/library/wanted:latest", "docker.io/library/pause:1"}, left)
}

func TestBadFlagsAreRefused(t *testing.T) {
	require.Error(t, run(t.Context(), []string{"-high", "much"}))
	require.ErrorContains(t, run(t.Context(), []string{"once"}), `"once"`)
	require.NoError(t, run(t.Context(), []string{"-help"}))
}
