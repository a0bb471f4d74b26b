//go:build linux

package csitest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strconv"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// controller makes volumes and removes them.
type controller struct {
	csipb.UnimplementedControllerServer
	*driver
}

func (controller) ControllerGetCapabilities(context.Context, *csipb.ControllerGetCapabilitiesRequest) (*csipb.ControllerGetCapabilitiesResponse, error) {
	return &csipb.ControllerGetCapabilitiesResponse{Capabilities: []*csipb.ControllerServiceCapability{{
		Type: &csipb.ControllerServiceCapability_Rpc{Rpc: &csipb.ControllerServiceCapability_RPC{
			Type: csipb.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		}},
	}}}, nil
}

// CreateVolume has the name for an ID. The size is noted only to tell a repeated
// call from one for another volume of the same name.
func (c controller) CreateVolume(_ context.Context, r *csipb.CreateVolumeRequest) (*csipb.CreateVolumeResponse, error) {
	if r.GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "name is missing")
	}
	if len(r.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume capabilities are missing")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	size := strconv.FormatInt(r.GetCapacityRange().GetRequiredBytes(), 10)
	noted, err := os.ReadFile(c.note(r.Name, "size"))
	switch {
	case err == nil && string(noted) != size:
		return nil, status.Error(codes.AlreadyExists, "there is a volume of this name and another size")
	case errors.Is(err, fs.ErrNotExist):
		if err := c.make(r.Name, "size", size); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	return &csipb.CreateVolumeResponse{Volume: &csipb.Volume{VolumeId: r.Name, CapacityBytes: r.GetCapacityRange().GetRequiredBytes()}}, nil
}

func (c controller) DeleteVolume(_ context.Context, r *csipb.DeleteVolumeRequest) (*csipb.DeleteVolumeResponse, error) {
	if r.GetVolumeId() == "" {
		return nil, status.Error(codes.InvalidArgument, "volume ID is missing")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &csipb.DeleteVolumeResponse{}, os.RemoveAll(c.dir(r.VolumeId))
}

func (c controller) ValidateVolumeCapabilities(_ context.Context, r *csipb.ValidateVolumeCapabilitiesRequest) (*csipb.ValidateVolumeCapabilitiesResponse, error) {
	if r.GetVolumeId() == "" || len(r.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume ID or capabilities are missing")
	}
	if err := c.known(r.VolumeId); err != nil {
		return nil, err
	}
	return &csipb.ValidateVolumeCapabilitiesResponse{Confirmed: &csipb.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeCapabilities: r.VolumeCapabilities,
	}}, nil
}
