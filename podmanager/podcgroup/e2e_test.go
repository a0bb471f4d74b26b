//go:build linux && e2e

package podcgroup_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
	"github.com/edged-project/edged/podmanager/podcgroup"
	"github.com/edged-project/edged/podmanager/podspec"
)

// mount is where the node's cgroups are.
const mount = "/sys/fs/cgroup"

// A pod of each class runs in its cgroup, which limits it, lets the runtime tell
// what it uses, and is gone after it.
func TestPodsOnContainerdRunInTheirCgroups(t *testing.T) {
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) {
			daemon := containerd.Start(t, version)
			client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close(context.Background()) })
			root := fmt.Sprintf("/edged-podcgroup-%d-%s", os.Getpid(), version)
			t.Cleanup(func() { removeRoot(t, root) })
			m := podcgroup.New(client, podcgroup.Config{Root: root})
			for class, pod := range map[string]*corev1.Pod{
				"guaranteed": guaranteed("uid-g"),
				"burstable":  podOf("uid-b", "cpu=250m", "memory=128Mi"),
				"besteffort": podOf("uid-e", "", ""),
			} {
				t.Run(class, func(t *testing.T) { runInCgroup(t, client, m, pod, root) })
			}
		})
	}
}

func runInCgroup(t *testing.T, client *cri.Client, m *podcgroup.Manager, pod *corev1.Pod, root string) {
	ctx := t.Context()
	pod.Name, pod.Spec.Containers[0].Image = strings.ToLower(string(pod.UID)), containerd.Busybox
	pod.Spec.Containers[0].Command = []string{"sleep", "100000"}
	require.Empty(t, podspec.Complete(pod))
	parent, err := m.Ensure(ctx, pod)
	require.NoError(t, err)
	require.Contains(t, parent, root+"/kubepods")

	sandbox, err := podspec.Sandbox(pod, podspec.SandboxOptions{LogRoot: t.TempDir(), CgroupParent: parent})
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(sandbox.LogDirectory, "app"), 0o755))
	sandboxID, err := client.RunPodSandbox(ctx, sandbox, "")
	require.NoError(t, err)
	config, err := podspec.Container(pod, &pod.Spec.Containers[0], podspec.ContainerOptions{
		Image: &runtimeapi.Image{Id: containerd.Busybox}, MemoryCapacity: 1 << 30,
	})
	require.NoError(t, err)
	id, err := client.CreateContainer(ctx, sandboxID, config, sandbox)
	require.NoError(t, err)
	require.NoError(t, client.StartContainer(ctx, id))

	memoryFiles, err := filepath.Glob(mount + "/memory" + parent + "/*/cgroup.procs")
	require.NoError(t, err)
	unified, err := filepath.Glob(mount + parent + "/*/cgroup.procs")
	require.NoError(t, err)
	assert.Len(t, append(memoryFiles, unified...), 2, "the sandbox and the container are in it")
	want, err := podspec.PodResources(pod)
	require.NoError(t, err)
	if _, err := os.Stat(mount + "/memory"); err == nil {
		assert.Equal(t, fmt.Sprint(want.CpuShares), content(t, "cpu"+parent+"/cpu.shares"))
		if want.CpuQuota > 0 {
			assert.Equal(t, fmt.Sprint(want.CpuQuota), content(t, "cpu"+parent+"/cpu.cfs_quota_us"))
		}
		if want.MemoryLimitInBytes > 0 {
			assert.Equal(t, fmt.Sprint(want.MemoryLimitInBytes), content(t, "memory"+parent+"/memory.limit_in_bytes"))
		}
	} else if want.MemoryLimitInBytes > 0 {
		assert.Equal(t, fmt.Sprint(want.MemoryLimitInBytes), content(t, parent+"/memory.max"))
	}
	require.Eventually(t, func() bool {
		stats, err := client.PodSandboxStats(ctx, sandboxID)
		return err == nil && stats.GetLinux().GetMemory().GetUsageBytes().GetValue() > 0 &&
			stats.GetLinux().GetCpu().GetUsageCoreNanoSeconds().GetValue() > 0
	}, 20*time.Second, 100*time.Millisecond, "the runtime tells what the pod uses")

	require.ErrorContains(t, m.Remove(ctx, pod.UID), "busy", "something runs in it")
	status, err := client.ContainerStatus(ctx, id, false)
	require.NoError(t, err)
	require.Equal(t, runtimeapi.ContainerState_CONTAINER_RUNNING, status.GetStatus().GetState(), "nothing was killed")
	require.NoError(t, client.StopContainer(ctx, id, 0))
	require.NoError(t, client.StopPodSandbox(ctx, sandboxID))
	require.NoError(t, m.Remove(ctx, pod.UID))
	assert.Empty(t, left(t, parent, pod.UID))
	require.NoError(t, client.RemovePodSandbox(ctx, sandboxID))
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(mount, path))
	require.NoError(t, err)
	return strings.TrimSpace(string(text))
}

// left are the cgroups of the pod that there are in any hierarchy.
func left(t *testing.T, parent string, uid types.UID) []string {
	t.Helper()
	require.Contains(t, parent, string(uid))
	found, err := filepath.Glob(mount + "/*" + parent)
	require.NoError(t, err)
	unified, err := filepath.Glob(mount + parent)
	require.NoError(t, err)
	return append(found, unified...)
}

// removeRoot removes what is above the pods.
func removeRoot(t *testing.T, root string) {
	roots, err := filepath.Glob(mount + "/*" + root)
	require.NoError(t, err)
	for _, dir := range append(roots, mount+root) {
		for _, cgroup := range []string{"kubepods/burstable", "kubepods/besteffort", "kubepods", ""} {
			if err := os.Remove(filepath.Join(dir, cgroup)); !os.IsNotExist(err) {
				assert.NoError(t, err)
			}
		}
	}
}
