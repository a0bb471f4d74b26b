//go:build e2e && linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// A pod that fills its volume and then sits there. QUANTITY is in mebibytes.
const fillingPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: data, emptyDir: {MEDIUM}}]
  containers:
    - name: app
      image: IMAGE
      command: [sh, -c, 'dd if=/dev/zero of=/data/file bs=1M count=QUANTITY; sleep 100000']
      volumeMounts: [{name: data, mountPath: /data}]
      resources: {requests: {memory: 16Mi}}
`

func filling(name, quantity, medium string) string {
	return strings.NewReplacer("QUANTITY", quantity, "MEDIUM", medium).Replace(manifest(fillingPod, name))
}

// memoryCgroup gives the board's pods a cgroup that may have so much memory.
func (b *board) memoryCgroup(limit string) string {
	b.t.Helper()
	dir, file := "/sys/fs/cgroup/memory"+b.cgroupRoot(), "memory.limit_in_bytes"
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		dir, file = "/sys/fs/cgroup"+b.cgroupRoot(), "memory.max"
	}
	require.NoError(b.t, os.MkdirAll(dir, 0o755))
	require.NoError(b.t, os.WriteFile(filepath.Join(dir, file), []byte(limit), 0o600))
	return dir
}

// evicted checks what is told of a pod that was evicted.
func (b *board) evicted(name, message string) {
	b.t.Helper()
	for _, pod := range b.pods() {
		if pod.Name != name {
			continue
		}
		assert.Equal(b.t, corev1.PodFailed, pod.Status.Phase)
		assert.Equal(b.t, "Evicted", pod.Status.Reason)
		assert.Contains(b.t, pod.Status.Message, message)
		var disruption corev1.PodCondition
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.DisruptionTarget {
				disruption = c
			}
		}
		assert.Equal(b.t, "TerminationByKubelet", disruption.Reason)
	}
	assert.Regexp(b.t, `Warning +Evicted +default/`+name+` +`+message, b.events())
}

func shortOfMemory(b *board) {
	cgroup := b.memoryCgroup("300M")
	b.write("critical.yaml", strings.Replace(filling("critical", "60", "medium: Memory"), "spec:", "spec:\n  priorityClassName: system-node-critical", 1))
	b.write("modest.yaml", filling("modest", "8", "medium: Memory"))
	agent := b.start("-eviction-hard", "memory.available<100Mi", "-memory-cgroup", cgroup)
	b.awaitLines(30*time.Second, "critical Running 1/1 0", "modest Running 1/1 0")
	b.write("greedy.yaml", filling("greedy", "150", "medium: Memory"))
	b.awaitLines(60*time.Second, "critical Running 1/1 0", "greedy Evicted 0/1 0", "modest Running 1/1 0")
	b.evicted("greedy", "The node was low on resource: memory. Threshold quantity: 100Mi, available: ")
	assert.Regexp(b.t, `Warning +EvictionThresholdMet +.*Attempting to reclaim memory`, b.events())

	agent.stop()
	b.start("-eviction-hard", "memory.available<100Mi", "-memory-cgroup", cgroup)
	b.awaitLines(30*time.Second, "critical Running 1/1 0", "greedy Evicted 0/1 0", "modest Running 1/1 0")

	// It returns when its owner says so, with less.
	b.write("greedy.yaml", strings.Replace(filling("greedy", "8", "medium: Memory"), "uid: uid-greedy", "uid: uid-greedy-2", 1))
	b.awaitLines(30*time.Second, "critical Running 1/1 0", "greedy Running 1/1 0", "modest Running 1/1 0")

	for _, file := range []string{"critical.yaml", "modest.yaml", "greedy.yaml"} {
		b.remove(file) // and what they have mounted with them
	}
	b.awaitLines(30 * time.Second)
}

func shortOfDisk(b *board) {
	root := b.path("root")
	require.NoError(b.t, os.MkdirAll(root, 0o755))
	require.NoError(b.t, unix.Mount("tmpfs", root, "tmpfs", 0, "size=100m"))
	b.t.Cleanup(func() { assert.NoError(b.t, unix.Unmount(root, unix.MNT_DETACH)) })
	b.write("small.yaml", filling("small", "1", ""))
	b.write("limited.yaml", filling("limited", "5", "sizeLimit: 1Mi"))
	b.start("-eviction-hard", "nodefs.available<40%")
	b.awaitLines(30*time.Second, "limited Running 1/1 0", "small Running 1/1 0")
	b.write("hog.yaml", filling("hog", "70", ""))
	b.await(60*time.Second, "the hog is evicted", func() bool {
		return strings.Contains(strings.Join(b.lines(), "\n"), "hog Evicted 0/1 0\n")
	})
	b.evicted("hog", "The node was low on resource: ephemeral-storage. ")
	b.awaitLines(90*time.Second, "hog Evicted 0/1 0", "limited Evicted 0/1 0", "small Running 1/1 0")
	b.evicted("limited", `Usage of EmptyDir volume "data" exceeds the limit "1Mi"`)
	_, err := os.Stat(filepath.Join(root, "pods/uid-hog"))
	assert.ErrorIs(b.t, err, os.ErrNotExist, "its volume is gone")
}
