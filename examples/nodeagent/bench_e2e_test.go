//go:build e2e && linux

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
	"github.com/edged-project/edged/podmanager/podspec"
)

// startsPerRun are as many as tell a 99th percentile from a maximum, nearly.
const startsPerRun = 40

// BenchmarkStart puts the agent's way to start a pod beside the bare CRI calls
// for the same pod on the same containerd: those first, as the agent would take
// their pods for orphans. Both are measured from the moment that the pod is wanted
// until the runtime's own time of the container's start.
func BenchmarkStart(b *testing.B) {
	for _, version := range containerd.Versions(b) {
		b.Run("containerd-"+version, func(b *testing.B) {
			client, err := cri.Dial(b.Context(), containerd.Start(b, version).Endpoint(), cri.Config{})
			require.NoError(b, err)
			defer client.Close(context.Background())
			var bare, agent []time.Duration
			for i := range startsPerRun * b.N {
				bare = append(bare, startBare(b, client, fmt.Sprintf("bare-%d", i)))
			}
			upstream, a := benchmarkAgent(b, client, 0)
			for i := range startsPerRun * b.N {
				agent = append(agent, startByAgent(b, client, a, upstream, fmt.Sprintf("agent-%d", i)))
			}
			report(b, bare, agent)
		})
	}
}

func report(b *testing.B, bare, agent []time.Duration) {
	for _, p := range []int{50, 99} {
		was, is := percentile(bare, p), percentile(agent, p)
		b.ReportMetric(float64(was.Microseconds())/1000, fmt.Sprintf("bare-p%d-ms", p))
		b.ReportMetric(float64(is.Microseconds())/1000, fmt.Sprintf("agent-p%d-ms", p))
		b.ReportMetric(float64((is-was).Microseconds())/1000, fmt.Sprintf("added-p%d-ms", p))
		b.ReportMetric(float64(is)/float64(was), fmt.Sprintf("ratio-p%d", p))
	}
}

func percentile(sample []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(sample))
	return sorted[(len(sorted)-1)*p/100]
}

func benchmarkPod(name string) *corev1.Pod {
	pod := podNamed(name, corev1.RestartPolicyNever, "app")
	pod.UID = types.UID(fmt.Sprintf("%s-%d", name, time.Now().UnixNano()))
	grace := int64(0)
	pod.Spec.TerminationGracePeriodSeconds = &grace
	pod.Spec.Containers[0].Image = containerd.Busybox
	pod.Spec.Containers[0].ImagePullPolicy = corev1.PullIfNotPresent
	pod.Spec.Containers[0].Command = []string{"sleep", "100000"}
	return pod
}

// startBare makes the calls that any agent has to make, and no other.
func startBare(b *testing.B, client *cri.Client, name string) time.Duration {
	b.Helper()
	ctx, pod := b.Context(), benchmarkPod(name)
	sandbox, err := podspec.Sandbox(pod, podspec.SandboxOptions{LogRoot: b.TempDir()})
	require.NoError(b, err)
	require.NoError(b, os.MkdirAll(sandbox.LogDirectory+"/app", 0o755))
	image, err := client.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: containerd.Busybox}, false)
	require.NoError(b, err)
	config, err := podspec.Container(pod, &pod.Spec.Containers[0], podspec.ContainerOptions{Image: image.Image})
	require.NoError(b, err)

	began := time.Now()
	sandboxID, err := client.RunPodSandbox(ctx, sandbox, "")
	require.NoError(b, err)
	id, err := client.CreateContainer(ctx, sandboxID, config, sandbox)
	require.NoError(b, err)
	require.NoError(b, client.StartContainer(ctx, id))
	took := startedAt(b, client, id).Sub(began)
	require.NoError(b, client.StopPodSandbox(ctx, sandboxID))
	require.NoError(b, client.RemovePodSandbox(ctx, sandboxID))
	return took
}

func startedAt(b *testing.B, client *cri.Client, id string) time.Time {
	b.Helper()
	status, err := client.ContainerStatus(b.Context(), id, false)
	require.NoError(b, err)
	return time.Unix(0, status.Status.StartedAt)
}

// benchmarkAgent is a whole agent in this process, with an upstream that is told
// what to deliver.
func benchmarkAgent(b *testing.B, client *cri.Client, maxCrashDelay time.Duration) (*cloud, *agent) {
	b.Helper()
	opts := options{root: b.TempDir(), nodeName: "bench", imagesHigh: 100, maxCrashDelay: maxCrashDelay}
	opts.podLogs, opts.containerLogs = opts.root+"/pods", opts.root+"/links"
	upstream := newCloud()
	a, err := newAgent(client, upstream, opts, zap.NewNop())
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	b.Cleanup(func() {
		cancel()
		require.NoError(b, <-done)
		a.close()
	})
	time.Sleep(2 * time.Second) // the agent has looked around
	return upstream, a
}

func startByAgent(b *testing.B, client *cri.Client, a *agent, upstream *cloud, name string) time.Duration {
	b.Helper()
	pod := benchmarkPod(name)
	began := time.Now()
	upstream.set(pod)
	var id string
	require.Eventually(b, func() bool {
		status, _ := a.statuses.Get(pod.UID)
		if len(status.ContainerStatuses) == 1 && status.ContainerStatuses[0].State.Running != nil {
			id = status.ContainerStatuses[0].ContainerID[len("containerd://"):]
		}
		return id != ""
	}, time.Minute, 20*time.Millisecond)
	took := startedAt(b, client, id).Sub(began)
	upstream.set()
	require.Eventually(b, func() bool { return len(a.pods.Pods()) == 0 }, time.Minute, 20*time.Millisecond)
	return took
}
