package csi

import (
	"context"
	"fmt"
	"net"
	"path"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// connect prepares a connection to a socket, for the calls of one step. There is
// none while nothing is to do: drivers come and go, and idle ones cost nothing.
func (p *Plugin) connect(socket string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("passthrough:///"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.cfg.Dial(ctx, socket) }),
		grpc.WithUnaryInterceptor(p.call))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", socket, err)
	}
	return conn, nil
}

// call gives a call its deadline and its error the name of the call.
func (p *Plugin) call(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	if err := invoke(ctx, method, req, reply, conn, opts...); err != nil {
		return fmt.Errorf("%s: %w", path.Base(method), err)
	}
	return nil
}

// withNode calls do with the node service of a registered driver. An error names
// the driver.
func (p *Plugin) withNode(driver string, do func(csipb.NodeClient) error) error {
	endpoint, err := p.drivers.endpoint(driver)
	if err != nil {
		return err
	}
	conn, err := p.connect(endpoint)
	if err == nil {
		defer conn.Close()
		err = do(csipb.NewNodeClient(conn))
	}
	if err != nil {
		return fmt.Errorf("CSI driver %q: %w", driver, err)
	}
	return nil
}

// uncertain reports whether the driver may have done what the error is about, or
// may still be at it. These are the codes after which the kubelet keeps a volume
// for mounted.
func uncertain(err error) bool {
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted, codes.Aborted:
		return true
	default:
		return false
	}
}

// abilities are the node capabilities of a driver that matter here.
type abilities map[csipb.NodeServiceCapability_RPC_Type]bool

// abilitiesOf asks each time: a driver may be another version of itself the next.
func abilitiesOf(ctx context.Context, node csipb.NodeClient) (abilities, error) {
	answer, err := node.NodeGetCapabilities(ctx, &csipb.NodeGetCapabilitiesRequest{})
	if err != nil {
		return nil, err
	}
	able := make(abilities)
	for _, capability := range answer.GetCapabilities() {
		able[capability.GetRpc().GetType()] = true
	}
	return able, nil
}

func (a abilities) stages() bool { return a[csipb.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] }

func (a abilities) takesGroup() bool { return a[csipb.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP] }

func (a abilities) knowsSingleWriters() bool {
	return a[csipb.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER]
}
