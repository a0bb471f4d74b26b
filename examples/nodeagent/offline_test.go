package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/metaclient/metatest"
)

// manyConfigured are pods that want a ConfigMap in a volume and a Secret in their
// environment, with those.
func manyConfigured(n int) []metav1.Object {
	objects := []metav1.Object{
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"colour": "blue"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "login"}, Data: map[string][]byte{"password": []byte("word")}},
	}
	for i := range n {
		pod := podNamed(fmt.Sprintf("web-%02d", i), corev1.RestartPolicyAlways, "app")
		app := &pod.Spec.Containers[0]
		app.Env = []corev1.EnvVar{{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "login"}, Key: "password",
		}}}}
		app.VolumeMounts = []corev1.VolumeMount{{Name: "settings", MountPath: "/settings"}}
		pod.Spec.Volumes = []corev1.Volume{{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, DefaultMode: new(int32(0o644)),
		}}}}
		objects = append(objects, pod)
	}
	return objects
}

// allRunning reports whether the agent shows so many pods, all of them running.
func (r *running) allRunning(n int) bool { return strings.Count(r.table(), " Running 1/1 ") == n }

// givenPasswords is how many containers were created with the Secret's value.
func (n *node) givenPasswords() int {
	given := 0
	for _, call := range n.runtime.Calls() {
		request, ok := call.Request.(*runtimeapi.CreateContainerRequest)
		for _, variable := range request.GetConfig().GetEnvs() {
			if ok && variable.Key == "PASSWORD" && string(variable.Value) == "word" {
				given++
			}
		}
	}
	return given
}

// In whatever order the network, the agent and the power go, all pods come back with
// what they need, as soon as the runtime can start them.
func TestAPowerCutWithoutTheNetwork(t *testing.T) {
	const pods = 50
	for _, order := range [][]string{
		{"network", "agent", "power"}, {"network", "power", "agent"}, {"agent", "network", "power"},
		{"agent", "power", "network"}, {"power", "agent", "network"}, {"power", "network", "agent"},
	} {
		t.Run(strings.Join(order, ", "), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, critest.Config{})
				up := metatest.New()
				up.Put(manyConfigured(pods)...)
				agent := n.start(up)
				time.Sleep(time.Minute)
				require.True(t, agent.allRunning(pods), agent.table())

				for _, what := range order {
					switch what {
					case "network":
						up.Cut()
					case "agent":
						agent.stop()
					case "power":
						n.runtime.Reboot(critest.RebootOptions{Wipe: true})
						n.runtime.ResetCalls()
					}
					time.Sleep(10 * time.Millisecond)
				}
				agent = n.start(up)
				time.Sleep(time.Minute)
				assert.True(t, agent.allRunning(pods), agent.table())
				assert.Equal(t, pods, n.givenPasswords())
				for i := range pods {
					file := filepath.Join(n.opts.root, fmt.Sprintf("pods/uid-web-%02d/volumes/kubernetes.io~configmap/settings/colour", i))
					content, err := os.ReadFile(file)
					require.NoError(t, err)
					assert.Equal(t, "blue", string(content))
				}
			})
		})
	}
}

// filesOf is every file below a directory with its size and time.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		files[path] = fmt.Sprint(info.Size(), info.ModTime())
		return err
	}))
	return files
}

func TestAnIdleNodeWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{})
		up := metatest.New()
		up.Put(manyConfigured(50)...)
		agent := n.start(up)
		time.Sleep(5 * time.Minute)
		require.True(t, agent.allRunning(50))

		before := filesOf(t, n.opts.root)
		require.NotEmpty(t, before)
		time.Sleep(time.Hour)
		assert.Equal(t, before, filesOf(t, n.opts.root))
		up.Cut()
		time.Sleep(time.Hour)
		assert.Equal(t, before, filesOf(t, n.opts.root), "offline neither")
	})
}

// A node that starts without its upstream is kept clean all the same.
func TestACrashLoopWithoutNetworkLeavesNoPile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{Scripts: []critest.Script{{Container: "app", Runs: []critest.Run{{Duration: time.Second, ExitCode: 1}}}}})
		up := metatest.New()
		up.Put(podNamed("flaky", corev1.RestartPolicyAlways, "app"))
		agent := n.start(up)
		time.Sleep(5 * time.Second)
		agent.stop()
		up.Cut()
		agent = n.start(up)
		time.Sleep(3 * time.Hour)
		require.Greater(t, agent.status("uid-flaky").ContainerStatuses[0].RestartCount, int32(30))

		containers, err := n.runtime.Client(t).ListContainers(t.Context(), nil)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(containers), 2)
		logs, err := filepath.Glob(filepath.Join(n.opts.podLogs, "*", "app", "*.log"))
		require.NoError(t, err)
		assert.LessOrEqual(t, len(logs), 2)
	})
}

// The secrets that a pod names for its images come from the store, too.
func TestPullSecretsComeFromTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{})
		up := metatest.New()
		pod := podNamed("web", corev1.RestartPolicyAlways, "app")
		pod.Spec.Containers[0].Image = "registry.example.org/app"
		pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
		up.Put(pod, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "registry"}, Type: corev1.SecretTypeDockerConfigJson,
			Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths": {"registry.example.org": {"username": "me", "password": "word"}}}`)},
		})
		agent := n.start(up)
		time.Sleep(10 * time.Second)
		require.True(t, agent.allRunning(1), agent.table())
		var users []string
		for _, call := range n.runtime.Calls() {
			if request, ok := call.Request.(*runtimeapi.PullImageRequest); ok {
				users = append(users, request.GetAuth().GetUsername())
			}
		}
		assert.Equal(t, []string{"me"}, users)
	})
}

// How a pod ended that the upstream deletes is told when the network is back, however
// long that takes and though nothing of the pod is left by then.
func TestHowADeletedPodEndedIsToldWhenTheNetworkIsBack(t *testing.T) {
	for name, restarts := range map[string]bool{"by the same agent": false, "by the next agent": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{After: 3 * time.Second}}}}}})
				var said []corev1.ContainerState
				up := &fickleCloud{changed: make(chan struct{}, 1)}
				up.reported = func(pod *corev1.Pod) {
					if !up.isCut() && len(pod.Status.ContainerStatuses) > 0 {
						said = append(said, pod.Status.ContainerStatuses[0].State)
					}
				}
				job := podNamed("job", corev1.RestartPolicyNever, "app")
				up.set([]*corev1.Pod{job})
				a := n.start(up)
				time.Sleep(10 * time.Second)
				job = job.DeepCopy()
				job.Status = a.status(job.UID) // as it was told
				job.DeletionTimestamp, job.DeletionGracePeriodSeconds = new(metav1.Now()), new(int64(30))
				up.set([]*corev1.Pod{job})
				time.Sleep(time.Second)
				up.setCut(true)
				time.Sleep(10 * time.Minute)
				require.Empty(t, a.table())
				if restarts {
					a.stop()
					a = n.start(up)
					time.Sleep(time.Minute)
				}
				up.setCut(false)
				time.Sleep(10 * time.Minute)
				a.stop()
				require.NotEmpty(t, said)
				for _, state := range said {
					if state.Terminated != nil {
						assert.Zero(t, state.Terminated.ExitCode)
					}
				}
				assert.NotNil(t, said[len(said)-1].Terminated)
			})
		})
	}
}
