//go:build linux

package containerd

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// readyTimeout bounds the wait for a daemon that serves CRI with its network ready and its images loaded.
const readyTimeout = 60 * time.Second

// Daemon is one containerd of a test. Its methods are for the test's own goroutine, as they end the test when they
// fail; they must not be called at the same time.
type Daemon struct {
	tb       testing.TB
	version  string
	install  install
	rootSize int64 // of a file system for the root folder alone; 0 for none
	slot     *slot
	exited   chan struct{} // closed when the running process has ended; nil when none was started
	process  *os.Process
}

// Start starts a containerd of the given version, one of those that Versions lists, and blocks until its runtime and
// network are ready and its images loaded, which takes a second or two. It ends the test when that fails. The daemon
// and all that it ran are gone when the test has ended.
func Start(tb testing.TB, version string) *Daemon {
	tb.Helper()
	return start(tb, version, 0)
}

// StartOn is Start with the daemon's images and writable layers on a file system of their own, which has the given size
// in bytes and is empty but for them. It is in memory, so that a Reboot, unlike one of a disk, leaves nothing of it.
func StartOn(tb testing.TB, version string, size int64) *Daemon {
	tb.Helper()
	return start(tb, version, size)
}

func start(tb testing.TB, version string, rootSize int64) *Daemon {
	tb.Helper()
	d := &Daemon{tb: tb, version: version, install: findInstall(tb), rootSize: rootSize}
	slot, err := claimSlot(d.install)
	if err != nil {
		tb.Fatalf("claim a place for containerd %s: %v", version, err)
	}
	d.slot = slot
	tb.Cleanup(d.remove)
	if err := d.prepare(); err != nil {
		tb.Fatalf("prepare containerd %s: %v", version, err)
	}
	d.Restart()
	d.load()
	return d
}

// Version returns the version as given to Start, such as "2.1".
func (d *Daemon) Version() string { return d.version }

// Socket returns the path of the CRI socket. It stays the same over Restart and Reboot.
func (d *Daemon) Socket() string { return d.slot.path("containerd.sock") }

// Endpoint returns the socket as a CRI endpoint, unix:// and its path.
func (d *Daemon) Endpoint() string { return "unix://" + d.Socket() }

// Kill ends the daemon as kill -9 does and blocks until it has ended. Shims and containers run on. Killing a daemon
// that does not run does nothing.
func (d *Daemon) Kill() {
	if d.exited == nil {
		return
	}
	_ = d.process.Kill()
	<-d.exited
	d.exited = nil
}

// Restart kills the daemon if it runs, starts it again on what is there and blocks until it is ready.
func (d *Daemon) Restart() {
	d.tb.Helper()
	d.Kill()
	if err := d.launch(); err != nil {
		d.tb.Fatalf("start containerd %s: %v", d.version, err)
	}
	d.await("is ready", d.ready)
}

// Reboot does what a power cut and the next boot do: daemon, shims and containers are gone at once, with all their
// mounts, network namespaces and links and the state folder; the root folder with images and metadata stays. The daemon
// is started again; Reboot blocks until it is ready.
func (d *Daemon) Reboot() {
	d.tb.Helper()
	d.Kill()
	if err := d.slot.powerCut(); err != nil {
		d.tb.Fatalf("cut the power of containerd %s: %v", d.version, err)
	}
	d.Restart()
}

// noRegistry makes a pull from anywhere but this machine's loopback address fail at once, as a test must not reach out:
// the proxy refuses connections.
var noRegistry = []string{
	"HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1", "NO_PROXY=",
	"http_proxy=", "https_proxy=", "no_proxy=",
}

// launch starts the process. It dies with the test process, for which the thread that started it has to stay: the
// kernel ties the two together by thread.
func (d *Daemon) launch() error {
	log, err := os.OpenFile(d.slot.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd := d.install.command(d.version, "containerd", "--config", d.slot.path("config.toml"))
	cmd.Env = append(cmd.Env, noRegistry...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	started, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer log.Close()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	d.process, d.exited = cmd.Process, exited
	return nil
}

// load brings the images in and waits until the CRI service knows them, which it learns of by an event.
func (d *Daemon) load() {
	d.tb.Helper()
	d.importImages(preloaded()...)
	d.await("has its images", has(Busybox, BusyboxEdited, Pause))
}

// Load gives the daemon an image with all that Busybox has and a file of that many bytes, which does not compress, and
// waits until it is there. The same name and size make the same image.
func (d *Daemon) Load(name string, size int64) {
	d.tb.Helper()
	d.importImages(testImage{name: name, version: name, command: []string{"sh"}, ballast: size})
	d.await("has image "+name, has(name))
}

func (d *Daemon) importImages(images ...testImage) {
	d.tb.Helper()
	archive := d.slot.path("images.tar")
	if err := writeImages(archive, d.install.tool("busybox"), images...); err != nil {
		d.tb.Fatalf("build the test images: %v", err)
	}
	defer os.Remove(archive)
	ctr := d.install.command(d.version, "ctr", "--address", d.Socket(), "--namespace", "k8s.io",
		"images", "import", "--snapshotter", d.slot.snapshotter(), archive)
	if out, err := ctr.CombinedOutput(); err != nil {
		d.tb.Fatalf("load the test images: %v: %s", err, out)
	}
}

// await polls a condition until it holds and ends the test when the daemon ends or time is over.
func (d *Daemon) await(what string, met func(context.Context, *grpc.ClientConn) error) {
	d.tb.Helper()
	conn, err := grpc.NewClient(d.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	if err != nil {
		d.tb.Fatalf("connect to containerd %s: %v", d.version, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	defer cancel()
	for {
		err := met(ctx, conn)
		if err == nil {
			return
		}
		select {
		case <-d.exited:
			d.tb.Fatalf("containerd %s ended before it %s", d.version, what)
		case <-ctx.Done():
			d.tb.Fatalf("wait until containerd %s %s: %v", d.version, what, err)
		case <-time.After(20 * time.Millisecond):
			conn.ResetConnectBackoff()
		}
	}
}

func (d *Daemon) ready(ctx context.Context, conn *grpc.ClientConn) error {
	answer, err := runtimeapi.NewRuntimeServiceClient(conn).Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return err
	}
	for _, condition := range answer.GetStatus().GetConditions() {
		if !condition.Status && (condition.Type == runtimeapi.RuntimeReady || condition.Type == runtimeapi.NetworkReady) {
			return fmt.Errorf("%s is false: %s", condition.Type, condition.Message)
		}
	}
	return nil
}

// has is the condition that the images are there.
func has(names ...string) func(context.Context, *grpc.ClientConn) error {
	return func(ctx context.Context, conn *grpc.ClientConn) error {
		images := runtimeapi.NewImageServiceClient(conn)
		for _, name := range names {
			answer, err := images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: name}})
			if err != nil {
				return err
			}
			if answer.GetImage() == nil {
				return fmt.Errorf("image %s is not there", name)
			}
		}
		return nil
	}
}

// remove leaves nothing. A failed test gets the end of the daemon's log.
func (d *Daemon) remove() {
	d.Kill()
	if d.tb.Failed() {
		d.tb.Logf("containerd %s wrote last:\n%s", d.version, d.lastLog(30))
	}
	if err := d.slot.release(); err != nil {
		d.tb.Errorf("clear away containerd %s: %v", d.version, err)
	}
}

func (d *Daemon) lastLog(lines int) string {
	log, err := os.ReadFile(d.slot.path("log"))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(log), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
