//go:build linux

package containerd

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// prepare writes what the daemon reads at its start.
func (d *Daemon) prepare() error {
	for _, folder := range []string{"root", "state", "cni"} {
		if err := os.MkdirAll(d.slot.path(folder), 0o755); err != nil {
			return err
		}
	}
	if d.rootSize > 0 {
		if err := unix.Mount("tmpfs", d.slot.path("root"), "tmpfs", 0, fmt.Sprintf("size=%d", d.rootSize)); err != nil {
			return fmt.Errorf("mount a file system for images: %w", err)
		}
	}
	d.slot.overlay = overlayWorks(d.slot.path("root/overlay"))
	for name, content := range map[string]string{
		"config.toml":            d.slot.daemonConfig(),
		"cni/10-bridge.conflist": d.slot.cniConfig(),
	} {
		if err := os.WriteFile(d.slot.path(name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// overlayWorks tries an overlay mount in the file system of the given folder, which it makes and removes: an overlay
// on an overlay, as inside of a container, is refused.
func overlayWorks(folder string) bool {
	defer os.RemoveAll(folder)
	lower, upper, work, merged := filepath.Join(folder, "lower"), filepath.Join(folder, "upper"),
		filepath.Join(folder, "work"), filepath.Join(folder, "merged")
	for _, sub := range []string{lower, upper, work, merged} {
		if os.MkdirAll(sub, 0o755) != nil {
			return false
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	if unix.Mount("overlay", merged, "overlay", 0, options) != nil {
		return false
	}
	return unix.Unmount(merged, 0) == nil
}

// daemonConfig is a version 2 configuration, which every supported containerd reads; 2.x translates it.
// restrict_oom_score_adj lets sandboxes start without CAP_SYS_RESOURCE. NRI and the folder of optional plugins are off,
// as they have fixed paths of the machine's.
func (s *slot) daemonConfig() string {
	return fmt.Sprintf(`version = 2
root = %[1]q
state = %[2]q
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
  address = %[3]q

[plugins."io.containerd.nri.v1.nri"]
  disable = true

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[4]q
  restrict_oom_score_adj = true
  disable_tcp_service = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %[5]q
    conf_dir = %[6]q

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = %[7]q
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = %[8]q
`, s.path("root"), s.path("state"), s.path("containerd.sock"), Pause,
		s.install.cni(), s.path("cni"), s.snapshotter(), s.runcRoot())
}

// cniConfig is a bridge that the host reaches, without masquerading. The leases lie in the slot's folder and outlive a
// reboot, as the machine's do.
func (s *slot) cniConfig() string {
	return fmt.Sprintf(`{
  "cniVersion": "0.4.0",
  "name": %q,
  "plugins": [
    {"type": "bridge", "bridge": %q, "isGateway": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": %q}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, s.network(), s.bridge(), s.subnet(), s.path("ipam"))
}
