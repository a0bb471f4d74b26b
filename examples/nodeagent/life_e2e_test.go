//go:build e2e && linux

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest/containerd"
)

// manifest puts a name and the image into a manifest that is written with them
// in capitals.
func manifest(text, name string) string {
	return strings.NewReplacer("NAME", name, "IMAGE", containerd.Busybox).Replace(text)
}

// In the order in which they are to happen, each container tells of its start
// and end, and the exec hooks, through its output, of theirs.
const orderedPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME}
spec:
  terminationGracePeriodSeconds: 20
  initContainers:
    - {name: first, image: IMAGE, command: [sh, -c, 'echo "first begins"; sleep 1; echo "first ends"']}
    - name: sidecar
      image: IMAGE
      restartPolicy: Always
      command: [sh, -c, 'trap "echo \"sidecar ends\"; exit 0" TERM; echo "sidecar begins"; while true; do sleep 0.1; done']
    - {name: second, image: IMAGE, command: [sh, -c, 'echo "second begins"; sleep 1; echo "second ends"']}
  containers:
    - name: one
      image: IMAGE
      command: [sh, -c, 'trap "sleep 1; echo \"one ends\"; exit 0" TERM; echo "one begins"; while true; do sleep 0.1; done']
      lifecycle:
        postStart: {exec: {command: [sh, -c, 'sleep 1; echo "one is welcomed" > /proc/1/fd/1']}}
        preStop: {exec: {command: [sh, -c, 'echo "one is warned" > /proc/1/fd/1; sleep 1']}}
    - name: two
      image: IMAGE
      command: [sh, -c, 'trap "echo \"two ends\"; exit 0" TERM; echo "two begins"; while true; do sleep 0.1; done']
      lifecycle: {preStop: {sleep: {seconds: 1}}}
`

// spoken returns what the containers of a pod said, by the timestamps of their
// logs.
func (b *board) spoken(pod string) []string {
	b.t.Helper()
	files, err := filepath.Glob(b.path("log/pods/default_" + pod + "_*/*/*.log"))
	require.NoError(b.t, err)
	var entries []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(b.t, err)
		entries = append(entries, strings.Split(strings.TrimSpace(string(content)), "\n")...)
	}
	slices.Sort(entries)
	for i := range entries {
		if fields := strings.SplitN(entries[i], " ", 4); len(fields) == 4 {
			entries[i] = fields[3]
		}
	}
	return entries
}

func orderOfLife(b *board) {
	b.write("ordered.yaml", manifest(orderedPod, "ordered"))
	b.start()
	b.awaitLines(60*time.Second, "ordered Running 3/3 0")
	b.await(10*time.Second, "two begins", func() bool { return slices.Contains(b.spoken("ordered"), "two begins") })
	assert.Equal(b.t, []string{
		"first begins", "first ends", "sidecar begins", "second begins", "second ends",
		"one begins", "one is welcomed", "two begins",
	}, b.spoken("ordered"))

	began := time.Now()
	b.remove("ordered.yaml")
	var said []string
	b.await(30*time.Second, "the sidecar ends", func() bool {
		if now := b.spoken("ordered"); len(now) > len(said) { // the logs go with the pod
			said = now
		}
		return slices.Contains(said, "sidecar ends")
	})
	assert.Less(b.t, time.Since(began), 20*time.Second, "within the grace period")
	ending := said[8:]
	assert.Equal(b.t, "sidecar ends", ending[len(ending)-1], "the sidecar ends last: %q", ending)
	assert.Less(b.t, slices.Index(ending, "one is warned"), slices.Index(ending, "one ends"))
	assert.Contains(b.t, ending, "two ends")
}

const lastWordsPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME}
spec:
  restartPolicy: Never
  containers:
    - name: file
      image: IMAGE
      command: [sh, -c, 'echo "no disk" > /dev/termination-log; exit 3']
    - name: log
      image: IMAGE
      terminationMessagePolicy: FallbackToLogsOnError
      command: [sh, -c, 'echo "it broke"; exit 4']
    - name: memory
      image: IMAGE
      command: [sh, -c, 'x=a; while true; do x="$x$x"; done']
      resources: {limits: {memory: 16Mi}}
    - name: hosts
      image: IMAGE
      command: [sh, -c, 'grep NAME /etc/hosts > /dev/termination-log; exit 0']
`

func farewells(b *board) {
	t := b.t
	b.write("words.yaml", manifest(lastWordsPod, "words"))
	b.start()
	b.await(60*time.Second, "the pod fails", func() bool {
		pods := b.pods()
		return len(pods) == 1 && pods[0].Status.Phase == corev1.PodFailed
	})
	pod := b.pods()[0]
	ended := map[string]*corev1.ContainerStateTerminated{}
	for _, c := range pod.Status.ContainerStatuses {
		require.NotNil(t, c.State.Terminated, c.Name)
		ended[c.Name] = c.State.Terminated
	}
	assert.Equal(t, "no disk\n", ended["file"].Message)
	assert.Equal(t, int32(3), ended["file"].ExitCode)
	assert.Equal(t, "it broke\n", ended["log"].Message)
	assert.Equal(t, "OOMKilled", ended["memory"].Reason)
	assert.Equal(t, int32(137), ended["memory"].ExitCode)
	assert.Regexp(t, regexp.MustCompile(`^`+regexp.QuoteMeta(pod.Status.PodIP)+`\s+words\n$`), ended["hosts"].Message)
}

func pastItsDeadline(b *board) {
	b.write("late.yaml", strings.Replace(sleeperPod("late"), "spec:", "spec:\n  activeDeadlineSeconds: 4", 1))
	b.start()
	b.awaitLines(30*time.Second, "late Running 2/2 0")
	b.awaitLines(30*time.Second, "late DeadlineExceeded 0/2 0")
	for _, c := range b.containers("late") {
		assert.Equal(b.t, runtimeapi.ContainerState_CONTAINER_EXITED, c.State)
	}
	out, err := exec.Command(b.binary, "events", "-root", b.path("root")).CombinedOutput()
	require.NoError(b.t, err, string(out))
	for _, want := range []string{
		`Normal +Pulled +default/late spec.containers\{app\} +Container image "` + containerd.Busybox + `" already present on machine`,
		`Normal +Created +default/late spec.containers\{app\} +Container created`,
		`Normal +Started +default/late spec.containers\{app\} +Container started`,
		`Warning +DeadlineExceeded +default/late +Pod was active on the node longer than the specified deadline`,
		`Normal +Killing +default/late spec.containers\{app\} +Stopping container app`,
	} {
		assert.Regexp(b.t, want, string(out))
	}
}

const smallPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME}
spec:
  terminationGracePeriodSeconds: 1
  hostNetwork: true
  containers: [{name: app, image: IMAGE, command: [sleep, "100000"]}]
`

// slowPod takes its time when it is told to go.
const slowPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME}
spec:
  terminationGracePeriodSeconds: 600
  hostNetwork: true
  containers:
    - name: app
      image: IMAGE
      command: [sleep, "100000"]
      lifecycle: {preStop: {exec: {command: [sleep, "500"]}}}
`

// lackingSecret is a pod whose volume cannot be mounted.
func lackingSecret(name string) string {
	text := strings.Replace(manifest(smallPod, name), "containers:", "volumes: [{name: secret, secret: {secretName: absent}}]\n  containers:", 1)
	return strings.Replace(text, `"100000"]`, `"100000"], volumeMounts: [{name: secret, mountPath: /secret}]`, 1)
}

// silentRegistry takes connections and never answers. It tells of the first.
func silentRegistry(t *testing.T) (address string, asked <-chan struct{}) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	first := make(chan struct{})
	go func() {
		tell := sync.OnceFunc(func() { close(first) })
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			tell()
		}
	}()
	return listener.Addr().String(), first
}

func manyPods(b *board) {
	registry, asked := silentRegistry(b.t)
	b.write("slow.yaml", manifest(slowPod, "slow"))
	b.write("hanging.yaml", strings.NewReplacer("NAME", "hanging", "IMAGE", registry+"/app:1").Replace(smallPod))
	b.start()
	b.await(time.Minute, "slow runs", func() bool { return slices.Contains(b.lines(), "slow Running 1/1 0") })
	select {
	case <-asked:
	case <-time.After(time.Minute):
		b.t.Fatal("the registry is not asked for the image")
	}
	b.remove("slow.yaml")
	b.await(30*time.Second, "slow is told to go", func() bool { return slices.Contains(b.lines(), "slow Terminating 1/1 0") })

	const pods = 100
	var documents []string
	for i := range pods {
		documents = append(documents, manifest(smallPod, fmt.Sprintf("small-%02d", i)))
	}
	b.write("a-lacking.yaml", lackingSecret("lacking"))
	b.write("many.yaml", strings.Join(documents, "---\n"))
	began := time.Now()
	b.await(4*time.Minute, "all run", func() bool {
		running := 0
		for _, line := range b.lines() {
			if strings.HasPrefix(line, "small-") && strings.HasSuffix(line, " Running 1/1 0") {
				running++
			}
		}
		return running == pods
	})
	b.t.Logf("%d pods ran %s after they were added", pods, time.Since(began).Round(100*time.Millisecond))

	b.write("one-more.yaml", sleeperPod("one-more"))
	added := time.Now()
	b.await(30*time.Second, "one more", func() bool { return slices.Contains(b.lines(), "one-more Running 2/2 0") })
	b.t.Logf("one more ran %s after it was added", time.Since(added).Round(10*time.Millisecond))

	b.remove("many.yaml")
	b.await(3*time.Minute, "they are gone", func() bool {
		return !slices.ContainsFunc(b.lines(), func(line string) bool { return strings.HasPrefix(line, "small-") })
	})
	assert.Equal(b.t, []string{
		"hanging ContainerCreating 0/1 0",
		"lacking ContainerCreating 0/1 0",
		"one-more Running 2/2 0",
		"slow Terminating 1/1 0",
	}, b.lines(), "as slow as they were")
	running, err := b.client.ListContainers(b.t.Context(), &runtimeapi.ContainerFilter{
		State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_RUNNING},
	})
	require.NoError(b.t, err)
	for _, c := range running {
		assert.Contains(b.t, []string{"one-more", "slow"}, c.Labels[cri.LabelPodName])
	}
}

const resizedPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: IMAGE
      command: [sleep, "100000"]
      resources: {requests: {cpu: 100m}, limits: {memory: 64Mi}}
`

func editedResources(b *board) {
	b.write("resized.yaml", manifest(resizedPod, "resized"))
	b.start()
	b.awaitLines(30*time.Second, "resized Running 1/1 0")
	before := b.started("resized")
	b.write("resized.yaml", strings.Replace(manifest(resizedPod, "resized"), "64Mi", "96Mi", 1))
	id := b.containers("resized")[0].Id
	b.await(30*time.Second, "the kernel knows the new limit", func() bool {
		limit, _, err := b.client.ExecSync(b.t.Context(), id,
			[]string{"sh", "-c", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true"}, 10*time.Second)
		return err == nil && strings.TrimSpace(string(limit)) == fmt.Sprint(96<<20)
	})
	for _, edit := range []struct{ limits, podMemory, podCPU string }{
		{"cpu: 500m, memory: 48Mi", "50331648", "50000"},
		{"cpu: 1, memory: 64Mi", "67108864", "100000"},
		{"cpu: 200m, memory: 32Mi", "33554432", "20000"},
	} {
		b.write("resized.yaml", strings.Replace(manifest(resizedPod, "resized"), "memory: 64Mi", edit.limits, 1))
		b.await(30*time.Second, "the pod is limited to "+edit.limits, func() bool {
			return edit.podMemory == b.limitOf("uid-resized", "memory.limit_in_bytes", "memory.max") &&
				edit.podCPU == b.limitOf("uid-resized", "cpu.cfs_quota_us", "cpu.max")
		})
	}
	assert.Equal(b.t, before, b.started("resized"), "nothing was restarted")
}

// limitOf is what the first of the files holds that the pod's cgroup has.
func (b *board) limitOf(uid string, files ...string) string {
	for _, cgroup := range b.cgroups() {
		for _, file := range files {
			content, err := os.ReadFile(filepath.Join(cgroup, file))
			if fields := strings.Fields(string(content)); err == nil && len(fields) > 0 && filepath.Base(cgroup) == "pod"+uid {
				return fields[0]
			}
		}
	}
	return ""
}

func debuggedPod(b *board) {
	b.write("web.yaml", sleeperPod("web"))
	b.start()
	b.awaitLines(30*time.Second, "web Running 2/2 0")
	before := b.started("web")
	b.write("web.yaml", sleeperPod("web")+`
  ephemeralContainers:
    - name: debug
      image: `+containerd.Busybox+`
      targetContainerName: app
      command: [sh, -c, 'ps | grep -c "[s]leep 0.2" > /dev/termination-log']
      terminationMessagePath: /dev/termination-log
`)
	var status []corev1.ContainerStatus
	b.await(30*time.Second, "the ephemeral container ends", func() bool {
		if pods := b.pods(); len(pods) == 1 {
			status = pods[0].Status.EphemeralContainerStatuses
		}
		return len(status) == 1 && status[0].State.Terminated != nil
	})
	assert.Regexp(b.t, `^[1-9]\d*\n$`, status[0].State.Terminated.Message, "it sees the processes of its target")
	time.Sleep(3 * time.Second)
	after := b.started("web")
	delete(after, "debug")
	assert.Equal(b.t, before, after)
	assert.Len(b.t, b.containers("web"), 3, "it is started once")
	assert.Equal(b.t, []string{"web Running 2/2 0"}, b.lines())
}

const twiceFailedPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: runs, emptyDir: {}}]
  containers:
    - name: app
      image: IMAGE
      command: [sh, -c, 'if [ -f /runs/2 ]; then sleep 100000; fi; if [ -f /runs/1 ]; then touch /runs/2; fi; touch /runs/1; exit 5']
      volumeMounts: [{name: runs, mountPath: /runs}]
`

func countsSurvive(b *board) {
	b.write("twice.yaml", manifest(twiceFailedPod, "twice"))
	agent := b.start()
	b.awaitLines(60*time.Second, "twice Running 1/1 2")
	before := b.pods()[0].Status.ContainerStatuses[0]
	require.NotNil(b.t, before.LastTerminationState.Terminated)
	assert.Equal(b.t, int32(5), before.LastTerminationState.Terminated.ExitCode)

	agent.kill()
	b.daemon.Kill()
	b.daemon.Restart()
	agent = b.start()
	b.awaitLines(60*time.Second, "twice Running 1/1 2")
	b.await(30*time.Second, "the garbage is collected", func() bool { return len(b.containers("twice")) == 2 })
	assert.Equal(b.t, before, b.pods()[0].Status.ContainerStatuses[0])

	for _, c := range b.containers("twice") { // even the last dead one may go
		if c.State == runtimeapi.ContainerState_CONTAINER_EXITED {
			require.NoError(b.t, b.client.RemoveContainer(b.t.Context(), c.Id))
		}
	}
	agent.kill()
	b.start()
	b.awaitLines(60*time.Second, "twice Running 1/1 2")
	assert.Equal(b.t, before.LastTerminationState, b.pods()[0].Status.ContainerStatuses[0].LastTerminationState)
}
