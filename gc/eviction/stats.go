package eviction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
)

// StatsRuntime is what is asked of a container runtime; a *cri.Client is one. Its
// methods bound their own time.
type StatsRuntime interface {
	ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error)
	ListPodSandboxStats(ctx context.Context, filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error)
}

// StatsConfig says where pods have their files. The zero value works.
type StatsConfig struct {
	// Root is the agent's directory, with the pods' volumes in the kubelet's layout
	// below it. Default /var/lib/edged.
	Root string
	// PodLogs is the directory of the pods' logs. Default /var/log/pods.
	PodLogs string
}

// emptyDirs is where a pod's emptyDirs are, below its directory.
const emptyDirs = "volumes/kubernetes.io~empty-dir"

// agentFiles are the hosts file and the termination messages, below a pod's directory.
var agentFiles = []string{"etc-hosts", "containers"}

// Stats tells what pods use: by the runtime's word for memory, processes and writable
// layers, and by a look into the directories of volumes and logs, and at the files of the
// agent that containers write to.
type Stats struct {
	runtime StatsRuntime
	cfg     StatsConfig
}

// NewStats returns the statistics of the runtime's containers.
func NewStats(runtime StatsRuntime, cfg StatsConfig) *Stats {
	if cfg.Root == "" {
		cfg.Root = "/var/lib/edged"
	}
	if cfg.PodLogs == "" {
		cfg.PodLogs = "/var/log/pods"
	}
	return &Stats{runtime: runtime, cfg: cfg}
}

// Usage implements PodStats.
func (s *Stats) Usage(ctx context.Context, pods []*corev1.Pod, disk bool) (map[types.UID]Usage, error) {
	used := make(map[types.UID]Usage, len(pods))
	for _, pod := range pods {
		used[pod.UID] = Usage{Containers: map[string]ContainerUsage{}, Volumes: map[string]Disk{}}
	}
	errs := []error{s.addContainers(ctx, used)}
	s.addProcesses(ctx, used)
	if disk {
		for _, pod := range pods {
			usage := used[pod.UID]
			errs = append(errs, s.addFiles(ctx, pod, &usage))
			used[pod.UID] = usage
		}
	}
	return used, errors.Join(errs...)
}

// addContainers asks for the containers themselves and not for the pods: runtimes
// know a pod's sum only when it has a cgroup.
func (s *Stats) addContainers(ctx context.Context, used map[types.UID]Usage) error {
	containers, err := s.runtime.ListContainerStats(ctx, nil)
	if err != nil {
		return fmt.Errorf("ask what containers use: %w", err)
	}
	newestFirst := func(a, b *runtimeapi.ContainerStats) int {
		return cmp.Compare(b.GetAttributes().GetMetadata().GetAttempt(), a.GetAttributes().GetMetadata().GetAttempt())
	}
	for _, c := range slices.SortedStableFunc(slices.Values(containers), newestFirst) {
		labels := c.GetAttributes().GetLabels()
		usage, ours := used[types.UID(labels[cri.LabelPodUID])]
		if !ours {
			continue
		}
		layer := Disk{
			Bytes:  int64(c.GetWritableLayer().GetUsedBytes().GetValue()),
			Inodes: int64(c.GetWritableLayer().GetInodesUsed().GetValue()),
		}
		name := labels[cri.LabelContainerName]
		sum, later := usage.Containers[name]
		sum.Memory += int64(c.GetMemory().GetWorkingSetBytes().GetValue())
		if later {
			sum.Earlier = sum.Earlier.plus(layer)
		} else {
			sum.Layer = layer
		}
		usage.Containers[name] = sum
	}
	return nil
}

// addProcesses counts processes, where the runtime does. One that does not is no
// failure: pods are then ranked by their priority only.
func (s *Stats) addProcesses(ctx context.Context, used map[types.UID]Usage) {
	sandboxes, err := s.runtime.ListPodSandboxStats(ctx, nil)
	if err != nil {
		return
	}
	for _, sandbox := range sandboxes {
		uid := types.UID(sandbox.GetAttributes().GetLabels()[cri.LabelPodUID])
		if usage, ours := used[uid]; ours {
			usage.Processes += int64(sandbox.GetLinux().GetProcess().GetProcessCount().GetValue())
			used[uid] = usage
		}
	}
}

// addFiles counts what is in the pod's emptyDirs and logs, and in the files of the agent
// that its containers mount.
func (s *Stats) addFiles(ctx context.Context, pod *corev1.Pod, usage *Usage) error {
	var errs []error
	own := filepath.Join(s.cfg.Root, "pods", string(pod.UID))
	for _, name := range agentFiles {
		found, err := diskUsage(ctx, filepath.Join(own, name))
		usage.Files = usage.Files.plus(found)
		errs = append(errs, err)
	}
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if volume.EmptyDir == nil || volume.EmptyDir.Medium != corev1.StorageMediumDefault {
			continue
		}
		found, err := diskUsage(ctx, filepath.Join(own, emptyDirs, volume.Name))
		usage.Volumes[volume.Name] = found
		errs = append(errs, err)
	}
	logs := crilog.PodDirectory(s.cfg.PodLogs, pod.Namespace, pod.Name, pod.UID)
	for _, c := range podContainers(pod) {
		found, err := diskUsage(ctx, filepath.Join(logs, crilog.ContainerDirectory(c.Name)))
		sum := usage.Containers[c.Name]
		sum.Logs = found
		usage.Containers[c.Name] = sum
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// diskUsage adds up what the files in a directory take on its file system, the
// directory included: blocks and not lengths, and a file with several names once. It
// follows no link, enters no mount, and takes what vanishes meanwhile for gone. What
// cannot be read, the error for the first of it, keeps nothing else from being counted.
func diskUsage(ctx context.Context, dir string) (Disk, error) {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Disk{}, nil
	}
	if err != nil {
		return Disk{}, fmt.Errorf("count files: %w", err)
	}
	c := counter{device: factsOf(info).device, linked: map[uint64]bool{}}
	if c.add(info) {
		c.enter(ctx, dir)
	}
	if c.failed != nil {
		return c.total, fmt.Errorf("count files in %s: %w", dir, c.failed)
	}
	return c.total, nil
}

// batch is how many entries of a directory are held at a time: a pod may have millions.
const batch = 512

// counter adds up what files take.
type counter struct {
	device uint64
	linked map[uint64]bool // the inodes with several names
	total  Disk
	failed error // the first
}

// add counts a file, and reports whether it is a directory to enter.
func (c *counter) add(info os.FileInfo) (enter bool) {
	file := factsOf(info)
	if file.device != c.device || c.linked[file.inode] {
		return false
	}
	if file.links > 1 && !info.IsDir() {
		c.linked[file.inode] = true
	}
	c.total = c.total.plus(Disk{Bytes: file.bytes, Inodes: 1})
	return info.IsDir()
}

// enter counts what is in a directory. Those in it wait until it is closed: they may be
// deeper than the agent may have files open.
func (c *counter) enter(ctx context.Context, dir string) {
	file, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0) // to open a pipe would block
	var below []string
	for err == nil {
		var entries []fs.DirEntry
		entries, err = file.ReadDir(batch)
		for _, entry := range entries {
			info, unknown := entry.Info()
			if unknown != nil {
				c.note(unknown)
			} else if c.add(info) {
				below = append(below, entry.Name())
			}
		}
		err = cmp.Or(err, ctx.Err())
	}
	c.note(err)
	_ = file.Close()
	for _, name := range below {
		if ctx.Err() != nil {
			c.note(ctx.Err())
			return
		}
		c.enter(ctx, filepath.Join(dir, name))
	}
}

// note keeps the first error that says more than that something has ended.
func (c *counter) note(err error) {
	if c.failed == nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, io.EOF) {
		c.failed = err
	}
}

// facts of a file.
type facts struct {
	device, inode, links uint64
	bytes                int64
}
