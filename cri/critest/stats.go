package critest

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Usage is what a container uses of the node while it runs.
type Usage struct {
	// CPU is in billionths of a core.
	CPU uint64
	// Memory is the working set in bytes.
	Memory uint64
	// Disk is the size of the writable layer in bytes.
	Disk uint64
	// Processes is the number of processes.
	Processes uint64
}

// SetUsage sets what the container of an ID uses from now on. Without it each
// container uses a thousandth of a core and 8 MiB. The error is NotFound.
func (r *Runtime) SetUsage(containerID string, usage Usage) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := find(r.containers, containerID)
	if err != nil {
		return wrap(err, "set usage of container %q", containerID)
	}
	c.usage.set(usage, time.Now())
	return nil
}

// usageMeter adds up the CPU time of a container.
type usageMeter struct {
	custom *Usage
	used   time.Duration // CPU time up to since
	since  time.Time     // zero while the container does not run
}

// rate is what was set, or that of a process that does nothing much.
func (m *usageMeter) rate() Usage {
	if m.custom == nil {
		return Usage{CPU: 1_000_000, Memory: 8 << 20, Disk: 4 << 10, Processes: 1}
	}
	return *m.custom
}

func (m *usageMeter) cpuTime(now time.Time) time.Duration {
	if m.since.IsZero() {
		return m.used
	}
	return m.used + time.Duration(now.Sub(m.since).Seconds()*float64(m.rate().CPU))
}

func (m *usageMeter) start(now time.Time) { m.since = now }

func (m *usageMeter) stop(now time.Time) {
	m.used, m.since = m.cpuTime(now), time.Time{}
}

func (m *usageMeter) set(usage Usage, now time.Time) {
	if !m.since.IsZero() {
		m.used, m.since = m.cpuTime(now), now
	}
	m.custom = &usage
}

// containerStats are those of a container; without CPU and memory when it does
// not run.
func (r *Runtime) containerStats(c *container, now time.Time) *runtimeapi.ContainerStats {
	usage := c.usage.rate()
	stats := &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{
			Id:          c.id,
			Metadata:    c.config.GetMetadata(),
			Labels:      c.config.GetLabels(),
			Annotations: c.config.GetAnnotations(),
		},
		WritableLayer: &runtimeapi.FilesystemUsage{
			Timestamp:  now.UnixNano(),
			FsId:       &runtimeapi.FilesystemIdentifier{Mountpoint: r.imageFs.mountpoint},
			UsedBytes:  &runtimeapi.UInt64Value{Value: usage.Disk},
			InodesUsed: &runtimeapi.UInt64Value{Value: 1},
		},
	}
	if c.running() {
		stats.Cpu = cpuUsage(usage, c.usage.cpuTime(now), now)
		stats.Memory = memoryUsage(usage, now)
	}
	return stats
}

func cpuUsage(usage Usage, used time.Duration, now time.Time) *runtimeapi.CpuUsage {
	return &runtimeapi.CpuUsage{
		Timestamp:            now.UnixNano(),
		UsageCoreNanoSeconds: &runtimeapi.UInt64Value{Value: uint64(used)},
		UsageNanoCores:       &runtimeapi.UInt64Value{Value: usage.CPU},
	}
}

func memoryUsage(usage Usage, now time.Time) *runtimeapi.MemoryUsage {
	return &runtimeapi.MemoryUsage{
		Timestamp:       now.UnixNano(),
		WorkingSetBytes: &runtimeapi.UInt64Value{Value: usage.Memory},
		UsageBytes:      &runtimeapi.UInt64Value{Value: usage.Memory},
		RssBytes:        &runtimeapi.UInt64Value{Value: usage.Memory},
	}
}

// sandboxStats are those of a sandbox's containers, and their sum.
func (r *Runtime) sandboxStats(sb *sandbox, now time.Time) *runtimeapi.PodSandboxStats {
	var total Usage
	var cpuTime time.Duration
	linux := &runtimeapi.LinuxPodSandboxStats{}
	for _, c := range sb.containers {
		cpuTime += c.usage.cpuTime(now)
		if c.running() || r.cfg.Profile.listsStatsOfAll() {
			linux.Containers = append(linux.Containers, r.containerStats(c, now))
		}
		if c.running() {
			usage := c.usage.rate()
			total.CPU += usage.CPU
			total.Memory += usage.Memory
			total.Processes += usage.Processes
		}
	}
	linux.Cpu, linux.Memory = cpuUsage(total, cpuTime, now), memoryUsage(total, now)
	linux.Process = &runtimeapi.ProcessUsage{
		Timestamp:    now.UnixNano(),
		ProcessCount: &runtimeapi.UInt64Value{Value: total.Processes},
	}
	if !sb.hostNetwork() {
		linux.Network = &runtimeapi.NetworkUsage{
			Timestamp: now.UnixNano(),
			DefaultInterface: &runtimeapi.NetworkInterfaceUsage{
				Name:    "eth0",
				RxBytes: &runtimeapi.UInt64Value{}, RxErrors: &runtimeapi.UInt64Value{},
				TxBytes: &runtimeapi.UInt64Value{}, TxErrors: &runtimeapi.UInt64Value{},
			},
		}
	}
	return &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{
			Id:          sb.id,
			Metadata:    sb.config.GetMetadata(),
			Labels:      sb.config.GetLabels(),
			Annotations: sb.config.GetAnnotations(),
		},
		Linux: linux,
	}
}

func (s *service) ContainerStats(_ context.Context, req *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	c, err := find(s.r.containers, req.GetContainerId())
	if err != nil {
		return nil, wrap(err, "failed to find container")
	}
	if !c.running() {
		return nil, failed("unexpected metrics response: []")
	}
	return &runtimeapi.ContainerStatsResponse{Stats: s.r.containerStats(c, time.Now())}, nil
}

func (r *Runtime) listContainerStats(filter *runtimeapi.ContainerStatsFilter) []*runtimeapi.ContainerStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var stats []*runtimeapi.ContainerStats
	for _, c := range r.selectedContainers(selector{id: filter.GetId(), sandboxID: filter.GetPodSandboxId(), labels: filter.GetLabelSelector()}) {
		if c.running() || r.cfg.Profile.listsStatsOfAll() {
			stats = append(stats, r.containerStats(c, now))
		}
	}
	return stats
}

func (s *service) ListContainerStats(_ context.Context, req *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	return &runtimeapi.ListContainerStatsResponse{Stats: s.r.listContainerStats(req.GetFilter())}, nil
}

func (s *service) StreamContainerStats(req *runtimeapi.StreamContainerStatsRequest, stream runtimeapi.RuntimeService_StreamContainerStatsServer) error {
	return inParts(s.r.listContainerStats(req.GetFilter()), func(part []*runtimeapi.ContainerStats) error {
		return stream.Send(&runtimeapi.StreamContainerStatsResponse{ContainerStats: part})
	})
}

// podStats are those of a sandbox that is ready and has a cgroup to read from.
func (r *Runtime) podStats(sb *sandbox, now time.Time) (*runtimeapi.PodSandboxStats, error) {
	if !sb.ready {
		return nil, status.Errorf(codes.Unavailable, "failed to get pod sandbox stats since sandbox container %q is not in ready state: unavailable", sb.id)
	}
	if sb.config.GetLinux().GetCgroupParent() == "" {
		return nil, failed("failed getting metrics for sandbox %s: failed to get cgroup metrics for sandbox %s because cgroupPath is empty", sb.id, sb.id)
	}
	return r.sandboxStats(sb, now), nil
}

func (s *service) PodSandboxStats(_ context.Context, req *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	sb, err := find(s.r.sandboxes, req.GetPodSandboxId())
	if err != nil {
		return nil, wrap(err, "an error occurred when trying to find sandbox %s", req.GetPodSandboxId())
	}
	stats, err := s.r.podStats(sb, time.Now())
	if err != nil {
		return nil, wrap(err, "failed to decode pod sandbox metrics %s", req.GetPodSandboxId())
	}
	return &runtimeapi.PodSandboxStatsResponse{Stats: stats}, nil
}

// listSandboxStats skips sandboxes that are not ready, and fails as a whole for
// any other without stats.
func (r *Runtime) listSandboxStats(filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var list []*runtimeapi.PodSandboxStats
	for _, sb := range r.selectedSandboxes(selector{id: filter.GetId(), labels: filter.GetLabelSelector()}) {
		stats, err := r.podStats(sb, now)
		if status.Code(err) == codes.Unavailable {
			continue
		}
		if err != nil {
			return nil, wrap(err, "failed to decode sandbox container metrics for sandbox %q", sb.id)
		}
		list = append(list, stats)
	}
	return list, nil
}

func (s *service) ListPodSandboxStats(_ context.Context, req *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	stats, err := s.r.listSandboxStats(req.GetFilter())
	return &runtimeapi.ListPodSandboxStatsResponse{Stats: stats}, err
}

func (s *service) StreamPodSandboxStats(req *runtimeapi.StreamPodSandboxStatsRequest, stream runtimeapi.RuntimeService_StreamPodSandboxStatsServer) error {
	stats, err := s.r.listSandboxStats(req.GetFilter())
	if err != nil {
		return err
	}
	return inParts(stats, func(part []*runtimeapi.PodSandboxStats) error {
		return stream.Send(&runtimeapi.StreamPodSandboxStatsResponse{PodSandboxStats: part})
	})
}
