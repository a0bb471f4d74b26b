package volume_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func hostPath(path string, kind corev1.HostPathType) corev1.Volume {
	return corev1.Volume{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &kind}}}
}

// host is a directory with one file of each type that needs no rights to make.
func host(t *testing.T) string {
	dir, err := os.MkdirTemp("", "host") //nolint:usetesting // the path of a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	write(t, filepath.Join(dir, "file"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "dir"), 0o755))
	require.NoError(t, os.Symlink("dir", filepath.Join(dir, "link")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	listener, err := net.Listen("unix", filepath.Join(dir, "socket"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	return dir
}

func TestHostPathTypes(t *testing.T) {
	dir := host(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	tests := map[string]struct {
		path string
		kind corev1.HostPathType
		err  string
	}{
		"no type, nothing there":    {path: in("nothing"), kind: corev1.HostPathUnset},
		"no type, anything there":   {path: in("pipe"), kind: corev1.HostPathUnset},
		"directory":                 {path: in("dir"), kind: corev1.HostPathDirectory},
		"link to a directory":       {path: in("link"), kind: corev1.HostPathDirectory},
		"existing directory":        {path: in("dir"), kind: corev1.HostPathDirectoryOrCreate},
		"file":                      {path: in("file"), kind: corev1.HostPathFile},
		"existing file":             {path: in("file"), kind: corev1.HostPathFileOrCreate},
		"socket":                    {path: in("socket"), kind: corev1.HostPathSocket},
		"character device":          {path: "/dev/null", kind: corev1.HostPathCharDev},
		"not a directory":           {path: in("file"), kind: corev1.HostPathDirectory, err: "expected Directory, found File"},
		"not a directory to create": {path: in("file"), kind: corev1.HostPathDirectoryOrCreate, err: "expected Directory, found File"},
		"not a file":                {path: in("dir"), kind: corev1.HostPathFile, err: "expected File, found Directory"},
		"not a file to create":      {path: in("pipe"), kind: corev1.HostPathFileOrCreate, err: "expected File, found NamedPipe"},
		"not a socket":              {path: "/dev/null", kind: corev1.HostPathSocket, err: "expected Socket, found CharDevice"},
		"not a character device":    {path: in("socket"), kind: corev1.HostPathCharDev, err: "expected CharDevice, found Socket"},
		"not a block device":        {path: "/dev/null", kind: corev1.HostPathBlockDev, err: "expected BlockDevice, found CharDevice"},
		"missing directory":         {path: in("nothing"), kind: corev1.HostPathDirectory, err: "expected Directory: stat"},
		"missing file":              {path: in("nothing"), kind: corev1.HostPathFile, err: "expected File: stat"},
		"file to create, no parent": {path: in("nothing/file"), kind: corev1.HostPathFileOrCreate, err: "create host path"},
		"relative path":             {path: "dir", kind: corev1.HostPathDirectory, err: `host path "dir" is not absolute`},
		"unknown type":              {path: in("dir"), kind: "Folder", err: `has the unknown type "Folder"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			paths, err := newManager(t.TempDir()).Mount(t.Context(), podWith("uid", hostPath(test.path, test.kind)))
			if test.err != "" {
				assert.ErrorContains(t, err, `volume "host": `)
				assert.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, map[string]string{"host": test.path}, paths)
		})
	}
}

func TestHostPathWithoutATypeField(t *testing.T) {
	v := hostPath("/nothing/there", "")
	v.HostPath.Type = nil
	paths, err := newManager(t.TempDir()).Mount(t.Context(), podWith("uid", v))
	require.NoError(t, err)
	assert.Equal(t, "/nothing/there", paths["host"])
}

func TestHostPathIsCreatedWithItsRights(t *testing.T) {
	setUmask(t, 0o077)
	dir, m := t.TempDir(), newManager(t.TempDir())
	for path, want := range map[string]struct {
		kind corev1.HostPathType
		mode fs.FileMode
	}{
		filepath.Join(dir, "new/deep"): {corev1.HostPathDirectoryOrCreate, 0o755},
		filepath.Join(dir, "file"):     {corev1.HostPathFileOrCreate, 0o644},
	} {
		_, err := m.Mount(t.Context(), podWith("uid", hostPath(path, want.kind)))
		require.NoError(t, err)
		assert.Equal(t, want.mode, modeOf(t, path))
	}
}

// What becomes of a path that a running pod has is no reason not to restart its
// containers; a new start of the pod is another matter.
func TestAHostPathIsCheckedOnce(t *testing.T) {
	s, dir := newShelf(), host(t)
	local, pv := s.bind("local", corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: filepath.Join(dir, "dir")}})
	local.Spec.VolumeName, pv.Name = "pv-2", "pv-2"
	s.bind("path", corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{
		Path: filepath.Join(dir, "file"), Type: new(corev1.HostPathFile),
	}})
	s.volumes["pv-2"] = pv
	path, directory := claimed("path"), claimed("local")
	directory.Name = "local"
	pod := shopPod(hostPath(filepath.Join(dir, "socket"), corev1.HostPathSocket), path, directory)
	m := s.manager(t.TempDir())
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	for _, name := range []string{"socket", "file", "dir"} {
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
	}
	again, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, paths, again)

	require.NoError(t, m.Unmount(t.Context(), pod.UID))
	_, err = m.Mount(t.Context(), pod)
	for _, name := range []string{"socket", "file", "dir"} {
		require.ErrorContains(t, err, filepath.Join(dir, name)+": no such file")
	}
}

func TestHostPathIsNeverChangedOrRemoved(t *testing.T) {
	dir, root := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "file"))
	require.NoError(t, os.Chmod(dir, 0o700))
	m := newManager(root)
	_, err := m.Mount(t.Context(), podWith("uid", hostPath(dir, corev1.HostPathDirectoryOrCreate), emptyDir("data")))
	require.NoError(t, err)

	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
	assert.FileExists(t, filepath.Join(dir, "file"))
	assert.Equal(t, fs.FileMode(0o700), modeOf(t, dir))
}

func gidOf(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Gid }
