package critest

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandbox is one pod sandbox. Runtime.mu guards it.
type sandbox struct {
	id, name   string
	config     *runtimeapi.PodSandboxConfig
	handler    string
	createdAt  int64
	ready      bool
	lease      netip.Addr // what the pool gave, until the network is torn down
	ips        []string   // what is reported, none without a network
	containers []*container
}

func (s *sandbox) uid() string { return s.config.GetMetadata().GetUid() }

func (s *sandbox) hostNetwork() bool {
	return s.config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE
}

func (s *sandbox) state() runtimeapi.PodSandboxState {
	if s.ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

func (s *service) RunPodSandbox(_ context.Context, req *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	s.r.mu.Lock()
	defer s.r.unlock()
	sb, err := s.r.addSandbox(req.GetConfig(), req.GetRuntimeHandler())
	if err != nil {
		return nil, err
	}
	s.r.emit(sb, sb.id, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	s.r.emit(sb, sb.id, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: sb.id}, nil
}

func (r *Runtime) addSandbox(config *runtimeapi.PodSandboxConfig, handler string) (*sandbox, error) {
	metadata := config.GetMetadata()
	if metadata == nil {
		return nil, failed("sandbox config must include metadata")
	}
	sb := &sandbox{
		id:        r.newID(),
		name:      fmt.Sprintf("%s_%s_%s_%d", metadata.GetName(), metadata.GetNamespace(), metadata.GetUid(), metadata.GetAttempt()),
		config:    config,
		handler:   handler,
		createdAt: time.Now().UnixNano(),
		ready:     true,
	}
	if sb.hostNetwork() && config.GetHostname() != "" {
		return nil, failed("failed to create sandbox %q: unable to set hostname without a private UTS namespace", sb.id)
	}
	if handler != "" && !slices.Contains(r.cfg.RuntimeHandlers, handler) {
		return nil, failed("unable to get OCI runtime for sandbox %q: no runtime for %q is configured", sb.id, handler)
	}
	if err := r.reserve("sandbox", sb.name, sb.id); err != nil {
		return nil, err
	}
	if err := r.connect(sb); err != nil {
		delete(r.names, sb.name)
		return nil, failed("failed to setup network for sandbox %q: %v", sb.id, err)
	}
	r.sandboxes[sb.id] = sb
	return sb, nil
}

// connect gives a sandbox its address, unless it is on the host's network.
func (r *Runtime) connect(sb *sandbox) error {
	if sb.hostNetwork() {
		return nil
	}
	if network := r.conditions.get(runtimeapi.NetworkReady); !network.GetStatus() {
		return fmt.Errorf("network is not ready: %s", network.GetMessage())
	}
	address, ok := r.addresses.take()
	if !ok {
		return fmt.Errorf("no IP addresses available in range set: %s", r.addresses.prefix)
	}
	sb.lease, sb.ips = address, []string{address.String()}
	return nil
}

func (s *service) StopPodSandbox(_ context.Context, req *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	s.r.mu.Lock()
	defer s.r.unlock()
	sb, err := find(s.r.sandboxes, req.GetPodSandboxId())
	switch {
	case err == nil:
		s.r.stopSandbox(sb)
	case !isNotFound(err) || !s.r.cfg.Profile.stopsUnknown():
		return nil, wrap(err, "an error occurred when try to find sandbox %q", req.GetPodSandboxId())
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

// stopSandbox kills the containers of a sandbox and tears its network down.
func (r *Runtime) stopSandbox(sb *sandbox) {
	for _, c := range sb.containers {
		r.kill(c)
	}
	r.sandboxDied(sb)
	r.addresses.release(sb.lease)
	sb.lease, sb.ips = netip.Addr{}, nil
}

// sandboxDied is the end of a sandbox's own process.
func (r *Runtime) sandboxDied(sb *sandbox) {
	if sb.ready {
		sb.ready = false
		r.emit(sb, sb.id, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	}
}

func (s *service) RemovePodSandbox(_ context.Context, req *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	s.r.mu.Lock()
	defer s.r.unlock()
	sb, err := find(s.r.sandboxes, req.GetPodSandboxId())
	if isNotFound(err) {
		return &runtimeapi.RemovePodSandboxResponse{}, nil
	}
	if err != nil {
		return nil, wrap(err, "an error occurred when try to find sandbox %q", req.GetPodSandboxId())
	}
	s.r.stopSandbox(sb)
	for _, c := range slices.Clone(sb.containers) {
		if err := s.r.removeContainer(c); err != nil {
			return nil, failed("failed to remove container %q: %v", c.id, err)
		}
	}
	s.r.emit(sb, sb.id, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	s.r.dropSandbox(sb)
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

func (r *Runtime) dropSandbox(sb *sandbox) {
	r.addresses.release(sb.lease)
	delete(r.names, sb.name)
	delete(r.sandboxes, sb.id)
}

func (s *service) PodSandboxStatus(_ context.Context, req *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	sb, err := find(s.r.sandboxes, req.GetPodSandboxId())
	if err != nil {
		return nil, wrap(err, "an error occurred when try to find sandbox")
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: s.r.sandboxStatus(sb)}, nil
}

func (r *Runtime) sandboxStatus(s *sandbox) *runtimeapi.PodSandboxStatus {
	options := s.config.GetLinux().GetSecurityContext().GetNamespaceOptions()
	if options == nil && r.cfg.Profile == Containerd16 {
		options = &runtimeapi.NamespaceOption{}
	}
	return &runtimeapi.PodSandboxStatus{
		Id:        s.id,
		Metadata:  s.config.GetMetadata(),
		State:     s.state(),
		CreatedAt: s.createdAt,
		Network:   s.network(),
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{
			Options: options,
		}},
		Labels:         s.config.GetLabels(),
		Annotations:    s.config.GetAnnotations(),
		RuntimeHandler: s.handler,
	}
}

func (s *sandbox) network() *runtimeapi.PodSandboxNetworkStatus {
	network := &runtimeapi.PodSandboxNetworkStatus{}
	for i, ip := range s.ips {
		if i == 0 {
			network.Ip = ip
		} else {
			network.AdditionalIps = append(network.AdditionalIps, &runtimeapi.PodIP{Ip: ip})
		}
	}
	return network
}

func (s *sandbox) item() *runtimeapi.PodSandbox {
	return &runtimeapi.PodSandbox{
		Id:             s.id,
		Metadata:       s.config.GetMetadata(),
		State:          s.state(),
		CreatedAt:      s.createdAt,
		Labels:         s.config.GetLabels(),
		Annotations:    s.config.GetAnnotations(),
		RuntimeHandler: s.handler,
	}
}

func (s *service) UpdatePodSandboxResources(_ context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if _, err := find(s.r.sandboxes, req.GetPodSandboxId()); err != nil {
		return nil, wrap(err, "failed to find sandbox %q", req.GetPodSandboxId())
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}
