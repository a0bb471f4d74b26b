package volume_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestEmptyDirIsOpenToAllWhateverTheUmask(t *testing.T) {
	setUmask(t, 0o077)
	paths, err := newManager(t.TempDir()).Mount(t.Context(), podWith("uid", emptyDir("data")))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o777), modeOf(t, paths["data"]))
}

func TestVolumeWithoutAKindIsAnEmptyDir(t *testing.T) {
	paths, err := newManager(t.TempDir()).Mount(t.Context(), podWith("uid", corev1.Volume{Name: "data"}))
	require.NoError(t, err)
	assert.DirExists(t, paths["data"])
}

// Databases take the rights of their directory away from others.
func TestEmptyDirSurvivesContainersAndTheAgent(t *testing.T) {
	root := t.TempDir()
	pod := podWith("uid", emptyDir("data"))
	first, err := newManager(root).Mount(t.Context(), pod)
	require.NoError(t, err)
	write(t, filepath.Join(first["data"], "file"))
	require.NoError(t, os.Chmod(first["data"], 0o700))

	again, err := newManager(root).Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, first, again)
	assert.FileExists(t, filepath.Join(again["data"], "file"))
	assert.Equal(t, fs.FileMode(0o700), modeOf(t, again["data"]))
}

func TestEmptyDirThatVanishedIsMadeAgain(t *testing.T) {
	m := newManager(t.TempDir())
	pod := podWith("uid", emptyDir("data"))
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	require.NoError(t, os.Remove(paths["data"]))

	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o777), modeOf(t, paths["data"]))
}

func TestACrashLeavesNoEmptyDirWithOtherRights(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "pods/uid/volumes/kubernetes.io~empty-dir")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".data"), 0o700))

	paths, err := newManager(root).Mount(t.Context(), podWith("uid", emptyDir("data")))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o777), modeOf(t, paths["data"]))
	assert.NoDirExists(t, filepath.Join(dir, ".data"))
}

func TestEmptyDirWhoseNameAFileHas(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "pods/uid/volumes/kubernetes.io~empty-dir/data"))
	_, err := newManager(root).Mount(t.Context(), podWith("uid", emptyDir("data")))
	require.ErrorContains(t, err, "is not a directory")
}
