package probe_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/probe"
)

// serveGRPC starts a gRPC server and returns the target that it is, and its port.
func serveGRPC(t *testing.T, register func(*grpc.Server)) (probe.Target, int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	register(server)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return probe.Target{PodIP: "127.0.0.1"}, int32(listener.Addr().(*net.TCPAddr).Port)
}

func TestGRPC(t *testing.T) {
	state := health.NewServer()
	state.SetServingStatus("orders", grpc_health_v1.HealthCheckResponse_SERVING)
	state.SetServingStatus("stock", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	target, port := serveGRPC(t, func(s *grpc.Server) { grpc_health_v1.RegisterHealthServer(s, state) })
	none, bare := serveGRPC(t, func(*grpc.Server) {})
	for name, row := range map[string]struct {
		target  probe.Target
		port    int32
		service *string
		want    probe.Result
		output  string
	}{
		"the server as a whole":      {target, port, nil, probe.Success, "service healthy"},
		"a service":                  {target, port, new("orders"), probe.Success, "service healthy"},
		"a service that does not":    {target, port, new("stock"), probe.Failure, `service unhealthy (responded with "NOT_SERVING")`},
		"a service that nobody has":  {target, port, new("coffee"), probe.Failure, `the server does not know the service "coffee"`},
		"a server without the check": {none, bare, nil, probe.Failure, "this server does not implement the grpc health protocol"},
		"no server":                  {target, 1, nil, probe.Failure, "error: health rpc to 127.0.0.1:1 failed"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := &corev1.Probe{TimeoutSeconds: patience, ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: row.port, Service: row.service}}}
			found, err := newChecker().Check(t.Context(), spec, row.target)
			require.NoError(t, err)
			assert.Equal(t, row.want, found.Result)
			assert.Contains(t, found.Output, row.output)
		})
	}
}

// A server that takes connections and says nothing is given up after the timeout.
func TestGRPCTimesOut(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	port := int32(listener.Addr().(*net.TCPAddr).Port)
	spec := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: port}}}
	found, err := newChecker().Check(t.Context(), spec, probe.Target{PodIP: "127.0.0.1"})
	require.NoError(t, err)
	assert.Equal(t, probe.Failure, found.Result)
	assert.Contains(t, found.Output, "did not complete within 1s")
}
