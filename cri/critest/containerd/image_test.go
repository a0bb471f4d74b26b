//go:build linux

package containerd

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestImagesShareTheirBaseAndDifferInTheirIDs(t *testing.T) {
	entries := imageArchive(t)
	var manifest []manifestEntry
	require.NoError(t, json.Unmarshal(entries["manifest.json"], &manifest))

	var names []string
	ids := map[string]bool{}
	for _, image := range manifest {
		names = append(names, image.RepoTags...)
		ids[image.Config] = true
		require.Len(t, image.Layers, 2)
		assert.Equal(t, manifest[0].Layers[0], image.Layers[0])
		for _, file := range append(image.Layers, image.Config) {
			assert.Contains(t, entries, file)
		}
	}
	assert.Equal(t, []string{Busybox, BusyboxEdited, Pause}, names)
	assert.Len(t, ids, 3)
}

func TestImagesAreTheSameEachTime(t *testing.T) {
	assert.Equal(t, imageArchive(t), imageArchive(t))
}

// imageArchive builds the images from something that answers as busybox does, and reads the archive.
func imageArchive(t *testing.T) map[string][]byte {
	t.Helper()
	busybox := filepath.Join(t.TempDir(), "busybox")
	require.NoError(t, os.WriteFile(busybox, []byte("#!/bin/sh\necho busybox; echo sh; echo sleep\n"), 0o755))
	archive := filepath.Join(t.TempDir(), "images.tar")
	require.NoError(t, writeImages(archive, busybox, preloaded()...))
	file, err := os.Open(archive)
	require.NoError(t, err)
	defer file.Close()

	entries := map[string][]byte{}
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		require.NoError(t, err)
		assert.NotContains(t, entries, header.Name)
		entries[header.Name], err = io.ReadAll(reader)
		require.NoError(t, err)
	}
}
