//go:build linux && e2e

package csi_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
	"github.com/edged-project/edged/volume"
	"github.com/edged-project/edged/volume/csi"
	"github.com/edged-project/edged/volume/csi/csitest"
)

// driverRoot is the variable that makes TestDriverProcess the driver of a test.
const driverRoot = "EDGED_CSI_DRIVER_ROOT"

func TestDriverProcess(t *testing.T) {
	root := os.Getenv(driverRoot)
	if root == "" {
		t.Skip("it is no test but a process that tests start")
	}
	require.NoError(t, csitest.Run(context.Background(), csitest.Config{
		Name: "disk.example.org", NodeID: "n1", Data: filepath.Join(root, "data"),
		Socket: filepath.Join(root, "csi.sock"), Registry: filepath.Join(root, "plugins_registry/disk-reg.sock"),
	}))
}

func TestPodsOnContainerdUseVolumes(t *testing.T) {
	for _, version := range containerd.Versions(t) {
		t.Run(version, func(t *testing.T) {
			daemon := containerd.Start(t, version)
			client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close(context.Background()) })
			node := newNode(t, client)
			usesVolumes(t, node)
		})
	}
}

func usesVolumes(t *testing.T, n *node) {
	kill := n.startDriver()
	stop := n.startPlugin()
	n.await()
	n.create("shared")
	writer, reader, guest := n.claimed("writer", "shared"), n.claimed("reader", "shared"), n.claimed("guest", "shared")
	scratch := n.inlined("writer")
	guest.ReadOnly = true
	for _, v := range []*volume.Volume{writer, reader, guest, scratch} {
		require.NoError(t, n.mount(v))
	}
	assert.Zero(t, n.run("echo of the writer >/data/file && echo 1 >/scratch/file && ls /data /scratch", writer, scratch))
	assert.Zero(t, n.run("grep writer /data/file && echo of the reader >>/data/file && ! test -e /scratch", reader))
	assert.Zero(t, n.run("grep reader /data/file && ! touch /data/new", guest))

	// Neither the driver nor the agent is needed by pods that have their volumes.
	kill()
	stop()
	stop = n.startPlugin()
	assert.Zero(t, n.run("grep reader /data/file && echo more >>/data/file", writer))
	require.NoError(t, n.mount(writer), "a pod's next sync")
	require.ErrorIs(t, n.Unmount(t.Context(), "writer", writer.Dir), csi.ErrNotRegistered)
	require.ErrorIs(t, n.mount(n.claimed("late", "shared")), csi.ErrNotRegistered)
	require.NoError(t, os.Remove(filepath.Dir(n.claimed("late", "shared").Dir)))

	kill = n.startDriver()
	n.await()
	require.NoError(t, n.unmount(writer))
	require.NoError(t, n.unmount(scratch))
	assert.Zero(t, n.run("grep more /data/file", reader), "it has kept its volume")
	require.NoError(t, n.unmount(reader))
	require.NoError(t, n.unmount(guest))
	assert.Empty(t, n.mounts())
	assert.Empty(t, n.remains())
	volumes, err := os.ReadDir(filepath.Join(n.cfg.Root, "data"))
	require.NoError(t, err)
	assert.Len(t, volumes, 1, "the inline volume is gone, the other one is not")

	again := n.claimed("next", "shared")
	require.NoError(t, n.mount(again))
	assert.Zero(t, n.run("grep writer /data/file && grep more /data/file", again), "what was written stays")
	require.NoError(t, n.unmount(again))
	assert.Empty(t, n.mounts())
	stop()
	kill()
}

// A driver that dies at any moment of a step leaves nothing that the next one does
// not take down.
func TestDriverIsKilledAgainAndAgain(t *testing.T) {
	n := newNode(t, nil)
	stop := n.startPlugin()
	defer stop()
	for i := range 10 {
		kill := n.startDriver()
		n.await()
		n.create("shared")
		timer := time.AfterFunc(time.Duration(i)*500*time.Microsecond, kill)
		v := n.claimed("a", "shared")
		_ = n.mount(v)
		timer.Stop()
		kill()
		kill = n.startDriver()
		n.await()
		require.Eventually(t, func() bool { return n.unmount(v) == nil }, 30*time.Second, 10*time.Millisecond)
		assert.Empty(t, n.mounts())
		assert.Empty(t, n.remains())
		kill()
	}
}

// node is a root with the plugin, and a driver in a process of its own.
type node struct {
	site
	client  *cri.Client
	changed chan struct{}
}

func newNode(t *testing.T, client *cri.Client) *node {
	root, err := os.MkdirTemp("", "csi") //nolint:usetesting // short, as paths of sockets must be
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(root)) })
	// What a failed test leaves mounted goes with this mount.
	require.NoError(t, unix.Mount("tmpfs", root, "tmpfs", 0, "size=16m"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(root, unix.MNT_DETACH)) })
	require.NoError(t, os.Mkdir(filepath.Join(root, "plugins_registry"), 0o750))
	n := &node{client: client, changed: make(chan struct{}, 100)}
	n.t = t
	n.cfg = csi.Config{Root: root, NodeName: "node", Changed: func() { n.changed <- struct{}{} }, Driver: func(string) csi.DriverSpec {
		return csi.DriverSpec{VolumeLifecycleModes: []csi.LifecycleMode{csi.Persistent, csi.Ephemeral}, PodInfoOnMount: true}
	}}
	return n
}

// startDriver starts the driver's process; what it returns ends it as kill -9 does.
func (n *node) startDriver() (kill func()) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestDriverProcess$")
	cmd.Env = append(os.Environ(), driverRoot+"="+n.cfg.Root)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(n.t, cmd.Start())
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	n.t.Cleanup(kill)
	return kill
}

// startPlugin runs a new plugin, which knows nothing but what is on disk.
func (n *node) startPlugin() (stop func()) {
	n.restart()
	plugin := n.Plugin
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- plugin.Run(ctx) }()
	stop = func() {
		cancel()
		require.NoError(n.t, <-ended)
		ended <- nil
	}
	n.t.Cleanup(stop)
	return stop
}

// await waits for a driver that answers.
func (n *node) await() {
	require.Eventually(n.t, func() bool {
		drivers := n.Drivers()
		if len(drivers) != 1 {
			return false
		}
		conn, err := grpc.NewClient("unix:"+drivers[0].Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(n.t, err)
		defer conn.Close()
		_, err = csipb.NewIdentityClient(conn).Probe(n.t.Context(), &csipb.ProbeRequest{})
		return err == nil
	}, 30*time.Second, 20*time.Millisecond, "the driver is registered")
}

// create makes a volume, which is a controller's task.
func (n *node) create(name string) {
	conn, err := grpc.NewClient("unix:"+filepath.Join(n.cfg.Root, "csi.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(n.t, err)
	defer conn.Close()
	_, err = csipb.NewControllerClient(conn).CreateVolume(n.t.Context(), &csipb.CreateVolumeRequest{
		Name: name, VolumeCapabilities: []*csipb.VolumeCapability{{}},
	})
	require.NoError(n.t, err)
}

// run runs a container with the volumes, at /data and /scratch, and returns its exit
// code.
func (n *node) run(script string, volumes ...*volume.Volume) int32 {
	n.t.Helper()
	ctx, uid := n.t.Context(), string(volumes[0].Pod.UID)
	sandbox := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: uid, Namespace: "shop", Uid: uid},
		LogDirectory: n.t.TempDir(),
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE},
		}},
	}
	sandboxID, err := n.client.RunPodSandbox(ctx, sandbox, "")
	require.NoError(n.t, err)
	config := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "app"}, Image: &runtimeapi.ImageSpec{Image: containerd.Busybox},
		Command: []string{"sh", "-c", script}, LogPath: "app.log",
		Linux: &runtimeapi.LinuxContainerConfig{},
	}
	for _, v := range volumes {
		config.Mounts = append(config.Mounts, &runtimeapi.Mount{ContainerPath: "/" + v.Spec.Name, HostPath: filepath.Join(v.Dir, "mount")})
	}
	id, err := n.client.CreateContainer(ctx, sandboxID, config, sandbox)
	require.NoError(n.t, err)
	require.NoError(n.t, n.client.StartContainer(ctx, id))
	var code int32
	require.Eventually(n.t, func() bool {
		answer, err := n.client.ContainerStatus(ctx, id, false)
		code = answer.GetStatus().GetExitCode()
		return err == nil && answer.GetStatus().GetState() == runtimeapi.ContainerState_CONTAINER_EXITED
	}, time.Minute, 20*time.Millisecond)
	if log, err := os.ReadFile(filepath.Join(sandbox.LogDirectory, "app.log")); code != 0 && err == nil {
		n.t.Logf("%s: %s", script, log)
	}
	require.NoError(n.t, n.client.StopPodSandbox(ctx, sandboxID))
	require.NoError(n.t, n.client.RemovePodSandbox(ctx, sandboxID))
	return code
}

// mounts returns what is mounted below the root.
func (n *node) mounts() []string {
	table, err := os.Open("/proc/self/mountinfo")
	require.NoError(n.t, err)
	defer table.Close()
	var found []string
	for lines := bufio.NewScanner(table); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); strings.HasPrefix(fields[4], n.cfg.Root+"/") {
			found = append(found, fields[4])
		}
	}
	return found
}
