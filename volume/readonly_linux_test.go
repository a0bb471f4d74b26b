package volume_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// rootVariable tells the test, run again in a process of its own, where its root is.
const rootVariable = "EDGED_TEST_WRITABLE_ROOT"

// On firmware nothing can be written but below the root. The process has mounts of
// its own, of which all that are not its root are read-only.
func TestOnAReadOnlyRootFileSystem(t *testing.T) {
	if root := os.Getenv(rootVariable); root != "" {
		makeReadOnly(t, root)
		liveThere(t, root)
		return
	}
	root := mountingRoot(t)
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOnAReadOnlyRootFileSystem$", "-test.v")
	again.Env = append(os.Environ(), rootVariable+"="+root)
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	out, err := again.CombinedOutput()
	if errors.Is(err, fs.ErrPermission) {
		t.Skip("mounts of its own need CAP_SYS_ADMIN")
	}
	// Its exit code may be that of coverage data which cannot be written.
	assert.Contains(t, string(out), "\nPASS\n", "%v", err)
}

// makeReadOnly makes every mount read-only but that of the root and the kernel's own.
func makeReadOnly(t *testing.T, root string) {
	require.NoError(t, unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""))
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(table)) {
		point := strings.Fields(line)[4]
		if point != root && !strings.HasPrefix(point, "/proc") && !strings.HasPrefix(point, "/sys") {
			_ = unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
		}
	}
	require.ErrorIs(t, os.WriteFile("/written", nil, 0o600), unix.EROFS)
	require.ErrorIs(t, os.WriteFile(filepath.Join(os.TempDir(), "written"), nil, 0o600), unix.EROFS)
}

func liveThere(t *testing.T, root string) {
	s := newShelf()
	s.setConfigMap("settings", map[string]string{"a": "1"})
	s.setSecret("login", map[string][]byte{"user": []byte("me")})
	m := s.manager(root)
	pod := shopPod(configMap("settings"), secret("login"), projected(ofToken("token", 600)), downward(labelFile("a")), emptyDir("disk"), memory("memory", ""))
	paths, err := m.Mount(t.Context(), pod)
	require.NoError(t, err)
	part, err := m.SubPath(t.Context(), pod, "app", 4, paths["disk"], "logs")
	require.NoError(t, err)
	write(t, filepath.Join(part, "file"))
	s.setConfigMap("settings", map[string]string{"a": "2"})
	_, err = m.Mount(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"a": "2"}, filesIn(t, paths["v-settings"]))
	require.NoError(t, m.Unmount(t.Context(), "uid"))
	assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
}

// A look at a pod whose volumes are as they should be writes nothing, which would wake
// the disk: it succeeds where nothing can be written.
func TestAMountOfWhatIsAsItShouldBeWritesNothing(t *testing.T) {
	for name, group := range map[string]*int64{"no group": nil, "group": new(int64(4242))} {
		t.Run(name, func(t *testing.T) {
			s, root := newShelf(), mountingRoot(t)
			s.setConfigMap("settings", map[string]string{"a": "1"})
			pod := shopPod(configMap("settings"), emptyDir("disk"))
			pod.Spec.Containers[0].VolumeMounts[1].MountPath = "/v-settings/cache"
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: group}
			m := s.manager(root)
			paths, err := m.Mount(t.Context(), pod)
			require.NoError(t, err)
			require.NoError(t, unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
			again, err := m.Mount(t.Context(), pod)
			require.NoError(t, err)
			assert.Equal(t, paths, again)
			assert.Empty(t, s.told())
		})
	}
}
