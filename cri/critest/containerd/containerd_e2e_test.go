//go:build linux && e2e

package containerd_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
)

func TestDaemonsRunSideBySide(t *testing.T) {
	version := containerd.Versions(t)[0]
	one, two := containerd.Start(t, version), containerd.Start(t, version)
	assert.NotEqual(t, one.Endpoint(), two.Endpoint())
	assert.NotEqual(t, runPod(t, one).address, runPod(t, two).address)
	one.Kill()
	assert.Equal(t, runtimeapi.ContainerState_CONTAINER_RUNNING, runPod(t, two).state(t, two))
}

func TestContainersOutliveAKilledDaemon(t *testing.T) {
	eachVersion(t, func(t *testing.T, daemon *containerd.Daemon) {
		pod := runPod(t, daemon)
		daemon.Kill()
		daemon.Kill()
		assert.True(t, pod.processRuns())
		_, err := net.Dial("tcp", pod.address+":1")
		assert.ErrorIs(t, err, syscall.ECONNREFUSED, "the pod is reached and refuses, as nothing listens in it")
		daemon.Restart()
		assert.Equal(t, runtimeapi.ContainerState_CONTAINER_RUNNING, pod.state(t, daemon))
	})
}

func TestContainersDoNotOutliveAReboot(t *testing.T) {
	eachVersion(t, func(t *testing.T, daemon *containerd.Daemon) {
		pod := runPod(t, daemon)
		daemon.Reboot()
		assert.False(t, pod.processRuns())
		assert.Equal(t, runtimeapi.ContainerState_CONTAINER_EXITED, pod.state(t, daemon))
		assert.NotEqual(t, pod.id, runPod(t, daemon).id)
	})
}

func TestNothingIsLeft(t *testing.T) {
	for _, version := range containerd.Versions(t) {
		var daemon *containerd.Daemon
		var pod pod
		t.Run(version, func(t *testing.T) {
			daemon = containerd.StartOn(t, version, 64<<20)
			pod = runPod(t, daemon)
			require.NotEmpty(t, traces(pod.sandbox), "what is looked for can be seen")
			require.NotEmpty(t, traces(ofPlace(daemon)...))
		})
		assert.False(t, pod.processRuns())
		assert.Empty(t, traces(pod.sandbox))
		if unlock, free := lockPlace(t, daemon); free {
			assert.Empty(t, traces(ofPlace(daemon)...))
			unlock()
		}
	}
}

func TestImagesMayHaveADiskOfTheirOwn(t *testing.T) {
	const disk, image = 64 << 20, 8 << 20
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) {
			daemon := containerd.StartOn(t, version, disk)
			client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close(context.Background()) })
			before := diskOf(t, client)
			assert.EqualValues(t, disk, before.Blocks*uint64(before.Bsize))
			daemon.Load("edged.test/large:1", image)
			assert.Greater(t, (before.Bavail-diskOf(t, client).Bavail)*uint64(before.Bsize), uint64(image))
		})
	}
}

// diskOf is the file system on which the runtime says that its images are.
func diskOf(t *testing.T, client *cri.Client) unix.Statfs_t {
	info, err := client.ImageFsInfo(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, info.GetImageFilesystems())
	var disk unix.Statfs_t
	require.NoError(t, unix.Statfs(info.GetImageFilesystems()[0].GetFsId().GetMountpoint(), &disk))
	return disk
}

// ofPlace are the words that all tell of a daemon's place: its folder, and its bridge as a link's name.
func ofPlace(daemon *containerd.Daemon) []string {
	folder := filepath.Dir(daemon.Socket())
	return []string{folder + "/", "edgede2e" + filepath.Base(folder) + ":"}
}

// lockPlace keeps others out of the place that a daemon had, unless another test has taken it already.
func lockPlace(t *testing.T, daemon *containerd.Daemon) (unlock func(), free bool) {
	lock, err := os.Open(filepath.Dir(daemon.Socket()) + ".lock")
	require.NoError(t, err)
	free = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
	return func() { lock.Close() }, free
}

// leaverVariable makes the test below, in a process of its own, the one that is killed.
const leaverVariable = "EDGED_TEST_LEAVES_DAEMON"

func TestTheNextStartClearsWhatAKilledTestLeft(t *testing.T) {
	version := containerd.Versions(t)[0]
	if file := os.Getenv(leaverVariable); file != "" {
		leave(t, containerd.Start(t, version), file)
	}
	file := filepath.Join(t.TempDir(), "left")
	leaver := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	leaver.Env = append(os.Environ(), leaverVariable+"="+file)
	require.Error(t, leaver.Run())
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	var left struct{ Socket, Process string }
	require.NoError(t, json.Unmarshal(content, &left))
	pod := pod{process: left.Process}
	require.True(t, pod.processRuns())

	// Which place is the next depends on what else runs on the machine.
	for range 10 {
		if daemon := containerd.Start(t, version); daemon.Socket() == left.Socket {
			break
		}
	}
	assert.False(t, pod.processRuns())
}

// leave starts a pod, tells of it, and ends as kill -9 does.
func leave(t *testing.T, daemon *containerd.Daemon, file string) {
	content, err := json.Marshal(map[string]string{"Socket": daemon.Socket(), "Process": runPod(t, daemon).process})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, content, 0o644))
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGKILL))
	select {}
}

func eachVersion(t *testing.T, test func(t *testing.T, daemon *containerd.Daemon)) {
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) { test(t, containerd.Start(t, version)) })
	}
}

func connect(t *testing.T, daemon *containerd.Daemon) *cri.Client {
	client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close(context.Background())) })
	return client
}

// pod is a sandbox with a host port and one container that runs.
type pod struct {
	sandbox, id, address string
	process              string // the folder of the container's process in /proc
}

// attempt keeps the names of a test's pods apart.
var attempt uint32

func runPod(t *testing.T, daemon *containerd.Daemon) pod {
	client, ctx := connect(t, daemon), t.Context()
	attempt++
	options := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
	config := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: "pod", Namespace: "e2e", Uid: "uid", Attempt: attempt},
		LogDirectory: t.TempDir(),
		PortMappings: []*runtimeapi.PortMapping{{ContainerPort: 80, HostPort: int32(28000 + attempt)}},
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: options},
		},
	}
	sandbox, err := client.RunPodSandbox(ctx, config, "")
	require.NoError(t, err)
	id, err := client.CreateContainer(ctx, sandbox, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "app", Attempt: attempt},
		Image:    &runtimeapi.ImageSpec{Image: containerd.Busybox},
		Command:  []string{"sleep", "1000"},
		Linux: &runtimeapi.LinuxContainerConfig{
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: options},
		},
	}, config)
	require.NoError(t, err)
	require.NoError(t, client.StartContainer(ctx, id))

	status, err := client.PodSandboxStatus(ctx, sandbox, false)
	require.NoError(t, err)
	verbose, err := client.ContainerStatus(ctx, id, true)
	require.NoError(t, err)
	var info struct{ Pid int }
	require.NoError(t, json.Unmarshal([]byte(verbose.GetInfo()["info"]), &info))
	p := pod{
		sandbox: sandbox, id: id, address: status.GetStatus().GetNetwork().GetIp(),
		process: "/proc/" + strconv.Itoa(info.Pid),
	}
	require.True(t, p.processRuns())
	return p
}

func (p pod) state(t *testing.T, daemon *containerd.Daemon) runtimeapi.ContainerState {
	status, err := connect(t, daemon).ContainerStatus(t.Context(), p.id, false)
	require.NoError(t, err)
	return status.GetStatus().GetState()
}

// processRuns is false for a process that has ended, whether or not its parent has taken note of it.
func (p pod) processRuns() bool {
	stat, err := os.ReadFile(filepath.Join(p.process, "stat"))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// traces are the lines in which the machine tells of a word: of processes, mounts, firewall rules, links and files.
func traces(words ...string) []string {
	var found []string
	for _, list := range []string{
		"for process in /proc/[0-9]*; do tr '\\0\\n' '  ' <$process/cmdline; echo; done",
		"cat /proc/self/mountinfo",
		"iptables-save",
		"ip address",
		"find /tmp/edged-containerd /var/lib/cni /run/containerd /run/netns /sys/fs/cgroup",
	} {
		out, _ := exec.Command("sh", "-c", list).Output()
		for line := range strings.Lines(string(out)) {
			if slices.ContainsFunc(words, func(word string) bool { return strings.Contains(line, word) }) {
				found = append(found, strings.TrimSpace(line))
			}
		}
	}
	return found
}
