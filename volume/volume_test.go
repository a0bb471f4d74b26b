package volume_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/volume"
)

func emptyDir(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// podWith returns a pod with one container that mounts all of the volumes.
func podWith(uid string, volumes ...corev1.Volume) *corev1.Pod {
	container := corev1.Container{Name: "app"}
	for _, v := range volumes {
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)},
		Spec:       corev1.PodSpec{Volumes: volumes, Containers: []corev1.Container{container}},
	}
}

func newManager(root string) *volume.Manager { return volume.New(nil, volume.Config{Root: root}) }

func write(t *testing.T, file string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte("data"), 0o644))
}

func modeOf(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}

// setUmask changes the umask of the whole process, so that tests which call it
// must not run beside others.
func setUmask(t *testing.T, mask int) {
	old := syscall.Umask(mask)
	t.Cleanup(func() { syscall.Umask(old) })
}

func TestPodWithoutVolumesNeedsNothing(t *testing.T) {
	root := t.TempDir()
	paths, err := newManager(root).Mount(t.Context(), podWith("uid"))
	require.NoError(t, err)
	assert.Equal(t, map[string]string{}, paths)
	assert.NoDirExists(t, filepath.Join(root, "pods"))
}

func TestOnlyVolumesThatAContainerMountsAreMounted(t *testing.T) {
	root := t.TempDir()
	unmounted := corev1.Volume{Name: "unmounted", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}}
	pod := podWith("uid")
	pod.Spec.Volumes = []corev1.Volume{emptyDir("init"), emptyDir("app"), emptyDir("debug"), unmounted}
	mounts := func(name string) []corev1.VolumeMount { return []corev1.VolumeMount{{Name: name}} }
	pod.Spec.InitContainers = []corev1.Container{{VolumeMounts: mounts("init")}}
	pod.Spec.Containers = []corev1.Container{{VolumeMounts: mounts("app")}}
	pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{
		{EphemeralContainerCommon: corev1.EphemeralContainerCommon{VolumeMounts: mounts("debug")}},
	}

	paths, err := newManager(root).Mount(t.Context(), pod)
	require.NoError(t, err)
	dir := filepath.Join(root, "pods/uid/volumes/kubernetes.io~empty-dir")
	assert.Equal(t, map[string]string{
		"init": filepath.Join(dir, "init"), "app": filepath.Join(dir, "app"), "debug": filepath.Join(dir, "debug"),
	}, paths)
	for _, path := range paths {
		assert.DirExists(t, path)
	}
}

func TestUnsupportedKindsAreNamed(t *testing.T) {
	tests := map[string]corev1.VolumeSource{
		"nfs":                                  {NFS: &corev1.NFSVolumeSource{}},
		"csi":                                  {CSI: &corev1.CSIVolumeSource{}},
		"persistentVolumeClaim":                {PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}},
		"ephemeral":                            {Ephemeral: &corev1.EphemeralVolumeSource{}},
		"emptyDir with medium of another kind": {EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "of another kind"}},
	}
	for kind, source := range tests {
		t.Run(kind, func(t *testing.T) {
			paths, err := newManager(t.TempDir()).Mount(t.Context(), podWith("uid", corev1.Volume{Name: "data", VolumeSource: source}))
			assert.Nil(t, paths)
			var unsupported *volume.UnsupportedError
			require.ErrorAs(t, err, &unsupported)
			assert.Equal(t, kind, unsupported.Kind)
			assert.EqualError(t, err, fmt.Sprintf("mount volumes: volume %q: volumes of kind %s are not supported", "data", kind))
		})
	}
}

func TestABlockDeviceIsNotOverlooked(t *testing.T) {
	pod := podWith("uid")
	pod.Spec.Volumes = []corev1.Volume{{
		Name: "disk", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}},
	}}
	pod.Spec.Containers[0].VolumeDevices = []corev1.VolumeDevice{{Name: "disk"}}
	_, err := newManager(t.TempDir()).Mount(t.Context(), pod)
	require.ErrorContains(t, err, `volume "disk"`)
}

func TestEveryVolumeThatFailsIsNamed(t *testing.T) {
	pod := podWith("uid",
		corev1.Volume{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "settings"},
		}}},
		emptyDir("fine"),
		corev1.Volume{Name: "both", VolumeSource: corev1.VolumeSource{
			EmptyDir: &corev1.EmptyDirVolumeSource{}, HostPath: &corev1.HostPathVolumeSource{Path: "/"},
		}},
	)
	pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "absent"})

	paths, err := newManager(t.TempDir()).Mount(t.Context(), pod)
	assert.Nil(t, paths)
	assert.EqualError(t, err, `mount volumes: volume "config": configmap "settings": no source of ConfigMaps is configured
volume "both": it is of more than one kind: emptyDir, hostPath
volume "absent": a container mounts it, but the pod does not have it`)
}

func TestNamesThatWouldEscapeAreRefused(t *testing.T) {
	root := t.TempDir()
	m := newManager(filepath.Join(root, "agent"))
	write(t, filepath.Join(root, "agent", "precious"))
	for _, name := range []string{"", ".", "..", "../..", "a/b", "/", "a/../../..", ".hidden", "nul\x00", "back\\slash", "new\nline"} {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			_, err := m.Mount(t.Context(), podWith("uid", emptyDir(name)))
			require.ErrorContains(t, err, "cannot be the name of a directory")
			_, err = m.Mount(t.Context(), podWith(name, emptyDir("data")))
			require.ErrorContains(t, err, "cannot be the name of a directory")
			require.ErrorContains(t, m.Unmount(t.Context(), types.UID(name)), "cannot be the name of a directory")
		})
	}
	assert.FileExists(t, filepath.Join(root, "agent", "precious"))
}

func TestUnmountRemovesThePodsDirectory(t *testing.T) {
	root := t.TempDir()
	m := newManager(root)
	paths, err := m.Mount(t.Context(), podWith("uid", emptyDir("a"), emptyDir("b")))
	require.NoError(t, err)
	for i := range 1500 { // more than are read at a time
		write(t, filepath.Join(paths["a"], fmt.Sprint(i)))
	}
	write(t, filepath.Join(paths["b"], "deep/er/and/deeper/file"))
	require.NoError(t, syscall.Mkfifo(filepath.Join(paths["b"], "pipe"), 0o600))
	write(t, filepath.Join(root, "pods/uid/etc-hosts"))
	kept, err := m.Mount(t.Context(), podWith("other", emptyDir("a")))
	require.NoError(t, err)

	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
	assert.DirExists(t, kept["a"])

	require.NoError(t, m.Unmount(t.Context(), "uid"), "it is idempotent")
	require.NoError(t, m.Unmount(t.Context(), "never-seen"))
	require.NoError(t, newManager(filepath.Join(root, "no-such-root")).Unmount(t.Context(), "uid"))
}

func TestUnmountDoesNotFollowLinks(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "dir", "precious"))
	m := newManager(root)
	paths, err := m.Mount(t.Context(), podWith("uid", emptyDir("data")))
	require.NoError(t, err)
	require.NoError(t, os.Symlink(outside, filepath.Join(paths["data"], "absolute")))
	require.NoError(t, os.Symlink("../../../../../..", filepath.Join(paths["data"], "up")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "dir", "precious"), filepath.Join(root, "pods/uid/file")))

	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
	assert.FileExists(t, filepath.Join(outside, "dir", "precious"))
}

// A directory of a kind that is not known may hold what is not the pod's.
func TestUnknownKindsOfVolumesAreRemovedOnlyWhenEmpty(t *testing.T) {
	root := t.TempDir()
	m := newManager(root)
	paths, err := m.Mount(t.Context(), podWith("uid", emptyDir("data")))
	require.NoError(t, err)
	file := filepath.Join(root, "pods/uid/volumes/example.com~disk/full/precious")
	write(t, file)
	hollow := filepath.Join(root, "pods/uid/volumes/example.com~disk/hollow")
	require.NoError(t, os.Mkdir(hollow, 0o755))

	require.ErrorContains(t, m.Unmount(t.Context(), "uid"), "example.com~disk/full")
	assert.FileExists(t, file)
	assert.NoDirExists(t, hollow)
	assert.NoDirExists(t, paths["data"])

	require.NoError(t, os.Remove(file))
	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
}

func TestPodsAreMountedAndUnmountedConcurrently(t *testing.T) {
	root := t.TempDir()
	m := newManager(root)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			pod := podWith(fmt.Sprintf("uid-%d", i), emptyDir("data"))
			for range 3 {
				paths, err := m.Mount(t.Context(), pod)
				assert.NoError(t, err)
				assert.DirExists(t, paths["data"])
				assert.NoError(t, m.Unmount(t.Context(), pod.UID))
			}
			_, err := m.Mount(t.Context(), pod)
			assert.NoError(t, err)
		})
	}
	group.Wait()
	pods, err := os.ReadDir(filepath.Join(root, "pods"))
	require.NoError(t, err)
	assert.Len(t, pods, 20)
}

func TestCallsEndWithTheirContext(t *testing.T) {
	m := newManager(t.TempDir())
	pod := podWith("uid", emptyDir("data"))
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	write(t, filepath.Join(paths["data"], "file"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err = m.Mount(ctx, pod)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, m.Unmount(ctx, pod.UID), context.Canceled)
	assert.FileExists(t, filepath.Join(paths["data"], "file"))
	require.NoError(t, m.Unmount(t.Context(), pod.UID), "what was cut short can be done again")
}
