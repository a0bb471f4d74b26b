package volume_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edged-project/edged/volume"
)

// mountingRoot is a root below which the test may mount: it skips the test where
// that needs rights which are not there, and unmounts what the test has left.
func mountingRoot(t *testing.T) string {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=1m"); errors.Is(err, unix.EPERM) {
		t.Skip("mounting needs CAP_SYS_ADMIN")
	} else {
		require.NoError(t, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	return root
}

func memory(name, limit string) corev1.Volume {
	v := emptyDir(name)
	v.EmptyDir.Medium = corev1.StorageMediumMemory
	if limit != "" {
		quantity := resource.MustParse(limit)
		v.EmptyDir.SizeLimit = &quantity
	}
	return v
}

func statfs(t *testing.T, path string) unix.Statfs_t {
	var stat unix.Statfs_t
	require.NoError(t, unix.Statfs(path, &stat))
	return stat
}

func isTmpfs(t *testing.T, path string) bool {
	return statfs(t, path).Type == unix.TMPFS_MAGIC && statfs(t, path).Fsid != statfs(t, filepath.Dir(path)).Fsid
}

func TestMemoryVolumeHasItsSize(t *testing.T) {
	setUmask(t, 0o077)
	m := newManager(mountingRoot(t))
	paths, err := m.Mount(t.Context(), podWith("uid", memory("small", "1Mi"), memory("zero", "0"), memory("any", "")))
	require.NoError(t, err)
	for name, path := range paths {
		require.True(t, isTmpfs(t, path), name)
		assert.EqualValues(t, 0o777, modeOf(t, path), name)
	}
	stat := statfs(t, paths["small"])
	assert.EqualValues(t, 1<<20, stat.Blocks*uint64(stat.Bsize))
	assert.NotZero(t, statfs(t, paths["zero"]).Blocks, "a limit of 0 is none, and still not all of the node's memory")
	assert.Equal(t, statfs(t, paths["any"]).Blocks, statfs(t, paths["zero"]).Blocks)
	require.NoError(t, m.Unmount(t.Context(), "uid"))
}

func TestMemoryVolumeSurvivesTheAgent(t *testing.T) {
	root := mountingRoot(t)
	pod := podWith("uid", memory("data", "1Mi"))
	paths, err := newManager(root).Mount(t.Context(), pod)
	require.NoError(t, err)
	write(t, filepath.Join(paths["data"], "file"))

	m := newManager(root)
	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(paths["data"], "file"))
	require.NoError(t, unix.Unmount(paths["data"], 0))
	assert.False(t, isTmpfs(t, paths["data"]), "it was mounted once only")

	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.True(t, isTmpfs(t, paths["data"]), "it is mounted again after a reboot")
	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
}

func TestMemoryVolumeIsUnmountedThroughALinkToTheRoot(t *testing.T) {
	root := mountingRoot(t)
	require.NoError(t, os.Mkdir(filepath.Join(root, "real root"), 0o755)) // the mount table has the space escaped
	link := filepath.Join(root, "link")
	require.NoError(t, os.Symlink("real root", link))
	m := newManager(link)
	pod := podWith("uid", memory("data", "1Mi"))
	for range 2 {
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		assert.True(t, isTmpfs(t, paths["data"]))
	}
	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.NoDirExists(t, filepath.Join(root, "real root/pods/uid"))
}

func TestMemoryVolumesOfPodsThatAreGoneAreUnmounted(t *testing.T) {
	root := mountingRoot(t)
	_, err := newManager(root).Mount(t.Context(), podWith("gone", memory("a", ""), memory("b", ""), emptyDir("c")))
	require.NoError(t, err)
	require.NoError(t, prunes(root).Prune(t.Context()))
	assert.NoDirExists(t, filepath.Join(root, "pods/gone"))
}

// Whatever is mounted below a pod's directory, nothing behind it is removed, nor any
// directory of the pod until it is unmounted; what the pod has in memory is given back.
// A bind mount of a directory of the same file system cannot be told by its device.
func TestNothingIsRemovedThroughAMount(t *testing.T) {
	root := mountingRoot(t)
	outside := filepath.Join(root, "outside")
	write(t, filepath.Join(outside, "precious"))
	for _, below := range []string{
		"volumes/kubernetes.io~empty-dir/disk",
		"volumes/kubernetes.io~empty-dir/disk/deep",
		"volumes/kubernetes.io~empty-dir/memory",
		"volumes/kubernetes.io~empty-dir/memory/deep",
		"volumes/kubernetes.io~csi/pv/mount",
		"etc-hosts.d",
	} {
		t.Run(below, func(t *testing.T) {
			m := prunes(root)
			paths, err := m.Mount(t.Context(), podWith("gone", emptyDir("disk"), memory("memory", "")))
			require.NoError(t, err)
			write(t, filepath.Join(paths["memory"], "file"))
			write(t, filepath.Join(paths["disk"], "file"))
			point := filepath.Join(root, "pods/gone", below)
			require.NoError(t, os.MkdirAll(point, 0o755))
			require.NoError(t, unix.Mount(outside, point, "", unix.MS_BIND, ""))

			require.ErrorContains(t, m.Unmount(t.Context(), "gone"), point+" is still mounted")
			require.ErrorContains(t, m.Prune(t.Context()), point+" is still mounted")
			assert.FileExists(t, filepath.Join(point, "precious"))
			if !strings.HasSuffix(below, "disk") {
				assert.FileExists(t, filepath.Join(paths["disk"], "file"))
			}
			require.NoError(t, unix.Unmount(point, 0))
			assert.Equal(t, strings.Contains(below, "memory"), isTmpfs(t, paths["memory"]), "the mount is in the way")
			require.NoError(t, os.RemoveAll(filepath.Join(root, "pods/gone/volumes/kubernetes.io~csi/pv/mount")))
			require.NoError(t, m.Unmount(t.Context(), "gone"))
			assert.NoDirExists(t, filepath.Join(root, "pods/gone"))
			assert.FileExists(t, filepath.Join(outside, "precious"))
		})
	}
}

// With the propagation Bidirectional, what a runtime mounts inside of a volume for a
// container is mounted on the host too, and stays: the file for its termination message,
// those of earlier runs below, and other volumes of the pod.
func TestWhatOfThePodIsMountedInsideOfItsVolumesIsUnmounted(t *testing.T) {
	root := mountingRoot(t)
	m := newManager(root)
	paths, err := m.Mount(t.Context(), podWith("gone", emptyDir("disk"), emptyDir("other"), memory("memory", "")))
	require.NoError(t, err)
	bind := func(source, point string) {
		require.NoError(t, unix.Mount(source, point, "", unix.MS_BIND, ""))
	}
	for _, within := range []string{paths["disk"], paths["memory"]} {
		message := filepath.Join(within, "log.txt")
		write(t, message)
		for _, run := range []string{"0", "1"} {
			source := filepath.Join(root, "pods/gone/containers/app", run)
			write(t, source)
			bind(source, message)
		}
	}
	for _, nested := range []string{"memory", "other"} {
		point := filepath.Join(paths["disk"], nested)
		require.NoError(t, os.Mkdir(point, 0o755))
		bind(paths[nested], point)
	}
	require.NoError(t, m.Unmount(t.Context(), "gone"))
	assert.NoDirExists(t, filepath.Join(root, "pods/gone"))
}

func TestMemoryVolumeInUseIsLeftForAnotherTry(t *testing.T) {
	root := mountingRoot(t)
	m := newManager(root)
	paths, err := m.Mount(t.Context(), podWith("uid", memory("data", "")))
	require.NoError(t, err)
	file, err := os.Create(filepath.Join(paths["data"], "file"))
	require.NoError(t, err)

	require.ErrorIs(t, m.Unmount(t.Context(), "uid"), unix.EBUSY)
	assert.FileExists(t, file.Name())
	require.NoError(t, file.Close())
	require.NoError(t, m.Unmount(t.Context(), "uid"))
}

func TestMemoryVolumeWhereSomethingElseIsMounted(t *testing.T) {
	root := mountingRoot(t)
	dir := filepath.Join(root, "pods/uid/volumes/kubernetes.io~empty-dir/data")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, unix.Mount("proc", dir, "proc", 0, ""))
	_, err := newManager(root).Mount(t.Context(), podWith("uid", memory("data", "")))
	require.ErrorContains(t, err, "is a mount of type proc")
}

func TestMemoryVolumeWithoutTheRightToMount(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may mount")
	}
	_, err := newManager(t.TempDir()).Mount(t.Context(), podWith("uid", memory("data", "")))
	require.ErrorIs(t, err, unix.EPERM)
}

func TestHostPathBlockDevice(t *testing.T) {
	device := filepath.Join(t.TempDir(), "disk")
	if err := unix.Mknod(device, unix.S_IFBLK|0o600, 0); errors.Is(err, unix.EPERM) {
		t.Skip("making a device needs CAP_MKNOD")
	} else {
		require.NoError(t, err)
	}
	_, err := newManager(t.TempDir()).Mount(t.Context(), podWith("uid", hostPath(device, corev1.HostPathBlockDev)))
	require.NoError(t, err)
}

func limited(name, memory string) corev1.Container {
	c := corev1.Container{Name: name}
	if memory != "" {
		c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return c
}

func TestMemoryVolumeIsNoLargerThanWhatLimitsIt(t *testing.T) {
	sidecar := limited("sidecar", "2Mi")
	sidecar.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	tests := map[string]struct {
		node, limit, pod string
		init, containers []corev1.Container
		want             int64
	}{
		"node":                        {node: "7Mi", containers: []corev1.Container{limited("a", "")}, want: 7 << 20},
		"volume":                      {node: "7Mi", limit: "1Mi", containers: []corev1.Container{limited("a", "3Mi")}, want: 1 << 20},
		"pod":                         {node: "7Mi", limit: "6Mi", containers: []corev1.Container{limited("a", "1Mi"), limited("b", "2Mi")}, want: 3 << 20},
		"pod with a sidecar":          {node: "7Mi", init: []corev1.Container{sidecar}, containers: []corev1.Container{limited("a", "1Mi")}, want: 3 << 20},
		"pod with a greedy start":     {node: "7Mi", init: []corev1.Container{sidecar, limited("i", "4Mi")}, containers: []corev1.Container{limited("a", "1Mi")}, want: 6 << 20},
		"container without a limit":   {node: "7Mi", containers: []corev1.Container{limited("a", "1Mi"), limited("b", "")}, want: 7 << 20},
		"init without a limit":        {node: "7Mi", init: []corev1.Container{limited("i", "")}, containers: []corev1.Container{limited("a", "1Mi")}, want: 7 << 20},
		"limit of the pod as a whole": {node: "7Mi", pod: "2Mi", containers: []corev1.Container{limited("a", "3Mi"), limited("b", "")}, want: 2 << 20},
		"pod on a node that is free":  {containers: []corev1.Container{limited("a", "1Mi")}, want: 1 << 20},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := volume.Config{Root: mountingRoot(t)}
			if test.node != "" {
				cfg.Allocatable = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(test.node)}
			}
			m := volume.New(nil, cfg)
			pod := podWith("uid", memory("data", test.limit))
			test.containers[0].VolumeMounts = pod.Spec.Containers[0].VolumeMounts
			pod.Spec.InitContainers, pod.Spec.Containers = test.init, test.containers
			if test.pod != "" {
				pod.Spec.Resources = new(limited("", test.pod).Resources)
			}
			paths, err := m.Mount(t.Context(), pod)
			require.NoError(t, err)
			stat := statfs(t, paths["data"])
			assert.EqualValues(t, test.want, stat.Blocks*uint64(stat.Bsize))
			require.NoError(t, m.Unmount(t.Context(), "uid"))
		})
	}
}

func TestMemoryVolumeBelongsToThePodsGroup(t *testing.T) {
	m := newManager(mountingRoot(t))
	pod := podWith("uid", memory("data", ""))
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(4242))}
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	info, err := os.Stat(paths["data"])
	require.NoError(t, err)
	assert.EqualValues(t, 4242, gidOf(info))
	assert.Equal(t, os.ModeDir|os.ModeSetgid|0o777, info.Mode())
	require.NoError(t, m.Unmount(t.Context(), "uid"))
}

func TestVolumeOfHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/hugepages/hugepages-2048kB"); err != nil {
		t.Skip("the kernel has no huge pages of 2 MiB")
	}
	requests := corev1.ResourceList{"hugepages-2Mi": resource.MustParse("4Mi")}
	for medium, list := range map[corev1.StorageMedium]corev1.ResourceList{"HugePages-2Mi": nil, "HugePages": requests} {
		t.Run(string(medium), func(t *testing.T) {
			m := newManager(mountingRoot(t))
			v := emptyDir("pages")
			v.EmptyDir.Medium = medium
			pod := podWith("uid", v)
			pod.Spec.Containers[0].Resources.Requests = list
			for range 2 {
				paths, err := m.Mount(t.Context(), pod)
				require.NoError(t, err)
				assert.Equal(t, uint32(unix.HUGETLBFS_MAGIC), uint32(statfs(t, paths["pages"]).Type))
				assert.EqualValues(t, 2<<20, statfs(t, paths["pages"]).Bsize)
			}
			require.NoError(t, m.Unmount(t.Context(), "uid"))
		})
	}
}

func TestHugePagesThatAreNotOfOneSize(t *testing.T) {
	for medium, want := range map[corev1.StorageMedium]string{
		"HugePages":       "the pod requests huge pages of 0 sizes",
		"HugePages-large": `"large" is not a size of pages`,
		"HugePages-0":     `"0" is not a size of pages`,
	} {
		v := emptyDir("pages")
		v.EmptyDir.Medium = medium
		_, err := newManager(t.TempDir()).Mount(t.Context(), podWith("uid", v))
		require.ErrorContains(t, err, want)
	}
}
