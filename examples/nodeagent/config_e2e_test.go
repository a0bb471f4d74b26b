//go:build e2e && linux

package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

const settings = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: COLOUR, "app.conf": "colour=COLOUR\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: PASSWORD}
`

// A pod that is given its settings in every way.
const configuredManifest = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME, labels: {tier: front}}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 2345}
  volumes:
    - {name: settings, configMap: {name: settings}}
    - {name: login, secret: {secretName: login, defaultMode: 0440}}
    - {name: scratch, emptyDir: {}}
    - name: all
      projected:
        sources:
          - configMap: {name: settings, items: [{key: colour, path: colour}]}
          - secret: {name: login}
          - secret: {name: absent, optional: true}
          - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
  containers:
    - name: app
      image: IMAGE
      command: [sh, -c, 'echo kept >> /scratch/starts; sleep 100000']
      envFrom: [{configMapRef: {name: settings}}]
      env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}]
      volumeMounts:
        - {name: settings, mountPath: /settings}
        - {name: settings, mountPath: /still/app.conf, subPath: app.conf}
        - {name: login, mountPath: /login}
        - {name: scratch, mountPath: /scratch}
        - {name: all, mountPath: /all}
`

func settingsWith(colour, password string) string {
	return strings.NewReplacer("COLOUR", colour, "PASSWORD", password).Replace(settings)
}

// inApp runs a script in the container of the pod that runs now, and returns what it says.
func (b *board) inApp(pod, script string) string {
	b.t.Helper()
	for _, c := range b.containers(pod) {
		if c.State == runtimeapi.ContainerState_CONTAINER_RUNNING && c.Labels[cri.LabelContainerName] == "app" {
			stdout, stderr, err := b.client.ExecSync(b.t.Context(), c.Id, []string{"sh", "-c", script}, 10*time.Second)
			require.NoError(b.t, err, string(stderr))
			return strings.TrimSpace(string(stdout))
		}
	}
	b.t.Fatal("no container runs")
	return ""
}

// hasSettings checks all that the pod is given.
func (b *board) hasSettings(pod, colour, password string) {
	b.t.Helper()
	for script, want := range map[string]string{
		"cat /settings/colour /settings/app.conf":        colour + "colour=" + colour,
		"cat /login/password":                            password,
		"stat -c '%a %g' $(readlink -f /login/password)": "440 2345",
		"df /login | tail -1 | cut -d' ' -f1":            "tmpfs",
		"cat /all/colour":                                colour,
		"cat /all/password":                              password,
		"cat /all/labels":                                `tier="front"`,
	} {
		assert.Equal(b.t, want, b.inApp(pod, script), script)
	}
}

func configuredPod(b *board) {
	t := b.t
	b.write("pod.yaml", manifest(configuredManifest, "configured"))
	b.start()
	b.awaitLines(30*time.Second, "configured ContainerCreating 0/1 0")
	b.await(10*time.Second, "it says what it waits for", func() bool {
		return strings.Contains(b.events(), "FailedMount") && strings.Contains(b.events(), `"settings" not found`)
	})
	b.write("settings.yaml", settingsWith("red", "first-word"))
	b.awaitLines(10*time.Second, "configured Running 1/1 0")
	b.hasSettings("configured", "red", "first-word")
	assert.Equal(t, "red first-word", b.inApp("configured", `echo $colour $PASSWORD`))

	b.write("settings.yaml", settingsWith("green", "second-word"))
	b.await(5*time.Second, "the change is seen", func() bool { return b.inApp("configured", "cat /settings/colour") == "green" })
	b.hasSettings("configured", "green", "second-word")
	assert.Equal(t, "red first-word", b.inApp("configured", `echo $colour $PASSWORD`), "an environment stays what it was")
	assert.Equal(t, "colour=red", b.inApp("configured", "cat /still/app.conf"), "and so does a sub path")
}

func powerCut(b *board) {
	t := b.t
	key := b.path("key")
	require.NoError(t, os.WriteFile(key, bytes.Repeat([]byte("k"), 32), 0o600))
	b.write("settings.yaml", settingsWith("blue", "sealed-word"))
	for _, name := range []string{"one", "two", "three"} {
		b.write(name+".yaml", manifest(configuredManifest, name))
	}
	agent := b.start("-store-key", key)
	b.awaitLines(60*time.Second, "one Running 1/1 0", "three Running 1/1 0", "two Running 1/1 0")
	time.Sleep(time.Second) // what was told of them is written

	agent.kill()
	b.daemon.Reboot() // kills every container and wipes the runtime's state
	b.unmountAll()
	require.NoError(t, os.Rename(b.path("manifests"), b.path("elsewhere"))) // the upstream is out of reach
	began := time.Now()
	b.start("-store-key", key)
	b.awaitLines(60*time.Second, "one Running 1/1 1", "three Running 1/1 1", "two Running 1/1 1")
	t.Logf("three pods ran %v after the agent's start", time.Since(began))
	for _, name := range []string{"one", "two", "three"} {
		b.hasSettings(name, "blue", "sealed-word")
		assert.Equal(t, "kept\nkept", b.inApp(name, "cat /scratch/starts"))
	}
	b.wordIsNowhere("sealed-word")

	require.NoError(t, os.Rename(b.path("elsewhere"), b.path("manifests")))
	for _, name := range []string{"one", "two", "three"} {
		b.remove(name + ".yaml")
	}
	b.awaitLines(60 * time.Second)
}

// unmountAll unmounts what is in memory only, as a reboot does.
func (b *board) unmountAll() {
	b.t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(b.t, err)
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if strings.HasPrefix(fields[4], b.path("root")) {
			require.NoError(b.t, unix.Unmount(fields[4], unix.MNT_DETACH))
		}
	}
}

// wordIsNowhere looks for a secret's value in every file of the agent that is not in
// memory, and in what it said.
func (b *board) wordIsNowhere(word string) {
	b.t.Helper()
	err := filepath.WalkDir(b.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.HasPrefix(path, b.path("manifests")) || strings.HasPrefix(path, b.path("elsewhere")) ||
			strings.Contains(path, "kubernetes.io~secret") || strings.Contains(path, "kubernetes.io~projected") {
			return nil //nolint:nilerr // it may go at any time
		}
		content, err := os.ReadFile(path)
		if err == nil && bytes.Contains(content, []byte(word)) {
			b.t.Errorf("%s has the secret", path)
		}
		return nil //nolint:nilerr // likewise
	})
	require.NoError(b.t, err)
}

const readOnlyManifest = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: data, hostPath: {path: FOLDER}}]
  containers:
    - name: app
      image: IMAGE
      command: [sleep, "100000"]
      volumeMounts: [{name: data, mountPath: /data, readOnly: true, recursiveReadOnly: IfPossible}]
`

// What is mounted below a mount that is read-only is so too, where the runtime can, and
// the status tells (KEP-3857).
func readOnlyAllTheWayDown(b *board) {
	t := b.t
	folder := t.TempDir()
	below := filepath.Join(folder, "below")
	require.NoError(t, os.Mkdir(below, 0o755))
	require.NoError(t, unix.Mount("tmpfs", below, "tmpfs", 0, ""))
	t.Cleanup(func() { assert.NoError(t, unix.Unmount(below, unix.MNT_DETACH)) })
	b.write("pod.yaml", strings.ReplaceAll(manifest(readOnlyManifest, "readonly"), "FOLDER", folder))
	b.start()
	b.awaitLines(30*time.Second, "readonly Running 1/1 0")

	response, err := b.client.Status(t.Context(), false)
	require.NoError(t, err)
	can := len(response.RuntimeHandlers) > 0 && response.RuntimeHandlers[0].GetFeatures().GetRecursiveReadOnlyMounts()
	t.Logf("containerd says recursive read-only mounts: %t", can)
	wrote, mode := "wrote", corev1.RecursiveReadOnlyDisabled
	if can {
		wrote, mode = "", corev1.RecursiveReadOnlyEnabled
	}
	assert.Equal(t, wrote, b.inApp("readonly", "touch /data/below/file 2>/dev/null && echo wrote || true"))
	assert.Empty(t, b.inApp("readonly", "touch /data/file 2>/dev/null && echo wrote || true"))
	for _, mount := range b.pods()[0].Status.ContainerStatuses[0].VolumeMounts {
		if mount.MountPath == "/data" {
			assert.Equal(t, mode, *mount.RecursiveReadOnly)
		}
	}
}

// A pod that is to have no groups of its image runs where the runtime can do without them
// (KEP-3619); elsewhere it would have them.
func strictGroups(b *board) {
	response, err := b.client.Status(b.t.Context(), false)
	require.NoError(b.t, err)
	can := response.GetFeatures().GetSupplementalGroupsPolicy()
	b.t.Logf("containerd says strict groups: %t", can)
	b.write("pod.yaml", strings.Replace(manifest(smallPod, "strict"), "spec:", "spec:\n  securityContext: {supplementalGroupsPolicy: Strict}", 1))
	b.start()
	if can {
		b.awaitLines(30*time.Second, "strict Running 1/1 0")
		return
	}
	b.awaitLines(30*time.Second, "strict CreateContainerConfigError 0/1 0")
	assert.Contains(b.t, b.events(), "spec.securityContext.supplementalGroupsPolicy")
}

const sharingManifest = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME}
spec:
  restartPolicy: Never
  volumes: [{name: shared, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory}}, {name: disk, emptyDir: {}}]
  containers:
    - name: app
      image: IMAGE
      command: [sh, -c, 'echo bye > /shared/message']
      terminationMessagePath: /shared/message
      securityContext: {privileged: true}
      volumeMounts:
        - {name: shared, mountPath: /shared, mountPropagation: Bidirectional}
        - {name: memory, mountPath: /shared/memory}
        - {name: disk, mountPath: /shared/disk}
`

// What a runtime mounts inside of a volume with the propagation Bidirectional shows on the
// host, where mounts are shared as systemd has them, and outlives the container.
func sharedVolume(b *board) {
	root := b.path("root")
	require.NoError(b.t, os.Mkdir(root, 0o755))
	require.NoError(b.t, unix.Mount(root, root, "", unix.MS_BIND, ""))
	b.t.Cleanup(func() { assert.NoError(b.t, unix.Unmount(root, unix.MNT_DETACH)) })
	require.NoError(b.t, unix.Mount("", root, "", unix.MS_SHARED, ""))
	b.write("pod.yaml", manifest(sharingManifest, "sharing"))
	b.start()
	b.awaitLines(30*time.Second, "sharing Completed 0/1 0")
	assert.Equal(b.t, "bye\n", b.pods()[0].Status.ContainerStatuses[0].State.Terminated.Message)
	b.remove("pod.yaml")
	b.awaitLines(20 * time.Second)
}
