package cri_test

import (
	"context"
	"net"
	"path"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// answers is a runtime that answers each method with what a test says, and
// Unimplemented otherwise.
type answers struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer

	version *runtimeapi.VersionResponse
	unary   map[string]func(ctx context.Context, request any) (any, error)
	stream  map[string]func(stream grpc.ServerStream) error

	mu        sync.Mutex // guards deadlines
	deadlines map[string]time.Duration
}

func newAnswers() *answers {
	return &answers{
		version:   &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: "containerd", RuntimeVersion: "v2.1.9", RuntimeApiVersion: "v1"},
		unary:     map[string]func(context.Context, any) (any, error){},
		stream:    map[string]func(grpc.ServerStream) error{},
		deadlines: map[string]time.Duration{},
	}
}

func (a *answers) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	method := path.Base(info.FullMethod)
	a.note(ctx, method)
	if answer := a.unary[method]; answer != nil {
		return answer(ctx, request)
	}
	switch method {
	case "Version":
		return a.version, nil
	case "ImageFsInfo":
		return &runtimeapi.ImageFsInfoResponse{}, nil
	}
	return next(ctx, request)
}

func (a *answers) note(ctx context.Context, method string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deadlines[method] = 0
	if deadline, ok := ctx.Deadline(); ok {
		a.deadlines[method] = time.Until(deadline)
	}
}

func (a *answers) deadline(method string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.deadlines[method].Round(time.Second)
}

func (a *answers) interceptStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	a.note(stream.Context(), path.Base(info.FullMethod))
	if answer := a.stream[path.Base(info.FullMethod)]; answer != nil {
		return answer(stream)
	}
	return next(srv, stream)
}

// serve runs the runtime and returns how to dial it.
func (a *answers) serve(t *testing.T) func(context.Context, string) (net.Conn, error) {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.UnaryInterceptor(a.intercept), grpc.StreamInterceptor(a.interceptStream), grpc.WaitForHandlers(true))
	runtimeapi.RegisterRuntimeServiceServer(server, a)
	runtimeapi.RegisterImageServiceServer(server, a)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }
}

func (a *answers) dial(t *testing.T) *cri.Client {
	t.Helper()
	client, err := cri.Dial(t.Context(), "unix:///fake.sock", cri.Config{DialContext: a.serve(t)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close(context.Background()) })
	return client
}

func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func TestDialRefusesARuntimeThatIsNoCRIv1(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*answers)
		want   string
	}{
		"other kubelet API version": {func(a *answers) { a.version.Version = "0.2.0" }, `want "0.1.0"`},
		"no name":                   {func(a *answers) { a.version.RuntimeName = "" }, "without runtime name"},
		"no version":                {func(a *answers) { a.version.Version = "" }, "without version"},
		"no runtime version":        {func(a *answers) { a.version.RuntimeVersion = "" }, "without runtime version"},
		"no API version":            {func(a *answers) { a.version.RuntimeApiVersion = "" }, "without runtime API version"},
		"no image service": {func(a *answers) {
			a.unary["ImageFsInfo"] = func(context.Context, any) (any, error) { return nil, status.Error(codes.Unimplemented, "no images") }
		}, "no images"},
	} {
		inBubble(t, name, func(t *testing.T) {
			runtime := newAnswers()
			row.change(runtime)
			_, err := cri.Dial(t.Context(), "unix:///fake.sock", cri.Config{DialContext: runtime.serve(t)})
			require.ErrorContains(t, err, row.want)
			require.ErrorContains(t, err, `"unix:///fake.sock"`)
		})
	}
}

func TestDialGivesUpAfterItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := cri.Dial(t.Context(), "/nobody.sock", cri.Config{
			ConnectTimeout: 7 * time.Second,
			DialContext:    func(context.Context, string) (net.Conn, error) { return nil, net.ErrClosed },
		})
		require.Error(t, err)
		assert.Equal(t, 7*time.Second, time.Since(began))
	})
}

func TestDialWaitsForARuntimeThatComesUpLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := time.Now().Add(4 * time.Second)
		dial := newAnswers().serve(t)
		client, err := cri.Dial(t.Context(), "/late.sock", cri.Config{DialContext: func(ctx context.Context, address string) (net.Conn, error) {
			if time.Now().Before(up) {
				return nil, net.ErrClosed
			}
			return dial(ctx, address)
		}})
		require.NoError(t, err)
		defer client.Close(t.Context())
		assert.Equal(t, "containerd", client.RuntimeName())
	})
}

func TestTheImageServiceMayHaveItsOwnSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime, images := newAnswers(), newAnswers()
		runtime.unary["ImageFsInfo"] = func(context.Context, any) (any, error) { return nil, status.Error(codes.Unimplemented, "") }
		images.unary["Version"] = runtime.unary["ImageFsInfo"]
		dialers := map[string]func(context.Context, string) (net.Conn, error){"/runtime.sock": runtime.serve(t), "/images.sock": images.serve(t)}
		client, err := cri.Dial(t.Context(), "unix:///runtime.sock", cri.Config{
			ImageEndpoint: "unix:///images.sock",
			DialContext: func(ctx context.Context, address string) (net.Conn, error) {
				return dialers[address](ctx, address)
			},
		})
		require.NoError(t, err)
		require.NoError(t, client.Close(t.Context()))
	})
}

func TestEachCallHasItsDeadline(t *testing.T) {
	const none = time.Duration(0)
	for _, row := range []struct {
		method string
		call   func(context.Context, *cri.Client)
		want   time.Duration
	}{
		{"RunPodSandbox", func(ctx context.Context, c *cri.Client) {
			_, _ = c.RunPodSandbox(ctx, &runtimeapi.PodSandboxConfig{}, "")
		}, 4 * time.Minute},
		{"StopContainer", func(ctx context.Context, c *cri.Client) { _ = c.StopContainer(ctx, "1", 30) }, 2*time.Minute + 30*time.Second},
		{"PullImage", func(ctx context.Context, c *cri.Client) {
			_, _ = c.PullImage(ctx, &runtimeapi.ImageSpec{}, nil, nil)
		}, none},
		{"ExecSync", func(ctx context.Context, c *cri.Client) { _, _, _ = c.ExecSync(ctx, "1", nil, 5*time.Second) }, 2*time.Minute + 5*time.Second},
		{"StartContainer", func(ctx context.Context, c *cri.Client) { _ = c.StartContainer(ctx, "1") }, 2 * time.Minute},
		{"StopPodSandbox", func(ctx context.Context, c *cri.Client) { _ = c.StopPodSandbox(ctx, "1") }, 2 * time.Minute},
		{"GetContainerEvents", func(ctx context.Context, c *cri.Client) { _ = c.GetContainerEvents(ctx, nil, nil) }, none},
		{"StreamContainers", func(ctx context.Context, c *cri.Client) { _, _ = c.ListContainers(ctx, nil) }, 2 * time.Minute},
		{"ListContainers", func(ctx context.Context, c *cri.Client) { _, _ = c.ListContainers(ctx, nil) }, 2 * time.Minute},
	} {
		inBubble(t, row.method, func(t *testing.T) {
			runtime := newAnswers()
			row.call(t.Context(), runtime.dial(t))
			assert.Equal(t, row.want, runtime.deadline(row.method))
		})
	}
	inBubble(t, "ExecSync without time-out", func(t *testing.T) {
		runtime := newAnswers()
		_, _, _ = runtime.dial(t).ExecSync(t.Context(), "1", nil, 0)
		assert.Equal(t, none, runtime.deadline("ExecSync"))
	})
}

func TestExecSyncGivesTheOutputBesideTheExitCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newAnswers()
		runtime.unary["ExecSync"] = func(_ context.Context, request any) (any, error) {
			assert.Equal(t, int64(2), request.(*runtimeapi.ExecSyncRequest).Timeout, "1.5 s is rounded up")
			return &runtimeapi.ExecSyncResponse{Stdout: []byte("out"), Stderr: []byte("err"), ExitCode: 3}, nil
		}
		stdout, stderr, err := runtime.dial(t).ExecSync(t.Context(), "abc", []string{"x"}, 1500*time.Millisecond)
		var exit *cri.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, 3, exit.Code)
		assert.ErrorContains(t, err, `"abc"`)
		assert.Equal(t, "out", string(stdout))
		assert.Equal(t, "err", string(stderr))
	})
}

func TestExecSyncThatDoesNotEndInTimeSaysSo(t *testing.T) {
	inBubble(t, "the runtime says", func(t *testing.T) {
		runtime := newAnswers()
		runtime.unary["ExecSync"] = func(context.Context, any) (any, error) { return nil, status.Error(codes.DeadlineExceeded, "too slow") }
		_, _, err := runtime.dial(t).ExecSync(t.Context(), "abc", nil, time.Second)
		require.ErrorIs(t, err, cri.ErrExecTimeout)
		assert.Equal(t, codes.DeadlineExceeded, status.Code(err))
		assert.NotContains(t, err.Error(), "\n", "it goes into events and logs")
	})
	inBubble(t, "the runtime ignores the time-out", func(t *testing.T) {
		runtime := newAnswers()
		runtime.unary["ExecSync"] = func(ctx context.Context, _ any) (any, error) { <-ctx.Done(); return nil, ctx.Err() }
		client, began := runtime.dial(t), time.Now()
		_, _, err := client.ExecSync(t.Context(), "abc", nil, time.Second)
		require.ErrorIs(t, err, cri.ErrExecTimeout)
		assert.Equal(t, 2*time.Minute+time.Second, time.Since(began))
	})
}

func TestErrorsKeepTheRuntimesCodeAndNameTheObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newAnswers()
		runtime.unary["StopContainer"] = func(context.Context, any) (any, error) { return nil, status.Error(codes.NotFound, "who?") }
		client := runtime.dial(t)
		err := client.StopContainer(t.Context(), "abc", 1)
		assert.True(t, cri.IsNotFound(err))
		assert.ErrorContains(t, err, `stop container "abc"`)
		assert.Equal(t, "who?", cri.Message(err))

		_, err = client.RuntimeConfig(t.Context())
		assert.True(t, cri.IsUnimplemented(err))
		assert.False(t, cri.IsNotFound(err))
		assert.False(t, cri.IsNotFound(nil))
	})
}

func TestPullErrorWithoutACodeIsTheBareMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newAnswers()
		code := codes.Unknown
		runtime.unary["PullImage"] = func(context.Context, any) (any, error) { return nil, status.Error(code, "no such host") }
		client := runtime.dial(t)
		_, err := client.PullImage(t.Context(), &runtimeapi.ImageSpec{Image: "x"}, nil, nil)
		assert.EqualError(t, err, "no such host")
		code = codes.Unavailable
		_, err = client.PullImage(t.Context(), &runtimeapi.ImageSpec{Image: "x"}, nil, nil)
		assert.Equal(t, codes.Unavailable, status.Code(err))
	})
}

func TestIncompleteAnswersAreRefused(t *testing.T) {
	respond := func(method string, response any) func(*answers) {
		return func(a *answers) {
			a.unary[method] = func(context.Context, any) (any, error) { return response, nil }
		}
	}
	for name, row := range map[string]struct {
		given func(*answers)
		call  func(context.Context, *cri.Client) error
		want  string
	}{
		"sandbox without ID": {respond("RunPodSandbox", &runtimeapi.RunPodSandboxResponse{}), func(ctx context.Context, c *cri.Client) error {
			_, err := c.RunPodSandbox(ctx, &runtimeapi.PodSandboxConfig{}, "")
			return err
		}, "empty sandbox ID"},
		"container without ID": {respond("CreateContainer", &runtimeapi.CreateContainerResponse{}), func(ctx context.Context, c *cri.Client) error {
			_, err := c.CreateContainer(ctx, "s", &runtimeapi.ContainerConfig{}, nil)
			return err
		}, "empty container ID"},
		"sandbox status": {respond("PodSandboxStatus", &runtimeapi.PodSandboxStatusResponse{}), func(ctx context.Context, c *cri.Client) error {
			_, err := c.PodSandboxStatus(ctx, "s", false)
			return err
		}, "without creation time"},
		"container status": {respond("ContainerStatus", &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{
			Id: "1", CreatedAt: 1, Metadata: &runtimeapi.ContainerMetadata{Name: "app"}, Image: &runtimeapi.ImageSpec{Image: "i"},
		}}), func(ctx context.Context, c *cri.Client) error {
			_, err := c.ContainerStatus(ctx, "1", false)
			return err
		}, "without image reference"},
		"runtime status": {respond("Status", &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{
			Conditions: []*runtimeapi.RuntimeCondition{{Type: runtimeapi.RuntimeReady}},
		}}), func(ctx context.Context, c *cri.Client) error {
			_, err := c.Status(ctx, false)
			return err
		}, "without condition NetworkReady"},
		"image": {respond("ImageStatus", &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{Id: "i"}}), func(ctx context.Context, c *cri.Client) error {
			_, err := c.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: "x"}, false)
			return err
		}, "without ID or size"},
		"pulled image": {respond("PullImage", &runtimeapi.PullImageResponse{}), func(ctx context.Context, c *cri.Client) error {
			_, err := c.PullImage(ctx, &runtimeapi.ImageSpec{Image: "x"}, nil, nil)
			return err
		}, "empty image reference"},
		"stream": {respond("Exec", &runtimeapi.ExecResponse{}), func(ctx context.Context, c *cri.Client) error {
			_, err := c.Exec(ctx, &runtimeapi.ExecRequest{})
			return err
		}, "empty URL"},
	} {
		inBubble(t, name, func(t *testing.T) {
			runtime := newAnswers()
			row.given(runtime)
			require.ErrorContains(t, row.call(t.Context(), runtime.dial(t)), row.want)
		})
	}
}

func TestAnImageThatIsNotThereIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newAnswers()
		runtime.unary["ImageStatus"] = func(context.Context, any) (any, error) { return &runtimeapi.ImageStatusResponse{}, nil }
		response, err := runtime.dial(t).ImageStatus(t.Context(), &runtimeapi.ImageSpec{Image: "x"}, false)
		require.NoError(t, err)
		assert.Nil(t, response.Image)
	})
}

func TestListsAreStreamedWhereTheRuntimeCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newAnswers()
		runtime.stream["StreamContainers"] = func(stream grpc.ServerStream) error {
			for _, id := range []string{"a", "b"} {
				if err := stream.SendMsg(&runtimeapi.StreamContainersResponse{Containers: []*runtimeapi.Container{{Id: id}}}); err != nil {
					return err
				}
			}
			return nil
		}
		containers, err := runtime.dial(t).ListContainers(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, containers, 2)
		assert.Equal(t, "b", containers[1].Id)
	})
}

func TestABrokenListStreamIsAnErrorNotAShortList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newAnswers()
		runtime.stream["StreamContainers"] = func(stream grpc.ServerStream) error {
			_ = stream.SendMsg(&runtimeapi.StreamContainersResponse{Containers: []*runtimeapi.Container{{Id: "a"}}})
			return status.Error(codes.Unavailable, "gone")
		}
		containers, err := runtime.dial(t).ListContainers(t.Context(), nil)
		assert.Equal(t, codes.Unavailable, status.Code(err))
		assert.Empty(t, containers)
	})
}

func TestListsFallBackOnceAndForAllWhereTheRuntimeCannotStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newAnswers()
		streams := 0
		runtime.stream["StreamContainers"] = func(grpc.ServerStream) error {
			streams++
			return status.Error(codes.Unimplemented, "unknown method")
		}
		runtime.unary["ListContainers"] = func(context.Context, any) (any, error) {
			return &runtimeapi.ListContainersResponse{Containers: []*runtimeapi.Container{{Id: "a"}}}, nil
		}
		client := runtime.dial(t)
		for range 3 {
			containers, err := client.ListContainers(t.Context(), nil)
			require.NoError(t, err)
			require.Len(t, containers, 1)
		}
		assert.Equal(t, 1, streams)
	})
}

func TestListsMayBeLongerThanGRPCsDefaultLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newAnswers()
		runtime.unary["ListContainers"] = func(context.Context, any) (any, error) {
			response := &runtimeapi.ListContainersResponse{}
			for range 2000 {
				response.Containers = append(response.Containers, &runtimeapi.Container{Annotations: map[string]string{"x": string(make([]byte, 4<<10))}})
			}
			return response, nil
		}
		containers, err := runtime.dial(t).ListContainers(t.Context(), nil)
		require.NoError(t, err)
		assert.Len(t, containers, 2000)
	})
}

func TestEventsFlowUntilTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newAnswers()
		runtime.stream["GetContainerEvents"] = func(stream grpc.ServerStream) error {
			for {
				if err := stream.SendMsg(&runtimeapi.ContainerEventResponse{ContainerId: "abc"}); err != nil {
					return err
				}
				time.Sleep(time.Second)
			}
		}
		client := runtime.dial(t)
		ctx, cancel := context.WithCancel(t.Context())
		events, established := make(chan *runtimeapi.ContainerEventResponse), false
		done := make(chan error, 1)
		go func() {
			done <- client.GetContainerEvents(ctx, events, func(runtimeapi.RuntimeService_GetContainerEventsClient) { established = true })
		}()
		assert.Equal(t, "abc", (<-events).ContainerId)
		assert.True(t, established)
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

func TestTheConnectionComesBackAfterTheRuntimeWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newAnswers()
		dial := runtime.serve(t)
		conns := make(chan net.Conn, 8)
		var away atomic.Bool
		client, err := cri.Dial(t.Context(), "/flaky.sock", cri.Config{DialContext: func(ctx context.Context, address string) (net.Conn, error) {
			if away.Load() {
				return nil, net.ErrClosed
			}
			conn, err := dial(ctx, address)
			conns <- conn
			return conn, err
		}})
		require.NoError(t, err)
		defer client.Close(t.Context())

		away.Store(true)
		require.NoError(t, (<-conns).Close())
		synctest.Wait()
		began := time.Now()
		_, err = client.Version(t.Context(), "0.1.0")
		require.Equal(t, codes.Unavailable, status.Code(err))
		assert.Zero(t, time.Since(began), "a call fails at once while the runtime is away")

		time.Sleep(time.Minute)
		away.Store(false)
		time.Sleep(4 * time.Second) // longer than the longest wait between two tries
		_, err = client.Version(t.Context(), "0.1.0")
		require.NoError(t, err)
	})
}
