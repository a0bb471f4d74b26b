package volume_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// partPod mounts the volume "data" and parts of it.
func partPod() *corev1.Pod {
	pod := podWith("uid", emptyDir("data"))
	pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "data", SubPath: "x"})
	return pod
}

func TestASubPathIsBound(t *testing.T) {
	root := mountingRoot(t)
	m, pod := newManager(root), partPod()
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	write(t, filepath.Join(paths["data"], "dir/file"))
	require.NoError(t, os.Symlink("dir", filepath.Join(paths["data"], "link")))
	require.NoError(t, os.Symlink("link/../dir/file", filepath.Join(paths["data"], "winding")))
	write(t, filepath.Join(paths["data"], "deep/dir/file"))
	write(t, filepath.Join(paths["data"], "deep/near/file"))
	for link, target := range map[string]string{"shortcut": "deep/dir", "deep/next": "near", "beside": "shortcut/../next", "slash": "shortcut/", "slashes": "slash//"} {
		require.NoError(t, os.Symlink(target, filepath.Join(paths["data"], link)))
	}
	require.NoError(t, unix.Mkfifo(filepath.Join(paths["data"], "pipe"), 0o600)) // nobody writes: to open it would block
	for _, subPath := range []string{"dir", "link", "./dir/", "dir/file", "link/file", "winding", "beside", "beside/file", "slash", "slashes", "pipe"} {
		t.Run(subPath, func(t *testing.T) {
			want, err := os.Stat(filepath.Join(paths["data"], subPath))
			require.NoError(t, err)
			for range 2 {
				part, err := m.SubPath(t.Context(), pod, "app", 1, paths["data"], subPath)
				require.NoError(t, err)
				assert.Equal(t, filepath.Join(root, "pods/uid/volume-subpaths/data/app/1"), part)
				found, err := os.Stat(part)
				require.NoError(t, err)
				assert.True(t, os.SameFile(want, found))
				assert.Equal(t, 1, mountsAt(t, part), "it is bound once only")
			}
		})
	}
	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
}

// mountsAt counts what is mounted at and below a path.
func mountsAt(t *testing.T, path string) int {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	return strings.Count(string(table), " "+path+" ") + strings.Count(string(table), " "+path+"/")
}

func TestAMissingSubPathIsMadeAsTheVolumeIs(t *testing.T) {
	setUmask(t, 0o077)
	m, pod := newManager(mountingRoot(t)), partPod()
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	require.NoError(t, os.Chown(paths["data"], 0, 4242))
	require.NoError(t, os.Chmod(paths["data"], 0o770|fs.ModeSetgid))
	require.NoError(t, os.Symlink("later", filepath.Join(paths["data"], "dangling")))
	for _, subPath := range []string{"new/deep", "dangling"} {
		part, err := m.SubPath(t.Context(), pod, "app", 1, paths["data"], subPath)
		require.NoError(t, err)
		info, err := os.Stat(part)
		require.NoError(t, err)
		assert.Equal(t, fs.ModeDir|fs.ModeSetgid|0o770, info.Mode())
		assert.EqualValues(t, 4242, gidOf(info))
	}
	assert.DirExists(t, filepath.Join(paths["data"], "new/deep"))
	assert.DirExists(t, filepath.Join(paths["data"], "later"))
	require.NoError(t, m.Unmount(t.Context(), "uid"))
}

func TestSubPathsThatLeadOut(t *testing.T) {
	root := mountingRoot(t)
	write(t, filepath.Join(root, "precious"))
	m, pod := newManager(root), partPod()
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	in := func(name string) string { return filepath.Join(paths["data"], name) }
	write(t, in("file"))
	for link, target := range map[string]string{
		"absolute": "/", "to the volume": paths["data"], "up": "..", "chain": "up/..", "proc": "/proc/self/root",
		"loop": "loop", "deep": "file/../../../../../..",
	} {
		require.NoError(t, os.Symlink(target, in(link)))
	}
	for subPath, want := range map[string]string{
		"absolute": "leads out", "absolute/etc": "escapes", "to the volume": "leads out", "up": "escapes", "up/x": "escapes",
		"chain": "", "proc": "leads out", "proc/etc": "escapes", "loop": "too many", "deep": "",
		"/": "must be relative", "..": "must be relative", "a/../../b": "must be relative", "a/..": "must be relative",
		"file/x": "not a directory", "a\x00b": "invalid",
	} {
		t.Run(subPath, func(t *testing.T) {
			_, err := m.SubPath(t.Context(), pod, "app", 1, paths["data"], subPath)
			require.ErrorContains(t, err, "of mount 1 of container \"app\": ")
			require.ErrorContains(t, err, want)
			assert.NoFileExists(t, filepath.Join(root, "pods/uid/volume-subpaths/data/app/1"))
		})
	}
	for name, index := range map[string]int{"app": 2, "other": 0, "": -1} {
		_, err := m.SubPath(t.Context(), pod, name, index, paths["data"], "a")
		require.ErrorContains(t, err, "the pod has no such mount")
	}
	pod.Spec.Containers[0].Name = "../.."
	_, err = m.SubPath(t.Context(), pod, "../..", 1, paths["data"], "a")
	require.ErrorContains(t, err, "cannot be the name of a directory")
	require.NoError(t, m.Unmount(t.Context(), "uid"))
}

// While a container swaps a directory for a link that leads out, what is bound is
// always in the volume.
func TestASubPathThatIsSwappedMeanwhile(t *testing.T) {
	root := mountingRoot(t)
	outside := filepath.Join(root, "outside")
	write(t, filepath.Join(outside, "sub/precious"))
	m, pod := newManager(root), partPod()
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	in := func(name string) string { return filepath.Join(paths["data"], name) }
	require.NoError(t, os.MkdirAll(in("real/sub"), 0o755))
	require.NoError(t, os.Symlink(outside, in("evil")))

	stop := make(chan struct{})
	var attacker sync.WaitGroup
	attacker.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, in("real"), unix.AT_FDCWD, in("evil"), unix.RENAME_EXCHANGE)
			}
		}
	})
	bound := 0
	for tries := 0; tries < 500 || bound == 0 && tries < 1_000_000; tries++ { // the attacker may win very often
		part, err := m.SubPath(t.Context(), pod, "app", 1, paths["data"], "real/sub")
		if err != nil {
			continue
		}
		bound++
		assert.NoFileExists(t, filepath.Join(part, "precious"))
	}
	close(stop)
	attacker.Wait()
	assert.Positive(t, bound)
	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.FileExists(t, filepath.Join(outside, "sub/precious"))
}

// What a container has made of the part meanwhile is what its next start gets, and
// the old is not in the way even if it is in use or was removed.
func TestASubPathThatHasBecomeAnother(t *testing.T) {
	root := mountingRoot(t)
	m, pod := newManager(root), partPod()
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	in := filepath.Join(paths["data"], "x")
	write(t, filepath.Join(in, "old"))
	part, err := m.SubPath(t.Context(), pod, "app", 1, paths["data"], "x")
	require.NoError(t, err)
	used, err := os.Open(filepath.Join(part, "old"))
	require.NoError(t, err)
	defer used.Close()
	require.NoError(t, os.RemoveAll(in))
	write(t, in) // a file now

	m = newManager(root)
	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	part, err = m.SubPath(t.Context(), pod, "app", 1, paths["data"], "x")
	require.NoError(t, err)
	info, err := os.Stat(part)
	require.NoError(t, err)
	assert.True(t, info.Mode().IsRegular())
	assert.Equal(t, 1, mountsAt(t, part))
	require.NoError(t, m.Unmount(t.Context(), "uid"))
}

// A part of a volume never changes: it shows the content of the time it was bound.
func TestASubPathOfAConfigMapIsStatic(t *testing.T) {
	s, root := newShelf(), mountingRoot(t)
	s.setConfigMap("settings", map[string]string{"a": "1"})
	m, pod := s.manager(root), shopPod(configMap("settings"))
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	part, err := m.SubPath(t.Context(), pod, "app", 0, paths["v-settings"], "a")
	require.NoError(t, err)
	s.setConfigMap("settings", map[string]string{"a": "2"})
	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	data, err := os.ReadFile(part)
	require.NoError(t, err)
	assert.Equal(t, "1", string(data))
	assert.Equal(t, map[string]string{"a": "2"}, filesIn(t, paths["v-settings"]))

	_, err = m.SubPath(t.Context(), pod, "app", 0, paths["v-settings"], "a") // the next start
	require.NoError(t, err)
	data, err = os.ReadFile(part)
	require.NoError(t, err)
	assert.Equal(t, "2", string(data))
	require.NoError(t, m.Unmount(t.Context(), "uid"))
}

// Parts go before their volumes, those of pods that went unseen too, and what is
// mounted in the source by others stays.
func TestSubPathsAreTakenAway(t *testing.T) {
	root := mountingRoot(t)
	require.NoError(t, unix.Mount("", root, "", unix.MS_SHARED, ""))
	hostDir := filepath.Join(root, "host")
	write(t, filepath.Join(hostDir, "a/usb/.keep"))
	v := memory("tmp", "")
	host := hostPath(hostDir, "")
	pod := podWith("gone", v, host)
	m := prunes(root)
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	_, err = m.SubPath(t.Context(), pod, "app", 0, paths["tmp"], "a")
	require.NoError(t, err)
	part, err := m.SubPath(t.Context(), pod, "app", 1, paths["host"], "a")
	require.NoError(t, err)
	usb := filepath.Join(hostDir, "a/usb")
	require.NoError(t, unix.Mount("tmpfs", usb, "tmpfs", 0, ""))
	defer func() { _ = unix.Unmount(usb, unix.MNT_DETACH) }()
	write(t, filepath.Join(usb, "precious"))
	require.FileExists(t, filepath.Join(part, "usb/precious"), "the mount has spread")

	require.NoError(t, prunes(root).Prune(t.Context()))
	assert.NoDirExists(t, filepath.Join(root, "pods/gone"))
	assert.FileExists(t, filepath.Join(usb, "precious"))
}

// A link in the place of a part, as nobody should be able to make, is not followed.
func TestALinkInThePlaceOfASubPath(t *testing.T) {
	root := mountingRoot(t)
	outside := filepath.Join(root, "outside")
	write(t, filepath.Join(outside, "precious"))
	m, pod := newManager(root), partPod()
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	dir := filepath.Join(root, "pods/uid/volume-subpaths/data/app")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "1")))
	write(t, filepath.Join(paths["data"], "x/file"))
	part, err := m.SubPath(t.Context(), pod, "app", 1, paths["data"], "x")
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(part, "file"))
	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.FileExists(t, filepath.Join(outside, "precious"))
}
