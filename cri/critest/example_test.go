package critest_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

// A program gets a runtime of its own, without a socket.
func Example() {
	ctx := context.Background()
	rt := critest.New(critest.Config{Images: []critest.Image{{Name: "busybox"}}})
	defer rt.Close()
	client, err := rt.Dial(ctx, cri.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close(ctx)

	if _, err := startPod(ctx, client, "hello", 0, "sh", "-c", "echo hello; exit 3"); err != nil {
		fmt.Println(err)
	}
	for {
		answer, err := client.ContainerStatus(ctx, rt.ContainerID("hello", "app"), false)
		if err != nil || answer.Status.State == runtimeapi.ContainerState_CONTAINER_EXITED {
			fmt.Println(answer.GetStatus().GetReason(), answer.GetStatus().GetExitCode())
			break
		}
		time.Sleep(time.Millisecond)
	}
	fmt.Println(rt.Calls().Changes())
	// Output:
	// Error 3
	// RunPodSandbox hello; CreateContainer hello/app; StartContainer hello/app
}

// An agent that restarts what has ended, with a back-off. Its test below covers
// a day in milliseconds.
func keepRunning(ctx context.Context, client *cri.Client, pod string) {
	backoff := 10 * time.Second
	for attempt := uint32(0); ctx.Err() == nil; attempt++ {
		container, err := startPod(ctx, client, pod, attempt)
		for err == nil && ctx.Err() == nil {
			var answer *runtimeapi.ContainerStatusResponse
			answer, err = client.ContainerStatus(ctx, container, false)
			if answer.GetStatus().GetState() == runtimeapi.ContainerState_CONTAINER_EXITED {
				break
			}
			time.Sleep(time.Second)
		}
		time.Sleep(backoff)
		backoff = min(2*backoff, 5*time.Minute)
	}
}

func TestAgentInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := critest.Start(t, critest.Config{
			Images:  []critest.Image{{Name: "busybox"}},
			Scripts: []critest.Script{{Pod: "web", Runs: []critest.Run{{Duration: 3 * time.Second, ExitCode: 1}}}},
		})
		// One start is refused, and the runtime is restarted in the first hour.
		rt.Inject(critest.Fault{Method: "StartContainer", Times: 1, Err: status.Error(codes.ResourceExhausted, "busy")})
		time.AfterFunc(30*time.Minute, func() { rt.Restart(10 * time.Second) })

		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		client := rt.Client(t)
		go func() {
			defer close(ended)
			keepRunning(ctx, client, "web")
		}()
		time.Sleep(24 * time.Hour)
		require.InDelta(t, 24*60/5, rt.Count("StartContainer"), 10)
		require.Equal(t, "RunPodSandbox web; CreateContainer web/app; StartContainer web/app: ResourceExhausted; "+
			"RunPodSandbox web; CreateContainer web/app; StartContainer web/app", rt.Calls().Changes()[:6].String())
		cancel()
		<-ended
	})
}

// startPod runs a sandbox and a container in it, and returns the container's ID.
func startPod(ctx context.Context, client *cri.Client, name string, attempt uint32, command ...string) (string, error) {
	pod := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: "1", Attempt: attempt},
	}
	sandbox, err := client.RunPodSandbox(ctx, pod, "")
	if err != nil {
		return "", err
	}
	container, err := client.CreateContainer(ctx, sandbox, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "app", Attempt: attempt},
		Image:    &runtimeapi.ImageSpec{Image: "busybox"},
		Command:  command,
	}, pod)
	if err != nil {
		return "", err
	}
	return container, client.StartContainer(ctx, container)
}
