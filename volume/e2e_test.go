//go:build linux && e2e

package volume_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
	"github.com/edged-project/edged/volume"
)

// freshness is how soon a pushed change shows in a container.
const freshness = 100 * time.Millisecond

// node is a containerd with a manager of volumes beside it.
type node struct {
	*shelf
	t       *testing.T
	root    string
	client  *cri.Client
	manager *volume.Manager
	sandbox string
	config  *runtimeapi.PodSandboxConfig
	starts  uint32
}

func newNode(t *testing.T, version string) *node {
	daemon := containerd.Start(t, version)
	client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close(context.Background()) })
	n := &node{shelf: newShelf(), t: t, root: t.TempDir(), client: client}
	n.setConfigMap("settings", map[string]string{"color": "red", "size": "1"})
	n.setSecret("login", map[string][]byte{"password": []byte("confidential")})
	n.manager = n.shelf.manager(n.root)
	running(t, n.manager)
	n.config = &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "shop", Uid: "uid"},
		LogDirectory: t.TempDir(), Linux: &runtimeapi.LinuxPodSandboxConfig{},
	}
	n.sandbox, err = client.RunPodSandbox(t.Context(), n.config, "")
	require.NoError(t, err)
	return n
}

// allKinds has a volume of each kind, which its container mounts below /v.
func allKinds(hostDir string) *corev1.Pod {
	pod := shopPod(
		configMap("settings"), secret("login"), downward(labelFile("a")), projected(ofSecret("login"), ofToken("token", 600)),
		emptyDir("disk"), memory("memory", "1Mi"), hostPath(hostDir, corev1.HostPathDirectory),
	)
	pod.Labels = map[string]string{"a": "blue"}
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: new(int64(4242)), RunAsUser: new(int64(1000))}
	pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts,
		corev1.VolumeMount{Name: "v-settings", SubPath: "color"}, corev1.VolumeMount{Name: "disk", SubPath: "logs/app"})
	return pod
}

// start starts a container that sleeps, as user 1000 of the pod's group, on a root
// that is read-only. Its volumes are below /v, its parts below /part, by index.
func (n *node) start(pod *corev1.Pod) (id string) {
	ctx := n.t.Context()
	paths, err := n.manager.Mount(ctx, pod)
	require.NoError(n.t, err)
	var mounts []*runtimeapi.Mount
	for i, mount := range pod.Spec.Containers[0].VolumeMounts {
		wanted := &runtimeapi.Mount{HostPath: paths[mount.Name], ContainerPath: "/v/" + mount.Name}
		wanted.Readonly = strings.HasPrefix(mount.Name, "v-") || mount.Name == "labels" || mount.Name == "all"
		if mount.SubPath != "" {
			wanted.ContainerPath = fmt.Sprintf("/part/%d", i)
			wanted.HostPath, err = n.manager.SubPath(ctx, pod, "app", i, paths[mount.Name], mount.SubPath)
			require.NoError(n.t, err)
		}
		mounts = append(mounts, wanted)
	}
	n.starts++
	id, err = n.client.CreateContainer(ctx, n.sandbox, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "app", Attempt: n.starts},
		Image:    &runtimeapi.ImageSpec{Image: containerd.Busybox}, Command: []string{"sleep", "1000"},
		Mounts: mounts, LogPath: fmt.Sprintf("app.%d.log", n.starts),
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
			RunAsUser: &runtimeapi.Int64Value{Value: 1000}, RunAsGroup: &runtimeapi.Int64Value{Value: 1000},
			SupplementalGroups: []int64{4242}, ReadonlyRootfs: true,
		}},
	}, n.config)
	require.NoError(n.t, err)
	require.NoError(n.t, n.client.StartContainer(ctx, id))
	return id
}

func (n *node) run(id, script string) string {
	n.t.Helper()
	stdout, stderr, err := n.client.ExecSync(n.t.Context(), id, []string{"sh", "-c", script}, 20*time.Second)
	require.NoError(n.t, err, "%s%s", stdout, stderr)
	return string(stdout)
}

// inside is a path of the container as the host sees it.
func (n *node) inside(id, path string) string {
	status, err := n.client.ContainerStatus(n.t.Context(), id, true)
	require.NoError(n.t, err)
	var info struct{ PID int }
	require.NoError(n.t, json.Unmarshal([]byte(status.GetInfo()["info"]), &info))
	return fmt.Sprintf("/proc/%d/root%s", info.PID, path)
}

// end stops the pod and takes its volumes down.
func (n *node) end(pod *corev1.Pod) {
	require.NoError(n.t, n.client.StopPodSandbox(n.t.Context(), n.sandbox))
	require.NoError(n.t, n.client.RemovePodSandbox(n.t.Context(), n.sandbox))
	require.NoError(n.t, n.manager.Unmount(n.t.Context(), pod.UID))
	assert.NoDirExists(n.t, filepath.Join(n.root, "pods/uid"))
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(n.t, err)
	assert.NotContains(n.t, string(table), n.root)
}

func eachVersion(t *testing.T, test func(t *testing.T, n *node)) {
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) { test(t, newNode(t, version)) })
	}
}

func TestVolumesOfAllKindsInContainers(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *node) {
		hostDir := t.TempDir()
		write(t, filepath.Join(hostDir, "file"))
		pod := allKinds(hostDir)
		id := n.start(pod)
		out := n.run(id, `cd /v
			echo color=$(cat v-settings/color) password=$(cat v-login/password) label=$(cat labels/a) token=$(cat all/token) again=$(cat all/password)
			echo host=$(cat host/file) part=$(cat /part/7)
			for dir in v-login labels all memory disk v-settings; do echo $dir $(grep " /v/$dir " /proc/mounts | cut -d' ' -f3); done
			echo x > v-settings/new 2>/dev/null || echo read-only
			echo 1 > disk/mine && echo 1 > memory/mine && echo 1 > /part/8/mine && stat -c %g:%A disk/mine memory/mine /part/8 disk
			stat -c %u:%g:%a -L all/token v-settings/color
			touch /new 2>/dev/null || echo root is read-only`)
		for _, line := range []string{
			"color=red password=confidential label=blue token=token 1 again=confidential",
			"host=data part=red",
			"v-login tmpfs", "labels tmpfs", "all tmpfs", "memory tmpfs",
			"read-only",
			"4242:-rw-r--r--\n4242:-rw-r--r--\n4242:drwxrwsrwx\n4242:drwxrwsrwx",
			"1000:4242:640\n0:4242:644",
			"root is read-only",
		} {
			assert.Contains(t, out, line)
		}
		assert.NotContains(t, out, "disk tmpfs")
		assert.NotContains(t, out, "v-settings tmpfs")

		// What it wrote outlives it.
		require.NoError(t, n.client.StopContainer(t.Context(), id, 0))
		id = n.start(pod)
		assert.Equal(t, "1\n1\n1\n", n.run(id, "cat /v/disk/mine /v/memory/mine /v/disk/logs/app/mine"))
		n.end(pod)
		assert.FileExists(t, filepath.Join(hostDir, "file"))
	})
}

// The quickest of some pushes counts: the machine may be busy.
func TestAPushedChangeShowsInAContainer(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *node) {
		pod := allKinds(t.TempDir())
		id := n.start(pod)
		color, password := n.inside(id, "/v/v-settings/color"), n.inside(id, "/v/all/password")
		quickest := time.Hour
		for i := range 5 {
			want := fmt.Sprintf("color %d", i)
			n.setConfigMap("settings", map[string]string{"color": want})
			n.setSecret("login", map[string][]byte{"password": []byte(want)})
			start := time.Now()
			n.manager.Changed(volume.KindConfigMap, "shop", "settings")
			n.manager.Changed(volume.KindSecret, "shop", "login")
			for _, file := range []string{color, password} {
				require.Eventually(t, func() bool {
					data, err := os.ReadFile(file)
					return err == nil && string(data) == want
				}, 10*time.Second, time.Millisecond)
			}
			took := time.Since(start)
			t.Logf("a change of two objects showed in the container after %v", took)
			quickest = min(quickest, took)
		}
		assert.Less(t, quickest, freshness)
		assert.Equal(t, "color 4 red gone\n", n.run(id, "echo $(cat /v/v-settings/color) $(cat /part/7) $(cat /v/v-settings/size 2>/dev/null || echo gone)"))

		n.fail(errOffline)
		n.manager.Changed(volume.KindConfigMap, "shop", "settings")
		pod = pod.DeepCopy()
		pod.Labels["a"] = "green"
		_, err := n.manager.Mount(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, "color 4 green\n", n.run(id, "echo $(cat /v/v-settings/color) $(cat /v/labels/a)"))
		n.end(pod)
	})
}

// A container that swaps a directory for links to the host while its sub path is
// prepared gets nothing of the host's.
func TestAMaliciousContainerStaysInItsVolume(t *testing.T) {
	eachVersion(t, func(t *testing.T, n *node) {
		pod := allKinds(t.TempDir())
		pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "disk", SubPath: "later"})
		last := len(pod.Spec.Containers[0].VolumeMounts) - 1
		id := n.start(pod)
		n.run(id, `cd /v/disk && ln -s / root && ln -s /proc/1/root proc && ln -s ../../../../../.. up && mkdir -p real/etc
			(while [ ! -e stop ]; do ln -sfn / swap; rm -f swap; mkdir -p swap/etc; rm -rf swap; done) >/dev/null 2>&1 &`)
		disk := filepath.Join(n.root, "pods/uid/volumes/kubernetes.io~empty-dir/disk")
		for _, subPath := range []string{"root", "root/etc", "proc", "proc/etc", "up", "up/etc"} {
			_, err := n.manager.SubPath(t.Context(), pod, "app", last, disk, subPath)
			require.Error(t, err, subPath)
		}
		bound := 0
		for range 300 {
			part, err := n.manager.SubPath(t.Context(), pod, "app", last, disk, "swap/etc")
			if err == nil {
				bound++
				assert.NoFileExists(t, filepath.Join(part, "passwd"))
			}
		}
		t.Logf("bound %d times of 300", bound)
		n.run(id, "touch /v/disk/stop")
		n.end(pod)
		assert.FileExists(t, "/etc/passwd")
	})
}
