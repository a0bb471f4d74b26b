package critest

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What containerd says of the ends that it makes up itself.
const (
	reasonCompleted  = "Completed"
	reasonError      = "Error"
	reasonStartError = "StartError"
	reasonUnknown    = "Unknown"
	reasonOOMKilled  = "OOMKilled"

	exitStartError = 128
	exitKilled     = 137
	exitUnknown    = 255
)

// container is one container. Runtime.mu guards it.
type container struct {
	id, name  string
	sandbox   *sandbox
	config    *runtimeapi.ContainerConfig
	logPath   string
	imageID   string
	resources *runtimeapi.LinuxContainerResources
	usage     usageMeter

	createdAt, startedAt, finishedAt int64 // Unix nanoseconds, 0 for not yet
	exitCode                         int32
	reason, message                  string
	unknown                          bool // the state could not be read
	starting                         bool // a StartContainer is under way
	lost                             bool // it ended and the runtime has yet to find out

	process
}

func (c *container) state() runtimeapi.ContainerState {
	switch {
	case c.unknown:
		return runtimeapi.ContainerState_CONTAINER_UNKNOWN
	case c.finishedAt != 0:
		return runtimeapi.ContainerState_CONTAINER_EXITED
	case c.startedAt != 0:
		return runtimeapi.ContainerState_CONTAINER_RUNNING
	}
	return runtimeapi.ContainerState_CONTAINER_CREATED
}

func (c *container) running() bool {
	return c.state() == runtimeapi.ContainerState_CONTAINER_RUNNING
}

func (s *service) CreateContainer(_ context.Context, req *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	s.r.mu.Lock()
	defer s.r.unlock()
	c, err := s.r.addContainer(req)
	if err != nil {
		return nil, err
	}
	s.r.emit(c.sandbox, c.id, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	return &runtimeapi.CreateContainerResponse{ContainerId: c.id}, nil
}

func (r *Runtime) addContainer(req *runtimeapi.CreateContainerRequest) (*container, error) {
	sb, err := find(r.sandboxes, req.GetPodSandboxId())
	if err != nil {
		return nil, wrap(err, "failed to find sandbox id %q", req.GetPodSandboxId())
	}
	if !sb.ready && !r.cfg.Profile.fillsStopped() {
		return nil, status.Error(codes.NotFound, "failed to get sandbox container task: no running task found")
	}
	config := req.GetConfig()
	if config.GetMetadata() == nil {
		return nil, failed("container config must include metadata")
	}
	sandboxConfig := req.GetSandboxConfig()
	if sandboxConfig.GetMetadata() == nil {
		sandboxConfig = sb.config
	}
	c := &container{
		id:        r.newID(),
		name:      containerName(config, sandboxConfig),
		sandbox:   sb,
		config:    config,
		logPath:   logPath(config, sandboxConfig),
		resources: mergeResources(nil, config.GetLinux().GetResources()),
		process:   process{done: make(chan struct{})},
	}
	if err := r.reserve("container", c.name, c.id); err != nil {
		return nil, err
	}
	image, err := r.images.find(config.GetImage().GetImage())
	if err != nil {
		delete(r.names, c.name)
		return nil, wrap(err, "failed to resolve image %q", config.GetImage().GetImage())
	}
	c.imageID = image.id
	c.createdAt = r.creationTime(c)
	r.containers[c.id] = c
	sb.containers = append(sb.containers, c)
	return c, nil
}

func containerName(config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) string {
	metadata, pod := config.GetMetadata(), sandboxConfig.GetMetadata()
	return fmt.Sprintf("%s_%s_%s_%s_%d", metadata.GetName(), pod.GetName(), pod.GetNamespace(), pod.GetUid(), metadata.GetAttempt())
}

func logPath(config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) string {
	if sandboxConfig.GetLogDirectory() == "" || config.GetLogPath() == "" {
		return ""
	}
	return filepath.Join(sandboxConfig.GetLogDirectory(), config.GetLogPath())
}

// creationTime is now, or just after the creation of the newest container of
// the same pod and name: a real clock moves on between two creations, a virtual
// one need not.
func (r *Runtime) creationTime(c *container) int64 {
	created := time.Now().UnixNano()
	for _, other := range r.containers {
		if other.sandbox.uid() == c.sandbox.uid() && other.config.GetMetadata().GetName() == c.config.GetMetadata().GetName() {
			created = max(created, other.createdAt+1)
		}
	}
	return created
}

// StopContainer asks the process to end, waits for it for the timeout, kills
// it if need be and waits for its end.
func (s *service) StopContainer(ctx context.Context, req *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	s.r.mu.Lock()
	c, err := find(s.r.containers, req.GetContainerId())
	if err == nil && req.GetTimeout() > 0 {
		s.r.terminate(c)
	}
	s.r.unlock()
	if isNotFound(err) && s.r.cfg.Profile.stopsUnknown() {
		return &runtimeapi.StopContainerResponse{}, nil
	}
	if err != nil {
		return nil, wrap(err, "an error occurred when try to find container %q", req.GetContainerId())
	}
	if err := s.r.awaitEnd(ctx, c, time.Duration(req.GetTimeout())*time.Second); err != nil {
		return nil, err
	}
	return &runtimeapi.StopContainerResponse{}, nil
}

func (s *service) RemoveContainer(_ context.Context, req *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	s.r.mu.Lock()
	defer s.r.unlock()
	c, err := find(s.r.containers, req.GetContainerId())
	if isNotFound(err) {
		return &runtimeapi.RemoveContainerResponse{}, nil
	}
	if err != nil {
		return nil, wrap(err, "an error occurred when try to find container %q", req.GetContainerId())
	}
	s.r.kill(c)
	if err := s.r.removeContainer(c); err != nil {
		return nil, failed("failed to set removing state for container %q: %v", c.id, err)
	}
	return &runtimeapi.RemoveContainerResponse{}, nil
}

// removeContainer forgets a container that does not run.
func (r *Runtime) removeContainer(c *container) error {
	if c.starting {
		return fmt.Errorf("container is in starting state, can't be removed")
	}
	r.dropContainer(c)
	r.emit(c.sandbox, c.id, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	return nil
}

func (r *Runtime) dropContainer(c *container) {
	c.halt()
	delete(r.names, c.name)
	delete(r.containers, c.id)
	c.sandbox.containers = slices.DeleteFunc(c.sandbox.containers, func(other *container) bool { return other == c })
}

func (s *service) ContainerStatus(_ context.Context, req *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	c, err := find(s.r.containers, req.GetContainerId())
	if err != nil {
		return nil, wrap(err, "an error occurred when try to find container %q", req.GetContainerId())
	}
	return &runtimeapi.ContainerStatusResponse{Status: s.r.containerStatus(c)}, nil
}

func (r *Runtime) containerStatus(c *container) *runtimeapi.ContainerStatus {
	image, ref := r.imageOf(c)
	status := &runtimeapi.ContainerStatus{
		Id:          c.id,
		Metadata:    c.config.GetMetadata(),
		State:       c.state(),
		CreatedAt:   c.createdAt,
		Image:       image,
		ImageRef:    ref,
		ExitCode:    c.exitCode,
		Reason:      c.endReason(),
		Message:     c.message,
		Labels:      c.config.GetLabels(),
		Annotations: c.config.GetAnnotations(),
		Mounts:      c.config.GetMounts(),
		LogPath:     c.logPath,
		Resources:   &runtimeapi.ContainerResources{Linux: c.resources},
	}
	if status.State != runtimeapi.ContainerState_CONTAINER_CREATED {
		status.StartedAt = c.startedAt
	}
	if status.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		status.FinishedAt = c.finishedAt
	}
	if r.cfg.Profile != Containerd16 {
		status.User = c.user()
	}
	if r.cfg.Profile == Newest {
		status.ImageId = c.imageID
		status.StopSignal = c.config.GetStopSignal()
	}
	return status
}

// imageOf tells the image of a container as a status does: by its first tag,
// and by the digest that it has in its registry.
func (r *Runtime) imageOf(c *container) (spec *runtimeapi.ImageSpec, ref string) {
	spec, ref = c.config.GetImage(), c.imageID
	image, ok := r.images.byID[c.imageID]
	if !ok {
		return spec, ref
	}
	if len(image.tags) > 0 {
		spec = &runtimeapi.ImageSpec{Image: image.tags[0]}
	}
	if len(image.digests) > 0 {
		ref = image.digests[0]
	}
	return spec, ref
}

func (c *container) endReason() string {
	if c.reason != "" || c.state() != runtimeapi.ContainerState_CONTAINER_EXITED {
		return c.reason
	}
	if c.exitCode == 0 {
		return reasonCompleted
	}
	return reasonError
}

func (c *container) user() *runtimeapi.ContainerUser {
	security := c.config.GetLinux().GetSecurityContext()
	return &runtimeapi.ContainerUser{Linux: &runtimeapi.LinuxContainerUser{
		Uid:                security.GetRunAsUser().GetValue(),
		Gid:                security.GetRunAsGroup().GetValue(),
		SupplementalGroups: security.GetSupplementalGroups(),
	}}
}

func (r *Runtime) containerItem(c *container) *runtimeapi.Container {
	item := &runtimeapi.Container{
		Id:           c.id,
		PodSandboxId: c.sandbox.id,
		Metadata:     c.config.GetMetadata(),
		Image:        c.config.GetImage(),
		ImageRef:     c.imageID,
		State:        c.state(),
		CreatedAt:    c.createdAt,
		Labels:       c.config.GetLabels(),
		Annotations:  c.config.GetAnnotations(),
	}
	switch r.cfg.Profile {
	case Newest:
		item.ImageId = c.imageID
	case Containerd16: // it does not know the other fields
		item.Image = &runtimeapi.ImageSpec{Image: item.Image.GetImage()}
	}
	return item
}

func (s *service) UpdateContainerResources(_ context.Context, req *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	c, err := find(s.r.containers, req.GetContainerId())
	if err != nil {
		return nil, wrap(err, "failed to find container")
	}
	c.resources = mergeResources(c.resources, req.GetLinux())
	return &runtimeapi.UpdateContainerResourcesResponse{}, nil
}

// mergeResources is old with what change sets; neither is changed. A limit on
// memory is one on memory and swap together, as runtimes allow no swap.
func mergeResources(old, change *runtimeapi.LinuxContainerResources) *runtimeapi.LinuxContainerResources {
	merged := &runtimeapi.LinuxContainerResources{
		CpuPeriod:              cmp.Or(change.GetCpuPeriod(), old.GetCpuPeriod()),
		CpuQuota:               cmp.Or(change.GetCpuQuota(), old.GetCpuQuota()),
		CpuShares:              cmp.Or(change.GetCpuShares(), old.GetCpuShares()),
		MemoryLimitInBytes:     cmp.Or(change.GetMemoryLimitInBytes(), old.GetMemoryLimitInBytes()),
		OomScoreAdj:            cmp.Or(change.GetOomScoreAdj(), old.GetOomScoreAdj()),
		CpusetCpus:             cmp.Or(change.GetCpusetCpus(), old.GetCpusetCpus()),
		CpusetMems:             cmp.Or(change.GetCpusetMems(), old.GetCpusetMems()),
		MemorySwapLimitInBytes: cmp.Or(change.GetMemorySwapLimitInBytes(), old.GetMemorySwapLimitInBytes()),
		HugepageLimits:         old.GetHugepageLimits(),
		Unified:                old.GetUnified(),
	}
	if change.GetMemoryLimitInBytes() != 0 && change.GetMemorySwapLimitInBytes() == 0 {
		merged.MemorySwapLimitInBytes = change.GetMemoryLimitInBytes()
	}
	if change.GetHugepageLimits() != nil {
		merged.HugepageLimits = change.GetHugepageLimits()
	}
	if change.GetUnified() != nil {
		merged.Unified = change.GetUnified()
	}
	return merged
}
