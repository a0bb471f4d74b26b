package volume_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/volume"
)

// prunes returns a Manager to which all pods but "live" are gone.
func prunes(root string) *volume.Manager {
	return volume.New(nil, volume.Config{Root: root, Removed: func(uid types.UID) bool { return uid != "live" }})
}

func TestVolumesOfPodsThatAreGoneAreRemoved(t *testing.T) {
	root := t.TempDir()
	m := prunes(root)
	for _, uid := range []string{"gone", "live", "unseen"} {
		paths, err := m.Mount(t.Context(), podWith(uid, emptyDir("data")))
		require.NoError(t, err)
		write(t, filepath.Join(paths["data"], "file"))
	}
	write(t, filepath.Join(root, "pods", "file"))
	write(t, filepath.Join(root, "pods", "lost+found", "file"))

	require.NoError(t, prunes(root).Prune(t.Context()), "by an agent that has not seen them mounted")

	left, err := filepath.Glob(filepath.Join(root, "pods", "*"))
	require.NoError(t, err)
	assert.Equal(t, []string{
		filepath.Join(root, "pods", "file"), filepath.Join(root, "pods", "live"), filepath.Join(root, "pods", "lost+found"),
	}, left)
	assert.FileExists(t, filepath.Join(root, "pods/live/volumes/kubernetes.io~empty-dir/data/file"))
}

func TestNothingToPrune(t *testing.T) {
	require.NoError(t, prunes(t.TempDir()).Prune(t.Context()))
	require.NoError(t, prunes("/nothing/there").Prune(t.Context()))
}

func TestNothingIsPrunedBeforeTheSourcesAreReady(t *testing.T) {
	root := t.TempDir()
	isReady := false
	m := volume.New(nil, volume.Config{
		Root: root, Ready: func() bool { return isReady }, Removed: func(types.UID) bool { return true },
	})
	paths, err := m.Mount(t.Context(), podWith("gone", emptyDir("data")))
	require.NoError(t, err)

	require.NoError(t, m.Prune(t.Context()))
	assert.DirExists(t, paths["data"])
	isReady = true
	require.NoError(t, m.Prune(t.Context()))
	assert.NoDirExists(t, paths["data"])
}

func TestNoPodIsPrunedByDefault(t *testing.T) {
	m := newManager(t.TempDir())
	paths, err := m.Mount(t.Context(), podWith("uid", emptyDir("data")))
	require.NoError(t, err)
	require.NoError(t, m.Prune(t.Context()))
	assert.DirExists(t, paths["data"])
}

func TestAPodThatCannotBePrunedHoldsUpNoOther(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "pods/a/volumes/example.com~disk/data/precious"))
	write(t, filepath.Join(root, "pods/b/etc-hosts"))

	err := prunes(root).Prune(t.Context())
	require.ErrorContains(t, err, `clean up volumes of pod "a"`)
	assert.FileExists(t, filepath.Join(root, "pods/a/volumes/example.com~disk/data/precious"))
	assert.NoDirExists(t, filepath.Join(root, "pods/b"))
}

// A pod that comes back just as it is found to be gone waits for its volumes; it
// does not get those that are being removed.
func TestAPodIsNotMountedWhileItIsPruned(t *testing.T) {
	root := t.TempDir()
	var m *volume.Manager
	pod := podWith("uid", emptyDir("data"))
	var mountErr, unmountErr error
	m = volume.New(nil, volume.Config{Root: root, Removed: func(uid types.UID) bool {
		_, mountErr = m.Mount(t.Context(), pod)
		unmountErr = m.Unmount(t.Context(), uid)
		return true
	}})
	_, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)

	require.NoError(t, m.Prune(t.Context()))
	require.ErrorContains(t, mountErr, "another call is at work")
	require.ErrorContains(t, unmountErr, "another call is at work")
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.DirExists(t, paths["data"])
}

// A worker that comes while a clean-up looks at its pod is not refused.
func TestAPodThatIsThereIsNotDisturbedByACleanUp(t *testing.T) {
	var m *volume.Manager
	pod := podWith("uid", emptyDir("data"))
	mounts := 0
	m = volume.New(nil, volume.Config{Root: t.TempDir(), Removed: func(types.UID) bool {
		_, err := m.Mount(t.Context(), pod)
		assert.NoError(t, err)
		mounts++
		return false
	}})
	_, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	require.NoError(t, m.Prune(t.Context()))
	assert.Equal(t, 1, mounts)
}

// The second clean-up, which begins within the first, has nothing to do.
func TestAPodIsPrunedByOneCallAtATime(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "pods/gone/etc-hosts"))
	var m *volume.Manager
	asked := 0
	m = volume.New(nil, volume.Config{Root: root, Removed: func(types.UID) bool {
		asked++
		if asked == 2 { // while it has the pod
			assert.NoError(t, m.Prune(t.Context()))
			assert.DirExists(t, filepath.Join(root, "pods/gone"))
		}
		return true
	}})
	require.NoError(t, m.Prune(t.Context()))
	assert.Equal(t, 3, asked)
	assert.NoDirExists(t, filepath.Join(root, "pods/gone"))
}

func TestRunPrunesAtOnceAndEachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- prunes(root).Run(ctx) }()
		for range 3 {
			synctest.Wait()
			write(t, filepath.Join(root, "pods/gone/etc-hosts"))
			time.Sleep(59 * time.Second)
			synctest.Wait()
			assert.DirExists(t, filepath.Join(root, "pods/gone"))
			time.Sleep(time.Second)
			synctest.Wait()
			assert.NoDirExists(t, filepath.Join(root, "pods/gone"))
		}
		cancel()
		require.NoError(t, <-done)
	})
}

func TestRunOutlivesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := t.TempDir()
		write(t, filepath.Join(root, "pods/gone/volumes/example.com~disk/data/precious"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- prunes(root).Run(ctx) }()

		time.Sleep(time.Hour)
		synctest.Wait()
		require.NoError(t, os.RemoveAll(filepath.Join(root, "pods/gone/volumes/example.com~disk/data")))
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.NoDirExists(t, filepath.Join(root, "pods/gone"))
		cancel()
		require.NoError(t, <-done)
	})
}
