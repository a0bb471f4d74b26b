package probe

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// serving checks that the pod says of a service that it is serving, by the gRPC
// health checking protocol, in plain text. The connection and the call share the
// timeout.
func (c *Checker) serving(ctx context.Context, action *corev1.GRPCAction, target Target, timeout time.Duration) (Outcome, error) {
	address, err := addressOf("", intstr.FromInt32(action.Port), target)
	if err != nil {
		return Outcome{}, err
	}
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent(c.cfg.UserAgent),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxOutput)),
		grpc.WithMaxHeaderListSize(maxHeader),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return dial(ctx, "tcp", address) }),
	)
	if err != nil {
		return Outcome{}, fmt.Errorf("prepare gRPC probe: %w", err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	service := ""
	if action.Service != nil {
		service = *action.Service
	}
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		return outcome(Failure, grpcFailure(err, service, address, timeout)), nil
	}
	if answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return outcome(Failure, fmt.Sprintf("service unhealthy (responded with %q)", answer.GetStatus())), nil
	}
	return outcome(Success, "service healthy"), nil
}

// grpcFailure words why there is no answer.
func grpcFailure(err error, service, address string, timeout time.Duration) string {
	switch status.Code(err) {
	case codes.Unimplemented:
		return fmt.Sprintf("this server does not implement the grpc health protocol (grpc.health.v1.Health): %v", err)
	case codes.NotFound:
		return fmt.Sprintf("the server does not know the service %q: %v", service, err)
	case codes.DeadlineExceeded:
		return fmt.Sprintf("timeout: health rpc to %s did not complete within %v", address, timeout)
	default:
		return fmt.Sprintf("error: health rpc to %s failed: %v", address, err)
	}
}
