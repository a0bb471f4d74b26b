package cri

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	internalapi "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	// kubeletAPIVersion is what the CRI's Version call wants to hear and says,
	// whatever the version of the CRI.
	kubeletAPIVersion = "0.1.0"

	// maxMessageSize takes lists of thousands of containers, which exceed the
	// 4 MiB that gRPC takes by default.
	maxMessageSize = 16 << 20

	// keepaliveTime is above the 5 minutes below which a gRPC server with
	// default settings closes the connection of a client that pings.
	keepaliveTime    = 6 * time.Minute
	keepaliveTimeout = 20 * time.Second
)

// Config of a Client. The zero value works.
type Config struct {
	// ImageEndpoint is the socket of the image service; the runtime's when empty.
	ImageEndpoint string
	// RequestTimeout is the deadline of a call that has none of its own. RunPodSandbox
	// gets twice of it. Default 2 minutes.
	RequestTimeout time.Duration
	// ConnectTimeout bounds how long Dial waits for the runtime to answer. Default 10 s.
	ConnectTimeout time.Duration
	// DialContext makes the connections; address is the endpoint's path. Default:
	// a unix socket.
	DialContext func(ctx context.Context, address string) (net.Conn, error)
	// Logger is told of the runtime that answered; nil logs nothing.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = 2 * time.Minute
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	if c.DialContext == nil {
		c.DialContext = dialUnix
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", path)
}

// Client is a connection to a CRI runtime. Its methods may be called from any
// goroutine, and block until the runtime answers, the context ends or the
// call's deadline passes. Results belong to the caller. Errors carry the
// runtime's gRPC code (see IsNotFound, IsUnimplemented) and name the object.
type Client struct {
	runtime runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient
	conns   []*grpc.ClientConn
	timeout time.Duration
	version *runtimeapi.VersionResponse

	// noStream remembers the list calls that the runtime cannot stream.
	noStream [listCalls]atomic.Bool
}

var (
	_ internalapi.RuntimeService      = (*Client)(nil)
	_ internalapi.ImageManagerService = (*Client)(nil)
)

// Dial connects to the runtime at endpoint ("unix:///path" or "/path"), and to
// the image service when it has a socket of its own. It blocks until both have
// answered, and fails when they do not within the ConnectTimeout or do not
// speak CRI v1. The caller closes the client.
func Dial(ctx context.Context, endpoint string, cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	client, err := connect(endpoint, cfg)
	if err != nil {
		return nil, err
	}
	if err := client.probe(ctx, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to CRI runtime %q: %w", endpoint, err), client.Close(ctx))
	}
	cfg.Logger.Named("cri").Info("connected to runtime",
		zap.String("endpoint", endpoint),
		zap.String("runtime", client.version.RuntimeName),
		zap.String("version", client.version.RuntimeVersion))
	return client, nil
}

// connect prepares the connections; gRPC makes them in the background.
func connect(endpoint string, cfg Config) (*Client, error) {
	runtimeConn, err := newConn(endpoint, cfg)
	if err != nil {
		return nil, err
	}
	client := &Client{
		runtime: runtimeapi.NewRuntimeServiceClient(runtimeConn),
		images:  runtimeapi.NewImageServiceClient(runtimeConn),
		conns:   []*grpc.ClientConn{runtimeConn},
		timeout: cfg.RequestTimeout,
	}
	if cfg.ImageEndpoint == "" || cfg.ImageEndpoint == endpoint {
		return client, nil
	}
	imageConn, err := newConn(cfg.ImageEndpoint, cfg)
	if err != nil {
		return nil, errors.Join(err, runtimeConn.Close())
	}
	client.images = runtimeapi.NewImageServiceClient(imageConn)
	client.conns = append(client.conns, imageConn)
	return client, nil
}

func newConn(endpoint string, cfg Config) (*grpc.ClientConn, error) {
	path, err := socketPath(endpoint)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority("localhost"),
		grpc.WithContextDialer(cfg.DialContext),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageSize)),
		grpc.WithIdleTimeout(0),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("prepare connection to %q: %w", endpoint, err)
	}
	return conn, nil
}

// probe asks both services something that every CRI v1 runtime can answer.
func (c *Client) probe(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	version, err := c.runtime.Version(ctx, &runtimeapi.VersionRequest{Version: kubeletAPIVersion}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("ask for its version: %w", err)
	}
	if err := checkVersion(version); err != nil {
		return err
	}
	if version.Version != kubeletAPIVersion {
		return fmt.Errorf("runtime %s speaks version %q of the kubelet's runtime API, want %q", version.RuntimeName, version.Version, kubeletAPIVersion)
	}
	c.version = version
	if _, err := c.images.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{}, grpc.WaitForReady(true)); err != nil {
		return fmt.Errorf("ask the image service for its file systems: %w", err)
	}
	return nil
}

// RuntimeName is the name that the runtime gave when it was dialled, such as
// "containerd": the scheme of container IDs in pod statuses.
func (c *Client) RuntimeName() string { return c.version.GetRuntimeName() }

// Close ends the connections and every call under way. Later calls fail.
func (c *Client) Close(context.Context) error {
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// call makes one unary call with a deadline. A zero timeout means none.
func call[Request, Response any](
	ctx context.Context, timeout time.Duration, what string,
	method func(context.Context, *Request, ...grpc.CallOption) (*Response, error), request *Request,
) (*Response, error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	response, err := method(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return response, nil
}
