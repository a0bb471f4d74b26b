package gc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/crilog"
	"github.com/edged-project/edged/gc"
)

var _ gc.Runtime = (*cri.Client)(nil)

const (
	running = runtimeapi.ContainerState_CONTAINER_RUNNING
	exited  = runtimeapi.ContainerState_CONTAINER_EXITED
	unknown = runtimeapi.ContainerState_CONTAINER_UNKNOWN
)

// node is a runtime with the log directories of its containers.
type node struct {
	t *testing.T
	*fakeRuntime
	podLogs, containerLogs string
}

func newNode(t *testing.T) *node {
	dir := t.TempDir()
	return &node{
		t:             t,
		fakeRuntime:   &fakeRuntime{errs: map[string]error{}},
		podLogs:       filepath.Join(dir, "pods"),
		containerLogs: filepath.Join(dir, "containers"),
	}
}

// config takes the pod with UID "gone" for gone.
func (n *node) config() gc.ContainersConfig {
	return gc.ContainersConfig{
		Removed:       func(uid types.UID) bool { return uid == "gone" },
		PodLogs:       n.podLogs,
		ContainerLogs: n.containerLogs,
	}
}

func (n *node) collect() error {
	return gc.NewContainers(n.fakeRuntime, n.config()).Collect(n.t.Context())
}

func podOf(uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pod-" + uid, UID: types.UID(uid)}}
}

// add puts a container with the ID <pod>-<restarts> into the runtime, in the
// sandbox <pod>, with a log, a rotated log and the link. It returns the log.
func (n *node) add(uid string, restarts int, state runtimeapi.ContainerState) string {
	pod := podOf(uid)
	id := fmt.Sprintf("%s-%d", uid, restarts)
	n.containers = append(n.containers, &runtimeapi.Container{
		Id: id, PodSandboxId: uid, State: state, CreatedAt: int64(restarts + 1),
		Metadata:    &runtimeapi.ContainerMetadata{Name: "app", Attempt: uint32(restarts)},
		Labels:      cri.ContainerLabels(pod, "app"),
		Annotations: cri.ContainerAnnotations(pod, &corev1.Container{Name: "app"}, restarts),
	})
	log := filepath.Join(crilog.PodDirectory(n.podLogs, pod.Namespace, pod.Name, pod.UID), crilog.ContainerPath("app", restarts))
	n.write(log)
	n.write(log + ".20261123-120000.gz")
	require.NoError(n.t, crilog.Link(n.containerLogs, pod, "app", id, log))
	return log
}

func (n *node) addSandbox(uid string, state runtimeapi.PodSandboxState) {
	n.sandboxes = append(n.sandboxes, &runtimeapi.PodSandbox{Id: uid, State: state, Labels: cri.SandboxLabels(podOf(uid))})
}

func (n *node) write(file string) {
	require.NoError(n.t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(n.t, os.WriteFile(file, []byte("x"), 0o644))
}

func (n *node) link(uid, id string) string {
	return crilog.LinkPath(n.containerLogs, "default", "pod-"+uid, "app", id)
}

func TestRemovesDeadContainersWithTheirLogs(t *testing.T) {
	n := newNode(t)
	first, second, third := n.add("live", 1, exited), n.add("live", 10, exited), n.add("live", 11, running)
	n.write(first + ".20261124-120000.tmp")
	n.write(filepath.Join(filepath.Dir(first), "notes"))

	require.NoError(t, n.collect())

	assert.Equal(t, []string{"RemoveContainer live-1"}, n.calls)
	assert.NoFileExists(t, first)
	assert.NoFileExists(t, first+".20261123-120000.gz")
	assert.NoFileExists(t, first+".20261124-120000.tmp")
	assert.NoFileExists(t, n.link("live", "live-1"))
	for _, log := range []string{filepath.Join(filepath.Dir(first), "notes"), second, second + ".20261123-120000.gz", third, n.link("live", "live-10"), n.link("live", "live-11")} {
		assert.FileExists(t, log)
	}
}

func TestRemovesAllThatAPodLeft(t *testing.T) {
	n := newNode(t)
	log := n.add("gone", 0, exited)
	n.addSandbox("gone", runtimeapi.PodSandboxState_SANDBOX_NOTREADY)
	kept := n.add("live", 0, exited)
	n.addSandbox("live", runtimeapi.PodSandboxState_SANDBOX_NOTREADY)
	n.write(filepath.Join(n.podLogs, "default_pod-unlisted_gone", "app", "0.log"))

	require.NoError(t, n.collect())

	assert.Equal(t, []string{"RemoveContainer gone-0", "StopPodSandbox gone", "RemovePodSandbox gone"}, n.calls)
	assert.NoDirExists(t, filepath.Dir(filepath.Dir(log)))
	assert.NoDirExists(t, filepath.Join(n.podLogs, "default_pod-unlisted_gone"))
	assert.NoFileExists(t, n.link("gone", "gone-0"))
	assert.FileExists(t, kept)
}

func TestNoPodIsGoneBeforeTheSourcesAreReady(t *testing.T) {
	n := newNode(t)
	log := n.add("gone", 0, exited)
	n.add("live", 0, exited)
	n.add("live", 1, exited)
	cfg := n.config()
	isReady := false
	cfg.Ready = func() bool { return isReady }
	containers := gc.NewContainers(n.fakeRuntime, cfg)

	require.NoError(t, containers.Collect(t.Context()))
	assert.Equal(t, []string{"RemoveContainer live-0"}, n.calls, "an older one goes in any case")
	assert.FileExists(t, log)

	isReady = true
	require.NoError(t, containers.Collect(t.Context()))
	assert.Equal(t, []string{"RemoveContainer live-0", "RemoveContainer gone-0"}, n.calls)
}

func TestARoundComesEachPeriodAndSoonAfterTheSourcesAreReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.add("gone", 0, exited)
		cfg := n.config()
		cfg.Period = 10 * time.Minute
		var isReady atomic.Bool
		cfg.Ready = isReady.Load
		go func() { assert.NoError(t, gc.NewContainers(n.fakeRuntime, cfg).Run(t.Context())) }()
		time.Sleep(time.Second)
		_, perRound := n.seen()
		time.Sleep(time.Hour)
		calls, lists := n.seen()
		assert.Empty(t, calls)
		assert.Equal(t, 7*perRound, lists, "waiting asks the runtime nothing")

		isReady.Store(true)
		time.Sleep(2 * time.Second)
		calls, _ = n.seen()
		assert.Equal(t, []string{"RemoveContainer gone-0"}, calls)
	})
}

// onSandboxes is a runtime that tells when sandboxes are listed: after containers.
type onSandboxes struct {
	gc.Runtime
	tell func()
}

func (o onSandboxes) ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	o.tell()
	return o.Runtime.ListPodSandbox(ctx, filter)
}

// notReadyNode has a container of a pod that is gone, for when its sources are ready.
func notReadyNode(t *testing.T) (*node, gc.ContainersConfig, *atomic.Bool) {
	n := newNode(t)
	n.add("gone", 0, exited)
	cfg, isReady := n.config(), new(atomic.Bool)
	cfg.Ready = isReady.Load
	return n, cfg, isReady
}

func TestSourcesThatBecomeReadyDuringARoundAreSeenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, cfg, isReady := notReadyNode(t)
		rt := onSandboxes{n.fakeRuntime, func() { isReady.Store(true) }}
		go func() { assert.NoError(t, gc.NewContainers(rt, cfg).Run(t.Context())) }()
		time.Sleep(2 * time.Second)
		calls, _ := n.seen()
		assert.Equal(t, []string{"RemoveContainer gone-0"}, calls)
	})
}

func TestSourcesThatBecomeReadyWhileContainersEndAllTheTimeAreSeenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, cfg, isReady := notReadyNode(t)
		containers := gc.NewContainers(n.fakeRuntime, cfg)
		go func() { assert.NoError(t, containers.Run(t.Context())) }()
		for second := range 20 {
			isReady.Store(second >= 5)
			containers.Changed("crashes")
			time.Sleep(500 * time.Millisecond)
		}
		calls, _ := n.seen()
		assert.Equal(t, []string{"RemoveContainer gone-0"}, calls)
	})
}

// A static pod has its UID again when its file comes back, which it may while others are
// removed.
func TestWhatAPodLeftStaysIfThePodComesBackBeforeItsTurn(t *testing.T) {
	for name, row := range map[string]struct {
		leave func(n *node, uid string, restarts int)
		want  []string
	}{
		"containers": {
			func(n *node, uid string, restarts int) { n.add(uid, restarts, exited) },
			[]string{"RemoveContainer a-0"},
		},
		"sandboxes": {
			func(n *node, uid string, _ int) { n.addSandbox(uid, runtimeapi.PodSandboxState_SANDBOX_NOTREADY) },
			[]string{"StopPodSandbox a", "RemovePodSandbox a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			row.leave(n, "a", 0)
			row.leave(n, "back", 1)
			cfg := n.config()
			cfg.Removed = func(uid types.UID) bool {
				calls, _ := n.seen()
				return uid != "back" || len(calls) == 0
			}
			require.NoError(t, gc.NewContainers(n.fakeRuntime, cfg).Collect(t.Context()))
			assert.Equal(t, row.want, n.calls)
		})
	}
}

func TestNoPodIsGoneByDefault(t *testing.T) {
	n := newNode(t)
	log := n.add("gone", 0, exited)
	n.addSandbox("gone", runtimeapi.PodSandboxState_SANDBOX_NOTREADY)
	cfg := n.config()
	cfg.Removed = nil

	require.NoError(t, gc.NewContainers(n.fakeRuntime, cfg).Collect(t.Context()))
	assert.Empty(t, n.calls)
	assert.FileExists(t, log)
}

func TestCollectAllKeepsNothingOfAPodThatHasEndedButItsLogDirectory(t *testing.T) {
	n := newNode(t)
	log := n.add("ended", 0, exited)
	n.addSandbox("ended", runtimeapi.PodSandboxState_SANDBOX_NOTREADY)
	n.add("live", 0, exited)
	n.addSandbox("live", runtimeapi.PodSandboxState_SANDBOX_NOTREADY)
	n.add("gone", 0, exited)
	cfg := n.config()
	cfg.Ended = func(uid types.UID) bool { return uid == "ended" }
	containers := gc.NewContainers(n.fakeRuntime, cfg)

	require.NoError(t, containers.Collect(t.Context()))
	require.Equal(t, []string{"RemoveContainer gone-0"}, n.calls)
	require.NoError(t, containers.CollectAll(t.Context()))
	assert.Equal(t, []string{"RemoveContainer ended-0", "StopPodSandbox ended", "RemovePodSandbox ended"}, n.calls[1:])
	assert.NoFileExists(t, log)
	assert.DirExists(t, filepath.Dir(log), "the pod is still there")
}

func TestCollectAllWaitsForTheSourcesToo(t *testing.T) {
	n := newNode(t)
	n.add("gone", 0, exited)
	n.add("ended", 0, exited)
	cfg := n.config()
	cfg.Ended = func(uid types.UID) bool { return uid == "ended" }
	cfg.Ready = func() bool { return false }
	require.NoError(t, gc.NewContainers(n.fakeRuntime, cfg).CollectAll(t.Context()))
	assert.Empty(t, n.calls)
}

func TestUnknownContainerIsStoppedBeforeItIsRemoved(t *testing.T) {
	n := newNode(t)
	n.add("gone", 0, unknown)
	require.NoError(t, n.collect())
	assert.Equal(t, []string{"StopContainer gone-0 2s", "RemoveContainer gone-0"}, n.calls)
}

func TestUnknownContainerThatCannotBeStoppedStays(t *testing.T) {
	n := newNode(t)
	log := n.add("gone", 0, unknown)
	n.set("StopContainer gone-0 2s", errors.New("no answer"))

	require.ErrorContains(t, n.collect(), `stop container "gone-0" of unknown state: no answer`)
	assert.NotContains(t, n.calls, "RemoveContainer gone-0")
	assert.FileExists(t, log, "the log of a container that is left stays too")
}

func TestWhatTheRuntimeNoLongerKnowsIsNoError(t *testing.T) {
	n := newNode(t)
	log := n.add("gone", 0, unknown)
	n.addSandbox("gone", runtimeapi.PodSandboxState_SANDBOX_NOTREADY)
	n.containers[0].PodSandboxId = "forgotten"
	notFound := status.Error(codes.NotFound, "no such object")
	for _, call := range []string{
		"StopContainer gone-0 2s", "RemoveContainer gone-0", "StopPodSandbox gone", "RemovePodSandbox gone",
	} {
		n.set(call, notFound)
	}
	require.NoError(t, n.collect())
	assert.NoFileExists(t, log)
	assert.Equal(t, []string{
		"StopContainer gone-0 2s", "RemoveContainer gone-0", "StopPodSandbox gone", "RemovePodSandbox gone",
	}, n.calls)
}

func TestSandboxThatCannotBeStoppedStays(t *testing.T) {
	n := newNode(t)
	n.addSandbox("gone", runtimeapi.PodSandboxState_SANDBOX_NOTREADY)
	n.set("StopPodSandbox gone", errors.New("network plugin failed"))

	require.ErrorContains(t, n.collect(), `stop sandbox "gone": network plugin failed`)
	assert.Equal(t, []string{"StopPodSandbox gone"}, n.calls)
}

func TestFailureHoldsUpNothingElse(t *testing.T) {
	n := newNode(t)
	n.add("live", 0, exited)
	n.add("live", 1, exited)
	n.add("live", 2, exited)
	n.addSandbox("gone", runtimeapi.PodSandboxState_SANDBOX_NOTREADY)
	leftover := filepath.Join(n.podLogs, "default_pod-gone_gone")
	n.write(filepath.Join(leftover, "app", "0.log"))
	n.set("RemoveContainer live-0", errors.New("busy"))

	require.ErrorContains(t, n.collect(), `remove container "live-0": busy`)
	assert.Equal(t, []string{
		"RemoveContainer live-0", "RemoveContainer live-1", "StopPodSandbox gone", "RemovePodSandbox gone",
	}, n.calls)
	assert.NoDirExists(t, leftover)

	n.set("RemoveContainer live-0", nil)
	require.NoError(t, n.collect())
	assert.Contains(t, n.calls[4:], "RemoveContainer live-0", "tried again in the next round")
}

func TestRuntimeThatDoesNotListCostsNoLogs(t *testing.T) {
	n := newNode(t)
	log := n.add("gone", 0, running)
	n.set("ListContainers", errors.New("unavailable"))
	n.set("ListPodSandbox", errors.New("unavailable"))

	err := n.collect()
	for _, step := range []string{"collect containers: ", "collect sandboxes: ", "collect logs: "} {
		require.ErrorContains(t, err, step)
	}
	assert.FileExists(t, log)
}

func TestLogsOfAPodWithAContainerStay(t *testing.T) {
	n := newNode(t)
	log := n.add("gone", 0, running)
	require.NoError(t, n.collect())
	assert.FileExists(t, log)
}

func TestOnlyLogDirectoriesOfPodsAreRemoved(t *testing.T) {
	n := newNode(t)
	cfg := n.config()
	cfg.Removed = func(types.UID) bool { return true }
	for _, name := range []string{"lost+found", "gone", "a_b_c_d", "default_pod_"} {
		n.write(filepath.Join(n.podLogs, name, "file"))
	}
	n.write(filepath.Join(n.podLogs, "a_b_file"))
	n.write(filepath.Join(n.podLogs, "default_pod_uid", "app", "0.log"))

	require.NoError(t, gc.NewContainers(n.fakeRuntime, cfg).Collect(t.Context()))
	left, err := os.ReadDir(n.podLogs)
	require.NoError(t, err)
	assert.Len(t, left, 5)
	assert.NoDirExists(t, filepath.Join(n.podLogs, "default_pod_uid"))
}

func TestDanglingLinksAreRemoved(t *testing.T) {
	n := newNode(t)
	require.NoError(t, os.Remove(n.add("live", 0, exited)))
	require.NoError(t, os.Remove(n.add("other", 0, running)))
	n.add("third", 0, exited)
	stray := filepath.Join(n.containerLogs, "nobody_default_app-0123.log")
	require.NoError(t, os.Symlink(filepath.Join(n.podLogs, "nowhere"), stray))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(n.containerLogs, "current")))
	n.write(filepath.Join(n.containerLogs, "README"))

	require.NoError(t, n.collect())

	links, err := os.ReadDir(n.containerLogs)
	require.NoError(t, err)
	var names []string
	for _, link := range links {
		names = append(names, link.Name())
	}
	assert.Equal(t, []string{
		"README",
		"current", // not named as links to logs are
		filepath.Base(n.link("other", "other-0")), // its log is being rotated
		filepath.Base(n.link("third", "third-0")),
	}, names)
}

// The names of links are cut to what file systems take: those of a static pod on a node
// with a long name may lack the ID of the container.
func TestTheLinkOfALaterContainerStays(t *testing.T) {
	n := newNode(t)
	long := strings.Repeat("x", 117)
	n.add(long, 0, exited)
	n.add(long, 1, exited)
	n.add(long, 2, running)
	link := n.link(long, long+"-2")
	require.Equal(t, n.link(long, long+"-0"), link)
	require.NoError(t, n.collect())
	require.Equal(t, []string{"RemoveContainer " + long + "-0"}, n.calls)
	assert.FileExists(t, link)
}

func TestNothingOutsideTheLogDirectoriesIsRemoved(t *testing.T) {
	n := newNode(t)
	outside := filepath.Join(filepath.Dir(n.podLogs), "outside")
	n.write(filepath.Join(outside, "app", "0.log"))
	n.add("live", 0, running)

	t.Run("by the names in labels", func(t *testing.T) {
		n.add("gone", 0, exited)
		n.containers[len(n.containers)-1].Labels[cri.LabelPodNamespace] = "../outside/x"
		n.containers[len(n.containers)-1].Labels[cri.LabelContainerName] = "../../../outside/app"
		require.Error(t, n.collect())
	})
	t.Run("through a link", func(t *testing.T) {
		dir := filepath.Join(n.podLogs, "default_pod-gone_gone")
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.RemoveAll(filepath.Join(dir, "app")))
		require.NoError(t, os.Symlink(filepath.Join(outside, "app"), filepath.Join(dir, "app")))
		n.containers[len(n.containers)-1].Labels = cri.ContainerLabels(podOf("gone"), "app")
		require.Error(t, n.collect())
	})
	assert.FileExists(t, filepath.Join(outside, "app", "0.log"))
}

func TestMissingLogDirectoriesAreNoError(t *testing.T) {
	n := newNode(t)
	n.add("gone", 0, exited)
	require.NoError(t, os.RemoveAll(filepath.Dir(n.podLogs)))
	require.NoError(t, n.collect())
	assert.Equal(t, []string{"RemoveContainer gone-0"}, n.calls)
}

func TestRunCollectsAtOnceAndEachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- gc.NewContainers(n.fakeRuntime, n.config()).Run(ctx) }()

		synctest.Wait()
		_, perRound := n.seen()
		require.Positive(t, perRound)
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		_, lists := n.seen()
		assert.Equal(t, 11*perRound, lists)

		cancel()
		require.NoError(t, <-done)
	})
}

func TestDeadContainersOfAPodThatHasChangedDoNotWaitForTheRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		cfg := n.config()
		cfg.Policy.MaxContainers = 1
		containers := gc.NewContainers(n.fakeRuntime, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- containers.Run(ctx) }()
		time.Sleep(10 * time.Second)

		n.mu.Lock()
		for restarts := range 3 {
			n.add("crashes", restarts, exited)
			n.add("other", restarts, exited)
		}
		n.mu.Unlock()
		for range 100 {
			containers.Changed("crashes")
		}
		containers.Changed("nobody")
		_, before := n.seen()
		time.Sleep(5 * time.Second)
		_, after := n.seen()
		assert.Equal(t, 1, after-before, "many changes are one list")
		assert.Equal(t, 4, n.left(), "of the one the last, of the other all")
		time.Sleep(time.Minute)
		assert.Equal(t, 2, n.left())
		cancel()
		require.NoError(t, <-done)
	})
}

func TestRunOutlivesARuntimeThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.add("gone", 0, exited)
		n.set("ListContainers", errors.New("unavailable"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- gc.NewContainers(n.fakeRuntime, n.config()).Run(ctx) }()

		time.Sleep(time.Hour)
		synctest.Wait()
		calls, _ := n.seen()
		require.Empty(t, calls)
		n.set("ListContainers", nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		calls, _ = n.seen()
		assert.Equal(t, []string{"RemoveContainer gone-0"}, calls)

		cancel()
		require.NoError(t, <-done)
	})
}

func TestInvalidPolicyIsRefused(t *testing.T) {
	n := newNode(t)
	cfg := n.config()
	cfg.Policy.MinAge = -time.Minute
	containers := gc.NewContainers(n.fakeRuntime, cfg)
	require.ErrorContains(t, containers.Run(t.Context()), "MinAge")
	require.ErrorContains(t, containers.Collect(t.Context()), "MinAge")
}

func TestRoundEndsWithItsContext(t *testing.T) {
	n := newNode(t)
	n.add("gone", 0, exited)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := gc.NewContainers(n.fakeRuntime, n.config()).Collect(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, n.calls)
}
