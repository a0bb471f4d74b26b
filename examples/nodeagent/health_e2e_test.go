//go:build e2e && linux

package main

import (
	"os/exec"
	"slices"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The files in /www decide what the probes find; the test makes and removes them.
const healthPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME}
spec:
  terminationGracePeriodSeconds: 20
  containers:
    - name: web
      image: IMAGE
      command: [sh, -c, 'mkdir -p /www && exec httpd -f -p 8080 -h /www']
      env: [{name: SICK, value: /www/sick}]
      ports: [{name: http, containerPort: 8080}]
      startupProbe: {tcpSocket: {port: http}, periodSeconds: 1, failureThreshold: 30}
      readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1, failureThreshold: 1}
      livenessProbe:
        exec: {command: [sh, -c, 'test ! -e $(SICK)']}
        periodSeconds: 1
        failureThreshold: 2
        terminationGracePeriodSeconds: 1
`

// inWeb runs a command in the container that runs now.
func (b *board) inWeb(pod string, command ...string) {
	b.t.Helper()
	for _, c := range b.containers(pod) {
		if c.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
			_, stderr, err := b.client.ExecSync(b.t.Context(), c.Id, command, 5*time.Second)
			require.NoError(b.t, err, string(stderr))
			return
		}
	}
	b.t.Fatal("no container runs")
}

func (b *board) condition(kind corev1.PodConditionType) corev1.PodCondition {
	for _, pod := range b.pods() {
		for _, c := range pod.Status.Conditions {
			if c.Type == kind {
				return c
			}
		}
	}
	return corev1.PodCondition{}
}

func (b *board) events() string {
	b.t.Helper()
	out, err := exec.Command(b.binary, "events", "-root", b.path("root")).CombinedOutput()
	require.NoError(b.t, err, string(out))
	return string(out)
}

func probedPod(b *board) {
	t := b.t
	b.write("health.yaml", manifest(healthPod, "health"))
	b.start()
	b.awaitLines(30*time.Second, "health Running 0/1 0")
	b.await(10*time.Second, "it has started", func() bool {
		return *b.pods()[0].Status.ContainerStatuses[0].Started
	})
	ready := b.condition(corev1.PodReady)
	assert.Equal(t, []string{"False", "ContainersNotReady", "containers with unready status: [web]"}, []string{string(ready.Status), ready.Reason, ready.Message})

	b.inWeb("health", "touch", "/www/ready")
	b.awaitLines(10*time.Second, "health Running 1/1 0")
	assert.Equal(t, corev1.ConditionTrue, b.condition(corev1.ContainersReady).Status)
	b.inWeb("health", "rm", "/www/ready")
	b.awaitLines(10*time.Second, "health Running 0/1 0")

	b.inWeb("health", "touch", "/www/sick")
	b.awaitLines(15*time.Second, "health Running 0/1 1")
	web := b.pods()[0].Status.ContainerStatuses[0]
	require.NotNil(t, web.LastTerminationState.Terminated)
	assert.Less(t, web.State.Running.StartedAt.Sub(web.LastTerminationState.Terminated.StartedAt.Time), 15*time.Second, "the probe's grace, not the pod's")
	events := b.events()
	for _, want := range []string{
		`Warning +Unhealthy +default/health spec.containers\{web\} +Readiness probe failed: HTTP probe failed with statuscode: 404`,
		`Warning +Unhealthy +default/health spec.containers\{web\} +Liveness probe failed:`,
		`Normal +Killing +default/health spec.containers\{web\} +Container web failed liveness probe, will be restarted`,
	} {
		assert.Regexp(t, want, events)
	}
	b.inWeb("health", "touch", "/www/sick")
	b.awaitLines(15*time.Second, "health CrashLoopBackOff 0/1 1")
	b.awaitLines(20*time.Second, "health Running 0/1 2")
}

func readyOverRestart(b *board) {
	b.write("health.yaml", manifest(healthPod, "health"))
	agent := b.start()
	b.awaitLines(30*time.Second, "health Running 0/1 0")
	b.inWeb("health", "touch", "/www/ready")
	b.awaitLines(10*time.Second, "health Running 1/1 0")
	since := b.condition(corev1.PodReady).LastTransitionTime

	time.Sleep(6 * time.Second) // what changes within five seconds is one write of the store
	agent.kill()
	b.start()
	seen := map[string]bool{}
	b.await(20*time.Second, "the agent shows its pods", func() bool { return slices.Equal(b.lines(), []string{"health Running 1/1 0"}) })
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, line := range b.lines() {
			seen[line] = true
		}
	}
	assert.Equal(b.t, map[string]bool{"health Running 1/1 0": true}, seen)
	assert.Equal(b.t, since, b.condition(corev1.PodReady).LastTransitionTime)
	assert.Len(b.t, b.containers("health"), 1)
	b.inWeb("health", "rm", "/www/ready")
	b.awaitLines(10*time.Second, "health Running 0/1 0")
}

// A pod whose container app asks once for a restart of all.
const restartedPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, uid: uid-NAME}
spec:
  restartPolicy: Never
  volumes: [{name: data, emptyDir: {}}]
  initContainers:
    - {name: init, image: IMAGE, command: [echo, begins]}
  containers:
    - name: app
      image: IMAGE
      command: [sh, -c, 'test -f /data/done && exec sleep 100000; touch /data/done; sleep 2; exit 42']
      volumeMounts: [{name: data, mountPath: /data}]
      restartPolicy: Never
      restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]
    - {name: helper, image: IMAGE, command: [sleep, "100000"]}
    - {name: short, image: IMAGE, command: [sh, -c, 'sleep 1']}
`

func restartedAsAWhole(b *board) {
	b.write("web.yaml", manifest(restartedPod, "web"))
	b.start()
	var pod corev1.Pod
	b.await(60*time.Second, "all were restarted", func() bool {
		for _, pod = range b.pods() {
			if len(pod.Status.ContainerStatuses) == 3 && pod.Status.ContainerStatuses[0].RestartCount == 1 &&
				pod.Status.ContainerStatuses[2].State.Terminated != nil {
				return true
			}
		}
		return false
	})
	assert.Equal(b.t, corev1.PodRunning, pod.Status.Phase)
	for i, code := range []int32{42, 137, 0} { // app, helper, short
		status := pod.Status.ContainerStatuses[i]
		assert.EqualValues(b.t, 1, status.RestartCount, status.Name)
		require.NotNil(b.t, status.LastTerminationState.Terminated, status.Name)
		assert.Equal(b.t, code, status.LastTerminationState.Terminated.ExitCode, status.Name)
	}
	assert.EqualValues(b.t, 1, pod.Status.InitContainerStatuses[0].RestartCount)
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.AllContainersRestarting {
			assert.Equal(b.t, corev1.ConditionFalse, c.Status)
		}
	}
	assert.Len(b.t, b.containers("web"), 4)
}
