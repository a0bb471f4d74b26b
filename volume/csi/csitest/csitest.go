//go:build linux

package csitest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Config configures a driver. All fields but Registry are needed.
type Config struct {
	// Name of the driver, and what it calls the node.
	Name, NodeID string
	// Data is the folder that the volumes are in. It is made.
	Data string
	// Socket is where the driver serves CSI.
	Socket string
	// Registry is the socket for registration with the agent, none when empty.
	Registry string
}

// Run runs a driver until ctx ends, and returns nil. Sockets of a driver that was
// killed are replaced; mounts stay.
func Run(ctx context.Context, cfg Config) error {
	if err := os.MkdirAll(cfg.Data, 0o755); err != nil {
		return err
	}
	d := &driver{cfg: cfg}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return serve(ctx, cfg.Socket, func(s *grpc.Server) {
			csipb.RegisterIdentityServer(s, identity{cfg: cfg})
			csipb.RegisterControllerServer(s, controller{driver: d})
			csipb.RegisterNodeServer(s, node{driver: d})
		})
	})
	if cfg.Registry != "" {
		group.Go(func() error {
			return serve(ctx, cfg.Registry, func(s *grpc.Server) {
				registerapi.RegisterRegistrationServer(s, registration{cfg: cfg})
			})
		})
	}
	return group.Wait()
}

// serve takes the place of a socket that nobody serves any more.
func serve(ctx context.Context, socket string, register func(*grpc.Server)) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("serve %s: %w", socket, err)
	}
	server := grpc.NewServer()
	register(server)
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	return server.Serve(listener)
}

type registration struct {
	registerapi.UnimplementedRegistrationServer
	cfg Config
}

func (r registration) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{Type: registerapi.CSIPlugin, Name: r.cfg.Name, Endpoint: r.cfg.Socket, SupportedVersions: []string{"1.0.0"}}, nil
}

func (registration) NotifyRegistrationStatus(_ context.Context, status *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		fmt.Fprintln(os.Stderr, "not registered:", status.Error)
	}
	return &registerapi.RegistrationStatusResponse{}, nil
}

type identity struct {
	csipb.UnimplementedIdentityServer
	cfg Config
}

func (i identity) GetPluginInfo(context.Context, *csipb.GetPluginInfoRequest) (*csipb.GetPluginInfoResponse, error) {
	return &csipb.GetPluginInfoResponse{Name: i.cfg.Name, VendorVersion: "1"}, nil
}

func (identity) GetPluginCapabilities(context.Context, *csipb.GetPluginCapabilitiesRequest) (*csipb.GetPluginCapabilitiesResponse, error) {
	return &csipb.GetPluginCapabilitiesResponse{Capabilities: []*csipb.PluginCapability{{
		Type: &csipb.PluginCapability_Service_{Service: &csipb.PluginCapability_Service{Type: csipb.PluginCapability_Service_CONTROLLER_SERVICE}},
	}}}, nil
}

func (identity) Probe(context.Context, *csipb.ProbeRequest) (*csipb.ProbeResponse, error) {
	return &csipb.ProbeResponse{}, nil
}
