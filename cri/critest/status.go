package critest

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// kubeletAPIVersion is what the Version call says, whatever the CRI's version.
const kubeletAPIVersion = "0.1.0"

// conditions of the runtime, in the order in which Status tells them.
type conditions []*runtimeapi.RuntimeCondition

func newConditions() conditions {
	return conditions{
		{Type: runtimeapi.RuntimeReady, Status: true},
		{Type: runtimeapi.NetworkReady, Status: true},
	}
}

func (c conditions) get(kind string) *runtimeapi.RuntimeCondition {
	for _, condition := range c {
		if condition.GetType() == kind {
			return condition
		}
	}
	return nil
}

// SetCondition sets a condition that Status reports, runtimeapi.RuntimeReady,
// runtimeapi.NetworkReady or one of your own. While NetworkReady is false,
// sandboxes with a network of their own cannot be created.
func (r *Runtime) SetCondition(kind string, ready bool, reason, message string) {
	condition := &runtimeapi.RuntimeCondition{Type: kind, Status: ready, Reason: reason, Message: message}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conditions = slices.Clone(r.conditions)
	for i := range r.conditions {
		if r.conditions[i].GetType() == kind {
			r.conditions[i] = condition
			return
		}
	}
	r.conditions = append(r.conditions, condition)
}

func (s *service) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version:           kubeletAPIVersion,
		RuntimeName:       s.r.cfg.Name,
		RuntimeVersion:    s.r.cfg.Version,
		RuntimeApiVersion: "v1",
	}, nil
}

func (s *service) Status(context.Context, *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	response := &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: s.r.conditions}}
	if s.r.cfg.Profile == Containerd16 {
		return response, nil
	}
	for _, name := range append([]string{""}, s.r.cfg.RuntimeHandlers...) {
		response.RuntimeHandlers = append(response.RuntimeHandlers, &runtimeapi.RuntimeHandler{
			Name:     name,
			Features: &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true},
		})
	}
	response.Features = &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true}
	return response, nil
}

func (s *service) RuntimeConfig(context.Context, *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{
		Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS},
	}, nil
}

// UpdateRuntimeConfig checks the pod CIDRs and otherwise ignores them, as
// containerd does when something else configures its network.
func (s *service) UpdateRuntimeConfig(_ context.Context, req *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	cidrs := req.GetRuntimeConfig().GetNetworkConfig().GetPodCidr()
	if cidrs == "" {
		return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
	}
	for cidr := range strings.SplitSeq(cidrs, ",") {
		if _, err := netip.ParsePrefix(strings.TrimSpace(cidr)); err != nil {
			return nil, failed("get routes: %v", err)
		}
	}
	return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
}
