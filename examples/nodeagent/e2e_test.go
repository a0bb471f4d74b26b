//go:build e2e && linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
	"github.com/edged-project/edged/statusmgr"
)

// board is a node with a real containerd on which the agent's binary is run.
type board struct {
	t      *testing.T
	daemon *containerd.Daemon
	client *cri.Client
	binary string
	dir    string
}

func TestE2E(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "nodeagent")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	for _, version := range containerd.Versions(t) {
		t.Run("containerd "+version, func(t *testing.T) {
			daemon := containerd.Start(t, version)
			client, err := cri.Dial(t.Context(), daemon.Endpoint(), cri.Config{})
			require.NoError(t, err)
			defer client.Close(t.Context())
			for _, scene := range []struct {
				name string
				play func(*board)
			}{
				{"three manifests reach their state", threeManifests},
				{"an edited image restarts just that container, edited env none", editedPod},
				{"a removed file stops its pod within its grace", removedFile},
				{"a pod with new content starts when the old one is gone", newContent},
				{"bad manifests are reported and harm nobody", badManifests},
				{"an agent killed while it starts pods is followed by one that goes on", killedAgent},
				{"the runtime may restart under the agent", restartedRuntime},
				{"agent and runtime killed together", killedTogether},
				{"a reboot without the upstream brings everything back", rebooted},
				{"ConfigMaps and Secrets reach containers, and their changes at once", configuredPod},
				{"a read-only mount is so all the way down where the runtime can", readOnlyAllTheWayDown},
				{"groups are strictly the pod's where the runtime can, and else it does not run", strictGroups},
				{"what is mounted into a volume that is shared with the host goes with the pod", sharedVolume},
				{"a power cut without the network brings all back, with what it needs", powerCut},
				{"containers start and stop in their order, with their hooks", orderOfLife},
				{"what containers leave to say is in the status", farewells},
				{"a pod past its deadline is ended", pastItsDeadline},
				{"restart counts and last states survive", countsSurvive},
				{"edited resources are given to the running container", editedResources},
				{"a resize waits for room, and for memory that is in use", refusedResize},
				{"an ephemeral container joins a running pod", debuggedPod},
				{"probes end, restart and hide containers", probedPod},
				{"readiness outlives the agent", readyOverRestart},
				{"a rule restarts all containers", restartedAsAWhole},
				{"short of memory, the node evicts who exceeds its request", shortOfMemory},
				{"short of disk, the node evicts who fills it", shortOfDisk},
				{"a hundred pods at once, beside a hanging pull, a slow preStop hook and an absent secret", manyPods},
			} {
				t.Run(scene.name, func(t *testing.T) {
					b := &board{t: t, daemon: daemon, client: client, binary: binary, dir: t.TempDir()}
					require.NoError(t, os.Mkdir(b.path("manifests"), 0o755))
					t.Cleanup(b.clearCgroups)
					t.Cleanup(b.unmountAll)
					t.Cleanup(b.clear)
					scene.play(b)
				})
			}
		})
	}
}

func (b *board) path(name string) string { return filepath.Join(b.dir, name) }

// clear takes every pod off the node. The runtime may refuse while a container
// is just ending.
func (b *board) clear() {
	ctx := context.Background() // the test's own has ended
	assert.EventuallyWithT(b.t, func(c *assert.CollectT) {
		sandboxes, err := b.client.ListPodSandbox(ctx, nil)
		assert.NoError(c, err)
		for _, sandbox := range sandboxes {
			assert.NoError(c, b.client.StopPodSandbox(ctx, sandbox.Id))
			assert.NoError(c, b.client.RemovePodSandbox(ctx, sandbox.Id))
		}
	}, 30*time.Second, 200*time.Millisecond)
}

// process is a running agent.
type process struct {
	*exec.Cmd
	b   *board
	log *bytes.Buffer
}

// start starts an agent that, unless its flags say otherwise, does not mind how full the
// machine's disk is.
func (b *board) start(flags ...string) *process {
	b.t.Helper()
	p := &process{b: b, log: &bytes.Buffer{}}
	log, err := os.OpenFile(b.path("agent.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(b.t, err)
	p.Cmd = exec.Command(b.binary, append([]string{
		"-runtime", b.daemon.Endpoint(), "-manifests", b.path("manifests"), "-root", b.path("root"),
		"-pod-logs", b.path("log/pods"), "-container-logs", b.path("log/containers"), "-cgroup-root", b.cgroupRoot(),
		"-eviction-hard", "", "-image-gc-high-threshold", "100",
	}, flags...)...)
	p.Stderr = io.MultiWriter(p.log, log)
	require.NoError(b.t, p.Start())
	b.t.Cleanup(func() {
		p.kill()
		_ = log.Close()
		if b.t.Failed() {
			b.t.Logf("the agent said:\n%s", p.log)
		}
	})
	return p
}

// cgroupRoot is where the board's pods have their cgroups.
func (b *board) cgroupRoot() string { return "/edged-e2e" + strings.ReplaceAll(b.dir, "/", "_") }

// cgroups are those of the board's pods and above them, in every hierarchy.
func (b *board) cgroups() []string {
	roots, err := filepath.Glob("/sys/fs/cgroup/*" + b.cgroupRoot())
	require.NoError(b.t, err)
	var all []string
	for _, root := range append(roots, "/sys/fs/cgroup"+b.cgroupRoot()) {
		_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				all = append(all, path)
			}
			return nil // one may be going
		})
	}
	return all
}

// clearCgroups removes what agents leave, and kills what the runtime has lost track of
// when the start of a sandbox was torn.
func (b *board) clearCgroups() {
	b.await(30*time.Second, "no cgroup is left", func() bool {
		all := b.cgroups()
		for _, cgroup := range slices.Backward(all) {
			processes, _ := os.ReadFile(filepath.Join(cgroup, "cgroup.procs"))
			for _, pid := range strings.Fields(string(processes)) {
				if number, err := strconv.Atoi(pid); err == nil {
					_ = syscall.Kill(number, syscall.SIGKILL)
				}
			}
			_ = os.Remove(cgroup)
		}
		return len(all) == 0
	})
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.Process.Kill()
	_ = p.Wait()
}

// stop ends the agent as systemd does.
func (p *process) stop() {
	require.NoError(p.b.t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(p.b.t, p.Wait())
}

// write puts a manifest into the folder as an editor does, whole at once.
func (b *board) write(name, content string) {
	b.t.Helper()
	hidden := b.path("manifests/." + name)
	require.NoError(b.t, os.WriteFile(hidden, []byte(content), 0o600))
	require.NoError(b.t, os.Rename(hidden, b.path("manifests/"+name)))
}

func (b *board) remove(name string) {
	b.t.Helper()
	require.NoError(b.t, os.Remove(b.path("manifests/"+name)))
}

// pods returns the pods as the agent shows them, nil if it does not answer.
func (b *board) pods() []corev1.Pod {
	var list corev1.PodList
	if err := fetch(b.t.Context(), b.path("root"), "pods", &list); err != nil {
		return nil
	}
	return list.Items
}

// lines is one line for each pod: "web Running 2/2 0".
func (b *board) lines() []string {
	lines := []string{}
	for _, pod := range b.pods() {
		s := statusmgr.Summarize(&pod)
		lines = append(lines, fmt.Sprintf("%s %s %d/%d %d", pod.Name, s.Status, s.Ready, s.Containers, s.Restarts))
	}
	return lines
}

func (b *board) await(within time.Duration, what string, met func() bool) {
	b.t.Helper()
	if !assert.Eventually(b.t, met, within, 50*time.Millisecond, what) {
		b.t.Fatalf("%s; the agent shows %q", what, b.lines())
	}
}

func (b *board) awaitLines(within time.Duration, want ...string) {
	b.t.Helper()
	b.await(within, fmt.Sprintf("want %q", want), func() bool { return slices.Equal(want, b.lines()) })
}

// containers returns all containers of the pods of that name, in any state.
func (b *board) containers(pod string) []*runtimeapi.Container {
	b.t.Helper()
	containers, err := b.client.ListContainers(b.t.Context(), &runtimeapi.ContainerFilter{
		LabelSelector: map[string]string{cri.LabelPodName: pod},
	})
	require.NoError(b.t, err)
	return containers
}

// started maps the names of a pod's containers to when they were started. It
// fails when two of a name ever ran. One whose start was torn by the death of
// its agent never ran.
func (b *board) started(pod string) map[string]int64 {
	b.t.Helper()
	started := map[string]int64{}
	for _, c := range b.containers(pod) {
		status, err := b.client.ContainerStatus(b.t.Context(), c.Id, false)
		require.NoError(b.t, err)
		if status.Status.StartedAt == 0 {
			continue
		}
		name := c.Labels[cri.LabelContainerName]
		assert.NotContains(b.t, started, name, "container %s of pod %s ran twice", name, pod)
		started[name] = status.Status.StartedAt
	}
	return started
}

// awaitRunning waits until each of the pods runs with both containers, however
// many starts that took.
func (b *board) awaitRunning(within time.Duration, pods ...string) {
	b.t.Helper()
	b.await(within, fmt.Sprintf("%q run", pods), func() bool {
		lines := b.lines()
		for _, pod := range pods {
			if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, pod+" Running 2/2 ") }) {
				return false
			}
		}
		return true
	})
}

const sleeper = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME}
spec:
  terminationGracePeriodSeconds: 4
  containers:
    - name: app
      image: IMAGE
      command: [sh, -c, 'trap "exit 0" TERM; while true; do sleep 0.2; done']
      env: [{name: SIZE, value: small}]
    - {name: beside, image: IMAGE, command: [sleep, "100000"]}
`

func sleeperPod(name string) string {
	return strings.NewReplacer("NAME", name, "IMAGE", containerd.Busybox).Replace(sleeper)
}

func threeManifests(b *board) {
	t := b.t
	files, err := filepath.Glob("../manifests/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 3)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		b.write(filepath.Base(file), strings.ReplaceAll(string(content), "busybox:1.36", containerd.Busybox))
	}
	b.start()
	b.awaitLines(40*time.Second, "flaky CrashLoopBackOff 0/1 1", "job Completed 0/1 0", "web Running 2/2 0")

	out, err := exec.Command(b.binary, "pods", "-root", b.path("root")).CombinedOutput()
	require.NoError(t, err, string(out))
	t.Logf("nodeagent pods:\n%s", out)
	assert.Regexp(t, `NAMESPACE +NAME +READY +STATUS +RESTARTS +AGE +IP\n`, string(out))
	assert.Regexp(t, `default +web +2/2 +Running +0 +\d+s +10\.`, string(out))
	assert.Regexp(t, `default +job +0/1 +Completed +0 `, string(out))

	logs, err := filepath.Glob(b.path("log/pods/default_job_*/hello/0.log"))
	require.NoError(t, err)
	require.Len(t, logs, 1)
	content, err := os.ReadFile(logs[0])
	require.NoError(t, err)
	assert.Regexp(t, `^\S+Z stdout F hello from job\n$`, string(content))
	links, err := filepath.Glob(b.path("log/containers/job_default_hello-*.log"))
	require.NoError(t, err)
	require.Len(t, links, 1)
	linked, err := os.ReadFile(links[0])
	require.NoError(t, err)
	assert.Equal(t, content, linked)
	second, err := filepath.Glob(b.path("log/pods/default_flaky_*/app/1.log"))
	require.NoError(t, err)
	assert.Len(t, second, 1, "each run has a log of its own")

	for _, pod := range b.pods() {
		checkStatus(t, &pod)
	}
}

func checkStatus(t *testing.T, pod *corev1.Pod) {
	assert.NotNil(t, pod.Status.StartTime, pod.Name)
	assert.NotEmpty(t, pod.Status.HostIP, pod.Name)
	assert.NotEmpty(t, pod.Status.PodIP, pod.Name)
	assert.NotEmpty(t, pod.Status.QOSClass, pod.Name)
	for _, c := range pod.Status.ContainerStatuses {
		assert.True(t, strings.HasPrefix(c.ContainerID, "containerd://"), c.ContainerID)
		assert.NotEmpty(t, c.ImageID, c.Name)
	}
	if pod.Name == "flaky" {
		last := pod.Status.ContainerStatuses[0].LastTerminationState.Terminated
		require.NotNil(t, last)
		assert.Equal(t, int32(1), last.ExitCode)
		assert.Equal(t, "Error", last.Reason)
		assert.Contains(t, pod.Status.ContainerStatuses[0].State.Waiting.Message, "back-off 10s restarting failed container=app pod=flaky_default(")
	}
}

func editedPod(b *board) {
	t := b.t
	b.write("web.yaml", sleeperPod("web"))
	b.start()
	b.awaitLines(30*time.Second, "web Running 2/2 0")
	before := b.started("web")

	b.write("web.yaml", strings.ReplaceAll(sleeperPod("web"), "value: small", "value: large"))
	time.Sleep(5 * time.Second) // the change is seen within 20 s at the latest, but far earlier where files are watched
	assert.Equal(t, before, b.started("web"), "edited env restarts nothing")

	b.write("web.yaml", strings.Replace(sleeperPod("web"), containerd.Busybox, containerd.BusyboxEdited, 1))
	b.awaitLines(30*time.Second, "web Running 2/2 1")
	assert.Len(t, b.containers("web"), 3)
	for _, c := range b.containers("web") {
		if c.Labels[cri.LabelContainerName] == "beside" {
			status, err := b.client.ContainerStatus(t.Context(), c.Id, false)
			require.NoError(t, err)
			assert.Equal(t, before["beside"], status.Status.StartedAt, "the other container runs on")
		}
	}
	for _, c := range b.pods()[0].Status.ContainerStatuses {
		if c.Name == "app" {
			assert.Equal(t, containerd.BusyboxEdited, c.Image)
			assert.Equal(t, int32(1), c.RestartCount)
		}
	}
}

func removedFile(b *board) {
	b.write("web.yaml", sleeperPod("web"))
	b.start()
	b.awaitLines(30*time.Second, "web Running 2/2 0")
	ofPod := func(cgroup string) bool { return strings.Contains(cgroup, "/poduid-web") }
	assert.True(b.t, slices.ContainsFunc(b.cgroups(), ofPod), "the pod has a cgroup")
	b.remove("web.yaml")
	began := time.Now()
	b.await(20*time.Second, "nothing runs", func() bool {
		for _, c := range b.containers("web") {
			if c.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
				return false
			}
		}
		return true
	})
	// "beside" does not listen to SIGTERM as the first process of its container.
	assert.Greater(b.t, time.Since(began), 3*time.Second, "the grace period is given")
	assert.Less(b.t, time.Since(began), 10*time.Second, "and ends")
	b.awaitLines(5 * time.Second)
	assert.False(b.t, slices.ContainsFunc(b.cgroups(), ofPod), "it has gone with the pod")
}

func newContent(b *board) {
	t := b.t
	manifest := strings.Replace(sleeperPod("web"), ", uid: uid-web", "", 1)
	b.write("web.yaml", manifest)
	b.start()
	b.awaitLines(30*time.Second, "web Running 2/2 0")
	old := b.pods()[0].UID
	b.write("web.yaml", strings.ReplaceAll(manifest, "value: small", "value: large"))
	b.await(30*time.Second, "a new pod runs", func() bool {
		pods := b.pods()
		return len(pods) == 1 && pods[0].UID != old && pods[0].Status.Phase == corev1.PodRunning
	})
	var oldEnded, newStarted int64
	for _, c := range b.containers("web") {
		status, err := b.client.ContainerStatus(t.Context(), c.Id, false)
		require.NoError(t, err)
		if c.Labels[cri.LabelPodUID] == string(old) {
			oldEnded = max(oldEnded, status.Status.FinishedAt)
		} else if newStarted == 0 || status.Status.CreatedAt < newStarted {
			newStarted = status.Status.CreatedAt
		}
	}
	require.NotZero(t, oldEnded)
	assert.Less(t, oldEnded, newStarted, "the old one had ended before the new one was made")
}

func badManifests(b *board) {
	b.write("a-broken.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: [\n")
	b.write("b-kind.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: many}\n")
	b.write("c-nameless.yaml", strings.Replace(sleeperPod("x"), "name: x, uid: uid-x", "labels: {a: b}", 1))
	b.write("d-image.yaml", strings.ReplaceAll(sleeperPod("misnamed"), containerd.Busybox, "http://no/image"))
	b.write("e-fine.yaml", strings.Replace(sleeperPod("fine"), "spec:", "spec:\n  restartPolice: Always", 1))
	agent := b.start()
	b.awaitLines(30*time.Second, "fine Running 2/2 0", "misnamed InvalidImageName 0/2 0")
	agent.stop()
	said := strings.Split(agent.log.String(), "\n")
	for _, want := range [][]string{
		{"a-broken.yaml"},
		{"b-kind.yaml", "Deployment"},
		{"c-nameless.yaml", "metadata.name"},
		{"d-image.yaml", "default/misnamed", "spec.containers[0].image"},
		{"e-fine.yaml", "default/fine", "spec.restartPolice"},
	} {
		assert.True(b.t, slices.ContainsFunc(said, func(line string) bool {
			for _, word := range want {
				if !strings.Contains(line, word) {
					return false
				}
			}
			return true
		}), "no line of the log names %q", want)
	}
}

func killedAgent(b *board) {
	for _, name := range []string{"p1", "p2", "p3"} {
		b.write(name+".yaml", sleeperPod(name))
	}
	for _, after := range []time.Duration{30, 80, 150, 250, 400, 600, 900} {
		agent := b.start()
		time.Sleep(after * time.Millisecond)
		agent.kill()
	}
	b.start()
	b.awaitRunning(60*time.Second, "p1", "p2", "p3")
	for _, name := range []string{"p1", "p2", "p3"} {
		assert.Len(b.t, b.started(name), 2)
	}
}

func restartedRuntime(b *board) {
	b.write("web.yaml", sleeperPod("web"))
	b.start()
	b.awaitLines(30*time.Second, "web Running 2/2 0")
	before := b.started("web")
	b.daemon.Kill()
	time.Sleep(3 * time.Second)
	b.daemon.Restart()
	b.write("late.yaml", sleeperPod("late"))
	b.awaitLines(60*time.Second, "late Running 2/2 0", "web Running 2/2 0")
	assert.Equal(b.t, before, b.started("web"))
}

func killedTogether(b *board) {
	for _, name := range []string{"p1", "p2"} {
		b.write(name+".yaml", sleeperPod(name))
	}
	agent := b.start()
	b.await(30*time.Second, "a container", func() bool { return len(b.containers("p1")) > 0 })
	agent.kill()
	b.daemon.Kill()
	b.daemon.Restart()
	b.start()
	b.awaitRunning(60*time.Second, "p1", "p2")
	for _, name := range []string{"p1", "p2"} {
		assert.Len(b.t, b.started(name), 2)
	}
}

func rebooted(b *board) {
	b.write("web.yaml", sleeperPod("web"))
	agent := b.start()
	b.awaitLines(30*time.Second, "web Running 2/2 0")
	agent.kill()
	b.daemon.Reboot()
	// The upstream is out of reach: its folder is not there.
	require.NoError(b.t, os.Rename(b.path("manifests"), b.path("elsewhere")))
	b.start()
	b.awaitLines(60*time.Second, "web Running 2/2 2")
}
