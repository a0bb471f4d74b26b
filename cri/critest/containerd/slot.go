//go:build linux

package containerd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// slotsFolder is the same for every test process of the machine, whatever its TMPDIR. Its path is short, as a unix
	// socket's path may have 107 bytes.
	slotsFolder = "/tmp/edged-containerd"
	// maxSlots is bounded by the third byte of a slot's addresses.
	maxSlots = 250
	// namespace is where the CRI service keeps its containers.
	namespace = "k8s.io"
	// cniResults is where the CNI library remembers what it set up, by network and container.
	cniResults = "/var/lib/cni/results"
)

// A slot is a number that one daemon of the machine has at a time, with the folder, the bridge and the addresses that
// follow from it. It is held by a lock on a file, which the kernel releases when the test process ends in any way. As
// all names follow from the number, the next to claim it can clear away what such a process left.
type slot struct {
	number  int
	lock    *os.File
	install install
	overlay bool // the file system allows overlay mounts
}

// claimSlot takes the first free slot and clears it.
func claimSlot(i install) (*slot, error) {
	if err := os.MkdirAll(slotsFolder, 0o755); err != nil {
		return nil, err
	}
	for number := 1; number <= maxSlots; number++ {
		s := &slot{number: number, install: i}
		lock, err := os.OpenFile(s.path("")+".lock", os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, err
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			lock.Close()
			continue
		}
		s.lock = lock
		return s, s.clear()
	}
	return nil, fmt.Errorf("all %d slots in %s are taken", maxSlots, slotsFolder)
}

// release clears the slot and leaves it to others. The empty lock file stays: removing it could give two processes a
// lock each.
func (s *slot) release() error {
	return errors.Join(s.clear(), s.lock.Close())
}

func (s *slot) path(name string) string {
	return filepath.Join(slotsFolder, strconv.Itoa(s.number), name)
}

func (s *slot) network() string { return "edged-e2e-" + strconv.Itoa(s.number) }
func (s *slot) bridge() string  { return "edgede2e" + strconv.Itoa(s.number) }
func (s *slot) subnet() string  { return fmt.Sprintf("10.213.%d.0/24", s.number) }

func (s *slot) snapshotter() string {
	if s.overlay {
		return "overlayfs"
	}
	return "native"
}

// clear removes all that is the slot's from the machine.
func (s *slot) clear() error {
	return errors.Join(s.powerCut(), s.removeResults(), os.RemoveAll(s.path("")))
}

// removeResults removes what the CNI library remembers of the pods: of the slot's network, and of the loopback network
// that every pod has and that is called the same for all.
func (s *slot) removeResults() error {
	results, err := filepath.Glob(filepath.Join(cniResults, s.network()+"-*-eth0"))
	for _, result := range results {
		pod := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(result), s.network()+"-"), "-eth0")
		loopback := os.Remove(filepath.Join(cniResults, "cni-loopback-"+pod+"-lo"))
		if errors.Is(loopback, os.ErrNotExist) {
			loopback = nil
		}
		err = errors.Join(err, loopback, os.Remove(result))
	}
	return err
}

// powerCut removes what does not outlive a boot. The shims go first, so that none can write down how its containers
// ended.
func (s *slot) powerCut() error {
	if _, err := os.Stat(s.path("")); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return errors.Join(
		s.killPrograms(),
		s.killContainers(),
		s.removeShimSockets(),
		s.unmountAll(),
		s.removeNetwork(),
		os.RemoveAll(s.path("state")),
	)
}

// killPrograms ends the daemon, the shims and the runcs that were started with a path of this slot.
func (s *slot) killPrograms() error {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, line := range lines {
		content, err := os.ReadFile(line)
		if err != nil {
			continue // the process has ended
		}
		args := strings.Split(string(content), "\x00")
		program := filepath.Base(args[0])
		ours := slices.ContainsFunc(args[1:], func(arg string) bool { return strings.HasPrefix(arg, s.path("")+"/") })
		if ours && (program == "runc" || strings.HasPrefix(program, "containerd")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(line)))
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
	return nil
}

// killContainers ends the processes of each container and removes its cgroups.
func (s *slot) killContainers() error {
	var errs []error
	states, _ := filepath.Glob(filepath.Join(s.runcRoot(), namespace, "*"))
	for _, state := range states {
		runc := exec.Command(s.install.tool("runc"), "--root", filepath.Dir(state), "delete", "--force", filepath.Base(state))
		if out, err := runc.CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("delete container %s: %w: %s", filepath.Base(state), err, out))
		}
	}
	return errors.Join(errs...)
}

func (s *slot) runcRoot() string { return s.path("state/runc") }

var shimSocket = regexp.MustCompile(`unix://(/run/containerd/s/[0-9a-f]+)`)

// removeShimSockets removes the sockets of shims that were killed. They lie in one folder for all daemons of a machine;
// which are this slot's is written in the containers' bundles.
func (s *slot) removeShimSockets() error {
	var errs []error
	for _, name := range []string{"address", "bootstrap.json"} {
		files, _ := filepath.Glob(s.path("state/io.containerd.runtime.v2.task/*/*/" + name))
		for _, file := range files {
			content, err := os.ReadFile(file)
			if match := shimSocket.FindSubmatch(content); match != nil {
				err = os.Remove(string(match[1]))
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// unmountAll unmounts everything below the slot's folder, network namespaces included, the newest first.
func (s *slot) unmountAll() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	lines := strings.Split(string(mounts), "\n")
	for _, line := range slices.Backward(lines) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], s.path("")+"/") {
			if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
				errs = append(errs, fmt.Errorf("unmount %s: %w", fields[4], err))
			}
		}
	}
	return errors.Join(errs...)
}

// removeNetwork removes the bridge and the rules of forwarded host ports. The pods' ends of their links went with their
// network namespaces.
func (s *slot) removeNetwork() error {
	if _, err := os.Stat("/sys/class/net/" + s.bridge()); err == nil {
		if out, err := exec.Command("ip", "link", "delete", s.bridge()).CombinedOutput(); err != nil {
			return fmt.Errorf("delete bridge %s: %w: %s", s.bridge(), err, out)
		}
	}
	rules, err := exec.Command("iptables-save", "-t", "nat").Output()
	if err != nil {
		return fmt.Errorf("list the firewall's rules: %w", err)
	}
	removal := removeHostPorts(string(rules), s.network())
	if removal == "" {
		return nil
	}
	restore := exec.Command("iptables-restore", "--noflush")
	restore.Stdin = bytes.NewBufferString(removal)
	if out, err := restore.CombinedOutput(); err != nil {
		return fmt.Errorf("remove the rules of host ports: %w: %s", err, out)
	}
	return nil
}

var hostPortRule = regexp.MustCompile(`(?m)^-A (CNI-HOSTPORT-DNAT .*name: \\"([^"\\]+)\\".* -j (CNI-DN-\S+))$`)

// removeHostPorts makes the input of iptables-restore that undoes what the portmap plugin did for a network, out of the
// rules that iptables-save prints; it is empty when there is nothing to undo.
func removeHostPorts(rules, network string) string {
	var removal strings.Builder
	for _, rule := range hostPortRule.FindAllStringSubmatch(rules, -1) {
		if rule[2] == network {
			fmt.Fprintf(&removal, "-D %s\n-F %s\n-X %s\n", rule[1], rule[3], rule[3])
		}
	}
	if removal.Len() == 0 {
		return ""
	}
	return "*nat\n" + removal.String() + "COMMIT\n"
}
