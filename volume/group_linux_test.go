package volume_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/volume"
)

// A snapshot in a volume is read-only, and a stick has no groups. The rest is given to
// the pod's group, and the pod starts, as under the kubelet. That is told once.
func TestFilesThatTakeNoGroupKeepNoPodFromItsStart(t *testing.T) {
	dir := mountingRoot(t)
	for _, name := range []string{"a", "snapshot/b", "z"} {
		write(t, filepath.Join(dir, name))
	}
	snapshot := filepath.Join(dir, "snapshot")
	require.NoError(t, unix.Mount(snapshot, snapshot, "", unix.MS_BIND, ""))
	require.NoError(t, unix.Mount("", snapshot, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	require.ErrorIs(t, volume.ChangeGroup(t.Context(), dir, 4242, false, false), volume.ErrGroupRefused)

	s := newShelf()
	s.bind("data", corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}})
	pod := shopPod(claimed("data"))
	pod.Spec.Volumes[0].PersistentVolumeClaim.ReadOnly = false
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(2000))}
	m := s.manager(t.TempDir())
	for range 2 {
		_, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
	}
	for name, want := range map[string]uint32{".": 2000, "a": 2000, "snapshot": 0, "snapshot/b": 0, "z": 2000} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, want, gidOf(info), name)
	}
	require.Len(t, s.told(), 1)
	assert.Contains(t, s.told()[0], `volume "v" : give it to the pod's group: `)
	assert.Contains(t, s.told()[0], "snapshot: read-only file system")
}
