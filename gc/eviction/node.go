package eviction

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ImageRuntime is what is asked of a container runtime; a *cri.Client is one. The call
// bounds its own time.
type ImageRuntime interface {
	ImageFsInfo(ctx context.Context) (*runtimeapi.ImageFsInfoResponse, error)
}

// NodeConfig says what is measured. The zero value works.
type NodeConfig struct {
	// Root is a directory on the file system that nodefs.* is about. Default
	// /var/lib/edged.
	Root string
	// MemoryCgroup is the directory of the cgroup whose memory memory.available is
	// about, for an agent whose pods do not get the whole node. It is read in the
	// forms of cgroup v1 (below the memory controller) and v2. Where it has no limit,
	// or the node has less left, the node counts. Default: the node alone.
	MemoryCgroup string
	// Proc is where the kernel tells of itself. Default /proc.
	Proc string
}

// Node measures the node that the agent runs on.
type Node struct {
	runtime ImageRuntime
	cfg     NodeConfig
}

// NewNode returns a meter of this node.
func NewNode(runtime ImageRuntime, cfg NodeConfig) *Node {
	if cfg.Root == "" {
		cfg.Root = "/var/lib/edged"
	}
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	return &Node{runtime: runtime, cfg: cfg}
}

// Measure implements Meter.
func (n *Node) Measure(ctx context.Context) (map[Signal]Amount, error) {
	amounts := map[Signal]Amount{}
	memory, memoryErr := n.memory()
	if memoryErr == nil {
		amounts[MemoryAvailable] = memory
	}
	processes, pidErr := n.processes()
	if pidErr == nil {
		amounts[PIDAvailable] = processes
	}
	nodeErr := addFileSystem(amounts, n.cfg.Root, NodeFsAvailable, NodeFsInodesFree)
	mountpoint, imageErr := n.imageFs(ctx)
	if imageErr == nil {
		imageErr = addFileSystem(amounts, mountpoint, ImageFsAvailable, ImageFsInodesFree)
	}
	return amounts, errors.Join(memoryErr, pidErr, nodeErr, imageErr)
}

// OwnImageFs implements Meter. What cannot be found out is not so.
func (n *Node) OwnImageFs(ctx context.Context) bool {
	mountpoint, err := n.imageFs(ctx)
	if err != nil {
		return false
	}
	images, err := os.Stat(mountpoint)
	if err != nil {
		return false
	}
	root, err := os.Stat(n.cfg.Root)
	return err == nil && factsOf(images).device != factsOf(root).device
}

func (n *Node) imageFs(ctx context.Context) (string, error) {
	info, err := n.runtime.ImageFsInfo(ctx)
	if err != nil {
		return "", fmt.Errorf("ask where images are: %w", err)
	}
	for _, fs := range info.GetImageFilesystems() {
		if mountpoint := fs.GetFsId().GetMountpoint(); mountpoint != "" {
			return mountpoint, nil
		}
	}
	return "", errors.New("ask where images are: the runtime does not tell")
}

// memory is what is left of the node's or, if that is less, of the cgroup's.
func (n *Node) memory() (Amount, error) {
	node, err := n.nodeMemory()
	if err != nil || n.cfg.MemoryCgroup == "" {
		return node, err
	}
	cgroup, err := cgroupMemory(n.cfg.MemoryCgroup)
	if err != nil || cgroup.Capacity >= node.Capacity { // it is not limited
		return node, err
	}
	cgroup.Available = min(cgroup.Available, node.Available)
	return cgroup, nil
}

// nodeMemory is what the kernel could give without taking from what is in use: all
// that is not the working set.
func (n *Node) nodeMemory() (Amount, error) {
	file := filepath.Join(n.cfg.Proc, "meminfo")
	values, err := readTable(file)
	if err != nil {
		return Amount{}, err
	}
	total, free, cached := values["MemTotal:"], values["MemFree:"], values["Inactive(file):"]
	if total == 0 {
		return Amount{}, fmt.Errorf("%s: no MemTotal", file)
	}
	return Amount{Available: (free + cached) << 10, Capacity: total << 10}, nil
}

// cgroupMemory is what is left of a cgroup's limit. The root of version 2 has none to
// tell of, nor how much is in use.
func cgroupMemory(dir string) (Amount, error) {
	stat, err := readTable(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return Amount{}, err
	}
	limitFile, usageFile, cached := "memory.max", "memory.current", "inactive_file"
	switch has := func(file string) bool { _, err := os.Stat(filepath.Join(dir, file)); return err == nil }; {
	case has("memory.limit_in_bytes"):
		limitFile, usageFile, cached = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
	case !has(limitFile):
		return Amount{Available: math.MaxInt64, Capacity: math.MaxInt64}, nil
	}
	limit, err := readNumber(filepath.Join(dir, limitFile))
	if err != nil {
		return Amount{}, err
	}
	usage, err := readNumber(filepath.Join(dir, usageFile))
	if err != nil {
		return Amount{}, err
	}
	workingSet := max(0, usage-stat[cached])
	return Amount{Available: max(0, limit-workingSet), Capacity: limit}, nil
}

// processes are counted as the kernel limits them: threads, too, take an ID.
func (n *Node) processes() (Amount, error) {
	limit, err := readNumber(filepath.Join(n.cfg.Proc, "sys/kernel/pid_max"))
	if err != nil {
		return Amount{}, err
	}
	if threads, err := readNumber(filepath.Join(n.cfg.Proc, "sys/kernel/threads-max")); err == nil {
		limit = min(limit, threads)
	}
	file := filepath.Join(n.cfg.Proc, "loadavg")
	content, err := os.ReadFile(file)
	if err != nil {
		return Amount{}, err
	}
	// "0.20 0.18 0.12 1/80 11206": of 80, one is runnable
	fields := strings.Fields(string(content))
	if len(fields) < 4 {
		return Amount{}, fmt.Errorf("%s: %q is not understood", file, content)
	}
	_, all, _ := strings.Cut(fields[3], "/")
	running, err := strconv.ParseInt(all, 10, 64)
	if err != nil {
		return Amount{}, fmt.Errorf("%s: %w", file, err)
	}
	return Amount{Available: max(0, limit-running), Capacity: limit}, nil
}

// readNumber reads a file of one number; "max" is more than there can be.
func readNumber(file string) (int64, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(content))
	if text == "max" {
		return math.MaxInt64, nil
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return number, nil
}

// readTable reads a file of lines with a name and a number. What else there is it
// leaves out.
func readTable(file string) (map[string]int64, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	values := map[string]int64{}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		if number, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			values[fields[0]] = number
		}
	}
	return values, nil
}
