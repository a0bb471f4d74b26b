package eviction_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/gc/eviction"
)

// startApp runs a container of the pod on the runtime.
func startApp(t *testing.T, client *cri.Client, pod *corev1.Pod) string {
	t.Helper()
	sandboxID, sandbox := startSandbox(t, client, pod)
	return startRun(t, client, pod, sandboxID, sandbox, 0)
}

func startSandbox(t *testing.T, client *cri.Client, pod *corev1.Pod) (string, *runtimeapi.PodSandboxConfig) {
	t.Helper()
	sandbox := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID)},
		Labels:   cri.SandboxLabels(pod), Linux: &runtimeapi.LinuxPodSandboxConfig{CgroupParent: "/pods/" + pod.Name},
	}
	id, err := client.RunPodSandbox(t.Context(), sandbox, "")
	require.NoError(t, err)
	return id, sandbox
}

// startRun runs the pod's container for the attempt-th time.
func startRun(t *testing.T, client *cri.Client, pod *corev1.Pod, sandboxID string, sandbox *runtimeapi.PodSandboxConfig, attempt int) string {
	t.Helper()
	spec := &pod.Spec.Containers[0]
	_, err := client.PullImage(t.Context(), &runtimeapi.ImageSpec{Image: spec.Image}, nil, sandbox)
	require.NoError(t, err)
	id, err := client.CreateContainer(t.Context(), sandboxID, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: spec.Name, Attempt: uint32(attempt)}, Image: &runtimeapi.ImageSpec{Image: spec.Image},
		Labels: cri.ContainerLabels(pod, spec.Name), Annotations: cri.ContainerAnnotations(pod, spec, attempt),
	}, sandbox)
	require.NoError(t, err)
	require.NoError(t, client.StartContainer(t.Context(), id))
	return id
}

func appPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "app", Image: "app"}},
			Volumes: []corev1.Volume{
				{Name: "disk", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
				{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}},
			},
		},
	}
}

func TestUsageIsWhatTheRuntimeAndTheDirectoriesTell(t *testing.T) {
	rt := critest.Start(t, critest.Config{})
	client := rt.Client(t)
	pod, other, idle := appPod("web"), appPod("other"), appPod("idle")
	require.NoError(t, rt.SetUsage(startApp(t, client, pod), critest.Usage{Memory: 30 << 20, Disk: 5 << 20, Processes: 3}))
	startApp(t, client, other)

	root, logs := t.TempDir(), t.TempDir()
	volume := filepath.Join(root, "pods/uid-web/volumes/kubernetes.io~empty-dir/disk")
	log := filepath.Join(logs, "shop_web_uid-web/app/0.log")
	own := filepath.Join(root, "pods/uid-web")
	for _, file := range []string{volume + "/sub/data", log, own + "/etc-hosts", own + "/containers/app/1a2b3c4d"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("x", 64<<10)), 0o600))
	}
	require.NoError(t, os.Link(volume+"/sub/data", volume+"/again"))
	require.NoError(t, os.Symlink("/", volume+"/all"))

	stats := eviction.NewStats(client, eviction.StatsConfig{Root: root, PodLogs: logs})
	usage, err := stats.Usage(t.Context(), []*corev1.Pod{pod, idle}, true)
	require.NoError(t, err)
	require.Len(t, usage, 2)
	web := usage["uid-web"]
	assert.EqualValues(t, 30<<20, web.Containers["app"].Memory)
	assert.EqualValues(t, 5<<20, web.Containers["app"].Layer.Bytes)
	assert.EqualValues(t, 3, web.Processes)
	assert.InDelta(t, 64<<10, web.Volumes["disk"].Bytes, 32<<10, "a file with two names counts once")
	assert.EqualValues(t, 4, web.Volumes["disk"].Inodes, "the directory, one in it, the file, the link")
	assert.InDelta(t, 64<<10, web.Containers["app"].Logs.Bytes, 32<<10)
	assert.InDelta(t, 128<<10, web.Files.Bytes, 64<<10, "the hosts file and a termination message")
	assert.NotContains(t, web.Volumes, "memory")
	assert.Zero(t, usage["uid-idle"].Containers["app"])

	usage, err = stats.Usage(t.Context(), []*corev1.Pod{pod}, false)
	require.NoError(t, err)
	assert.Empty(t, usage["uid-web"].Volumes, "directories are not read for nothing")
}

// A container can make directories as deep as it likes, and flash has bad sectors: who has
// such a file must not be the pod that uses the least.
func TestWhatCannotBeReadKeepsNothingElseFromBeingCounted(t *testing.T) {
	root := t.TempDir()
	volume := filepath.Join(root, "pods/uid-web/volumes/kubernetes.io~empty-dir/disk")
	require.NoError(t, os.MkdirAll(volume, 0o755))
	inside, err := os.OpenRoot(volume)
	require.NoError(t, err)
	defer inside.Close()
	require.NoError(t, inside.MkdirAll(strings.Repeat(strings.Repeat("a", 255)+"/", 20), 0o755))
	require.NoError(t, os.WriteFile(volume+"/z", []byte(strings.Repeat("x", 1<<20)), 0o600))

	stats := eviction.NewStats(critest.Start(t, critest.Config{}).Client(t), eviction.StatsConfig{Root: root, PodLogs: t.TempDir()})
	usage, err := stats.Usage(t.Context(), []*corev1.Pod{appPod("web")}, true)
	require.ErrorIs(t, err, syscall.ENAMETOOLONG)
	require.ErrorContains(t, err, "count files in "+volume)
	assert.GreaterOrEqual(t, usage["uid-web"].Volumes["disk"].Bytes, int64(1<<20))
}

// weighing is a context that looks at how much memory is held when it is asked for the
// n-th time.
type weighing struct {
	context.Context
	asked, n int
	held     uint64
}

func (w *weighing) Err() error {
	if w.asked++; w.asked == w.n {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		w.held = stats.HeapAlloc
	}
	return nil
}

// An application that forgets to clean up may have millions of files in one directory.
func TestALargeDirectoryIsNotHeldInMemory(t *testing.T) {
	root := t.TempDir()
	volume := filepath.Join(root, "pods/uid-web/volumes/kubernetes.io~empty-dir/disk")
	require.NoError(t, os.MkdirAll(volume, 0o755))
	const files = 20_000
	for i := range files {
		require.NoError(t, os.Symlink("/", fmt.Sprintf("%s/a-file-with-a-long-name-%d", volume, i)))
	}
	stats := eviction.NewStats(away{}, eviction.StatsConfig{Root: root, PodLogs: t.TempDir()})
	count := func(n int) *weighing {
		ctx := &weighing{Context: t.Context(), n: n}
		usage, _ := stats.Usage(ctx, []*corev1.Pod{appPod("web")}, true)
		assert.EqualValues(t, files+1, usage["uid-web"].Volumes["disk"].Inodes)
		return ctx
	}
	first := count(1)
	assert.Less(t, count(first.asked/2).held, first.held+1<<20)
}

// The runtime tells of dead containers too. What they wrote takes disk, but the limit
// is that of each run.
func TestWhatEarlierRunsWroteCountsAgainstNoLimit(t *testing.T) {
	rt := critest.Start(t, critest.Config{})
	client := rt.Client(t)
	pod := appPod("web")
	pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("10Mi")}
	sandboxID, sandbox := startSandbox(t, client, pod)
	for attempt, disk := range []uint64{5 << 20, 6 << 20, 7 << 20} {
		id := startRun(t, client, pod, sandboxID, sandbox, attempt)
		require.NoError(t, rt.SetUsage(id, critest.Usage{Disk: disk}))
		if attempt < 2 {
			require.NoError(t, client.StopContainer(t.Context(), id, 0))
		}
	}
	stats := eviction.NewStats(client, eviction.StatsConfig{Root: t.TempDir(), PodLogs: t.TempDir()})
	usage, err := stats.Usage(t.Context(), []*corev1.Pod{pod}, true)
	require.NoError(t, err)
	assert.EqualValues(t, 7<<20, usage["uid-web"].Containers["app"].Layer.Bytes, "of the present run")
	assert.EqualValues(t, 11<<20, usage["uid-web"].Containers["app"].Earlier.Bytes)
}

// away is a runtime that does not answer.
type away struct{}

func (away) ListContainerStats(context.Context, *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	return nil, errors.New("the runtime is away")
}

func (away) ListPodSandboxStats(context.Context, *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	return nil, errors.New("the runtime is away")
}

func TestUsageWithoutARuntime(t *testing.T) {
	usage, err := eviction.NewStats(away{}, eviction.StatsConfig{Root: t.TempDir(), PodLogs: t.TempDir()}).Usage(t.Context(), []*corev1.Pod{appPod("web")}, true)
	require.EqualError(t, err, "ask what containers use: the runtime is away")
	assert.Contains(t, usage, types.UID("uid-web"))
}
