package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/metatest"
	"github.com/edged-project/edged/podmanager/podspec"
	"github.com/edged-project/edged/statusmgr"
)

// cloud is an upstream that delivers what a test sets.
type cloud struct {
	mu      sync.Mutex // guards pods and changed
	pods    []*corev1.Pod
	changed chan struct{}
	cut     bool
}

func newCloud(pods ...*corev1.Pod) *cloud {
	return &cloud{pods: pods, changed: make(chan struct{}, 1)}
}

func (c *cloud) set(pods ...*corev1.Pod) {
	c.mu.Lock()
	c.pods = pods
	c.mu.Unlock()
	c.changed <- struct{}{}
}

func (c *cloud) Watch(ctx context.Context, sink metaclient.Sink) error {
	if c.cut {
		return errors.New("no network")
	}
	for {
		c.mu.Lock()
		pods := slices.Clone(c.pods)
		c.mu.Unlock()
		if err := sink.Pods(ctx, pods); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.changed:
		}
	}
}

// node is a node in a bubble: what of it outlives its agent.
type node struct {
	t       *testing.T
	runtime *critest.Runtime
	opts    options
	logger  *zap.Logger
}

func newNode(t *testing.T, cfg critest.Config) *node {
	t.Helper()
	root := t.TempDir()
	cfg.WriteLogs = true
	return &node{t: t, runtime: critest.Start(t, cfg), opts: options{runtime: memory, root: root, nodeName: "edge"}.withPaths(), logger: zap.NewNop()}
}

// running is an agent that runs.
type running struct {
	*agent
	stop func()
}

func (n *node) start(upstream metaclient.Upstream) *running {
	n.t.Helper()
	client, err := n.runtime.Dial(n.t.Context(), cri.Config{})
	require.NoError(n.t, err)
	a, err := newAgent(client, upstream, n.opts, n.logger)
	require.NoError(n.t, err)
	ctx, cancel := context.WithCancel(n.t.Context())
	done := make(chan error, 1)
	go func() { done <- a.run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		assert.NoError(n.t, <-done)
		a.close()
		assert.NoError(n.t, client.Close(context.Background()))
	})
	n.t.Cleanup(stop)
	return &running{agent: a, stop: stop}
}

// table is the agent's pods in a line each: "web Running 2/2 0".
func (r *running) table() string {
	var lines []string
	for _, pod := range r.statuses.Pods() {
		s := statusmgr.Summarize(pod)
		lines = append(lines, fmt.Sprintf("%s %s %d/%d %d", pod.Name, s.Status, s.Ready, s.Containers, s.Restarts))
	}
	return strings.Join(lines, "\n")
}

func (r *running) status(uid types.UID) corev1.PodStatus {
	status, _ := r.statuses.Get(uid)
	return status
}

// ready is the condition Ready of the pod, without a type if it has none.
func (r *running) ready(uid types.UID) corev1.PodCondition {
	for _, c := range r.status(uid).Conditions {
		if c.Type == corev1.PodReady {
			return c
		}
	}
	return corev1.PodCondition{}
}

func podNamed(name string, policy corev1.RestartPolicy, containers ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)},
		Spec:       corev1.PodSpec{RestartPolicy: policy},
	}
	for _, container := range containers {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: container, Image: container})
	}
	if errs := podspec.Complete(pod); len(errs) > 0 {
		panic(errs.ToAggregate())
	}
	return pod
}

func TestPodsRunFailAndComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{Scripts: []critest.Script{
			{Container: "job", Runs: []critest.Run{{Duration: 3 * time.Second}}},
			{Container: "flaky", Runs: []critest.Run{{Duration: time.Second, ExitCode: 1}}},
		}})
		a := n.start(newCloud(
			podNamed("job", corev1.RestartPolicyOnFailure, "job"),
			podNamed("web", corev1.RestartPolicyAlways, "server", "sidekick"),
			podNamed("flaky", corev1.RestartPolicyAlways, "flaky"),
		))
		time.Sleep(8 * time.Second)
		assert.Equal(t, "flaky CrashLoopBackOff 0/1 1\njob Completed 0/1 0\nweb Running 2/2 0", a.table())
		status := a.status("uid-job")
		assert.Equal(t, corev1.PodSucceeded, status.Phase)
		assert.Contains(t, n.runtime.Calls().String(), "StopPodSandbox job", "what has ended holds no sandbox")
		assert.Equal(t, "Error", a.status("uid-flaky").ContainerStatuses[0].LastTerminationState.Terminated.Reason)
	})
}

func TestAPodThatLeavesTheUpstreamStopsWithinItsGraceAndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{Ignore: true}}}}}})
		pod := podNamed("web", corev1.RestartPolicyAlways, "app")
		grace := int64(7)
		pod.Spec.TerminationGracePeriodSeconds = &grace
		up := newCloud(pod)
		a := n.start(up)
		time.Sleep(5 * time.Second)
		require.Equal(t, "web Running 1/1 0", a.table())

		up.set()
		time.Sleep(6 * time.Second)
		assert.NotEmpty(t, a.table())
		time.Sleep(3 * time.Second)
		assert.Empty(t, a.table())
		time.Sleep(2 * time.Minute)
		assert.Empty(t, n.runtime.ContainerID("web", "app"), "the garbage is collected")
		assert.Empty(t, n.runtime.SandboxID("web"))
	})
}

// hearingCloud is a cloud that is told how its pods are.
type hearingCloud struct {
	*cloud
	said chan *corev1.Pod
}

func (c *hearingCloud) ReportPodStatus(_ context.Context, pod *corev1.Pod) error {
	c.said <- pod
	return nil
}

// A control plane that deletes a pod lets go of it when it has heard of its end.
func TestTheUpstreamHearsThatNothingIsLeftOfAPodThatItDeletes(t *testing.T) {
	for name, tc := range map[string]struct {
		policy corev1.RestartPolicy
		run    critest.Run
		after  time.Duration
		want   corev1.PodPhase
	}{
		"that runs":                    {corev1.RestartPolicyAlways, critest.Run{Term: critest.Term{After: time.Second}}, 10 * time.Second, corev1.PodSucceeded},
		"that fails as it is told":     {corev1.RestartPolicyNever, critest.Run{Term: critest.Term{ExitCode: 1}}, 10 * time.Second, corev1.PodFailed},
		"that has ended":               {corev1.RestartPolicyNever, critest.Run{Duration: time.Second}, 10 * time.Second, corev1.PodSucceeded},
		"that was ended by its policy": {corev1.RestartPolicyNever, critest.Run{Duration: time.Second, ExitCode: 1}, time.Hour, corev1.PodFailed},
		"that has not begun":           {corev1.RestartPolicyAlways, critest.Run{}, 0, corev1.PodFailed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pod := podNamed("web", tc.policy, "app")
				up := &hearingCloud{newCloud(pod), make(chan *corev1.Pod, 100)}
				a := newNode(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{tc.run}}}}).start(up)
				time.Sleep(tc.after)
				pod = pod.DeepCopy()
				pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = new(metav1.Now()), new(int64(5))
				up.set(pod)
				time.Sleep(time.Minute)
				require.Empty(t, a.table())
				var last *corev1.Pod
				for len(up.said) > 0 {
					last = <-up.said
				}
				require.NotNil(t, last)
				assert.NotNil(t, last.DeletionTimestamp)
				assert.Equal(t, tc.want, last.Status.Phase)
			})
		})
	}
}

// Its manifest has the same UID.
func TestAJobThatIsTakenAwayAndPutBackIsDoneAgain(t *testing.T) {
	for name, tc := range map[string]struct{ runs, away time.Duration }{
		"while it ends":          {time.Hour, time.Second},
		"as soon as it is gone":  {time.Second, time.Millisecond},
		"when nothing is left":   {time.Second, time.Minute},
		"when nothing is to end": {time.Hour, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				run := critest.Run{Duration: tc.runs, Term: critest.Term{After: 3 * time.Second}}
				n := newNode(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{run, {Duration: 30 * time.Second}}}}})
				job := podNamed("job", corev1.RestartPolicyNever, "app")
				up := newCloud(job)
				a := n.start(up)
				time.Sleep(10 * time.Second)
				up.set()
				time.Sleep(tc.away)
				up.set(job)
				time.Sleep(10 * time.Second)
				assert.Equal(t, corev1.PodRunning, a.status(job.UID).Phase)
				time.Sleep(30 * time.Second)
				assert.Equal(t, corev1.PodSucceeded, a.status(job.UID).Phase)
				assert.Equal(t, 2, n.runtime.Count("StartContainer"))
			})
		})
	}
}

func TestASameNamePodStartsOnlyWhenTheOldOneIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{After: 5 * time.Second}}}}}})
		before, after := podNamed("web", corev1.RestartPolicyAlways, "app"), podNamed("web", corev1.RestartPolicyAlways, "app")
		after.UID = "uid-web-2"
		up := newCloud(before)
		a := n.start(up)
		time.Sleep(5 * time.Second)
		n.runtime.ResetCalls()
		up.set(after)
		time.Sleep(20 * time.Second)
		assert.Equal(t, "StopContainer web/app; StopPodSandbox web; RunPodSandbox web; CreateContainer web/app; StartContainer web/app; RemoveContainer web/app",
			withoutPulls(n.runtime.Calls().Changes()))
		assert.Equal(t, corev1.PodRunning, a.status("uid-web-2").Phase)
		assert.Equal(t, "web Running 1/1 0", a.table())
	})
}

func withoutPulls(calls critest.Calls) string {
	return slices.DeleteFunc(calls, func(c critest.Call) bool { return c.Method == "PullImage" }).String()
}

func TestAnAgentRestartTouchesNothingAndForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{Scripts: []critest.Script{
			{Container: "flaky", Runs: []critest.Run{{Duration: time.Second, ExitCode: 1}, {}}},
			{Container: "job", Runs: []critest.Run{{Duration: time.Second}}},
		}})
		up := newCloud(podNamed("web", corev1.RestartPolicyAlways, "app", "flaky"), podNamed("job", corev1.RestartPolicyNever, "job"))
		a := n.start(up)
		time.Sleep(10 * time.Second)
		before, started := a.table(), a.status("uid-web").StartTime
		require.Equal(t, "job Completed 0/1 0\nweb Running 2/2 1", before)
		a.stop()
		n.runtime.ResetCalls()

		time.Sleep(time.Hour)
		a = n.start(newCloud(up.pods...))
		time.Sleep(10 * time.Second)
		assert.Equal(t, before, a.table())
		assert.Equal(t, started, a.status("uid-web").StartTime)
		for _, call := range n.runtime.Calls().Changes() {
			assert.Equal(t, "StopPodSandbox", call.Method, "only what has ended is tidied up: %s", call)
		}
	})
}

func TestWithoutNetworkThePodsOfTheStoreRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{Images: []critest.Image{{Name: "app"}}})
		pod := podNamed("web", corev1.RestartPolicyAlways, "app")
		pod.Spec.Containers[0].ImagePullPolicy = corev1.PullIfNotPresent
		a := n.start(newCloud(pod))
		time.Sleep(5 * time.Second)
		a.stop()
		n.runtime.Reboot(critest.RebootOptions{})
		time.Sleep(time.Minute)

		offline := newCloud()
		offline.cut = true
		a = n.start(offline)
		time.Sleep(2 * time.Second)
		assert.Equal(t, "web Running 1/1 1", a.table())
	})
}

func TestWithoutNetworkNothingThatRunsIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{})
		a := n.start(newCloud(podNamed("web", corev1.RestartPolicyAlways, "app")))
		time.Sleep(5 * time.Second)
		a.stop()
		n.opts.root = t.TempDir() // the store is lost

		offline := newCloud()
		offline.cut = true
		n.runtime.ResetCalls()
		n.start(offline)
		time.Sleep(time.Hour)
		assert.Empty(t, n.runtime.Calls().Changes())
	})
}

func TestAnOrphanIsKilledOnceTheUpstreamHasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{})
		a := n.start(newCloud(podNamed("web", corev1.RestartPolicyAlways, "app")))
		time.Sleep(5 * time.Second)
		a.stop()
		n.opts.root = t.TempDir()
		n.runtime.ResetCalls()
		n.start(newCloud())
		time.Sleep(10 * time.Second)
		assert.Contains(t, n.runtime.Calls().Changes().String(), "StopContainer web/app; StopPodSandbox web")
	})
}

func TestTheRuntimeMayRestartUnderTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{})
		a := n.start(newCloud(podNamed("web", corev1.RestartPolicyAlways, "app")))
		time.Sleep(5 * time.Second)
		n.runtime.ResetCalls()
		n.runtime.Restart(time.Minute)
		time.Sleep(2 * time.Minute)
		assert.Equal(t, "web Running 1/1 0", a.table())
		assert.Empty(t, n.runtime.Calls().Changes())

		require.NoError(t, n.runtime.Exit(n.runtime.ContainerID("web", "app"), 1))
		time.Sleep(5 * time.Second)
		assert.Equal(t, "web Running 1/1 1", a.table())
	})
}

func TestABadPodKeepsNoOtherFromRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{})
		n.runtime.Inject(critest.Fault{Method: "PullImage", Match: func(c critest.Call) bool { return strings.HasPrefix(c.Image, "hangs") }, Hang: true})
		misnamed := podNamed("misnamed", corev1.RestartPolicyAlways, "app")
		misnamed.Spec.Containers[0].Image = "http://no/image"
		a := n.start(newCloud(
			misnamed,
			podNamed("stuck", corev1.RestartPolicyAlways, "hangs"),
			podNamed("web", corev1.RestartPolicyAlways, "app"),
		))
		time.Sleep(5 * time.Second)
		assert.Equal(t, "misnamed InvalidImageName 0/1 0\nstuck ContainerCreating 0/1 0\nweb Running 1/1 0", a.table())
	})
}

func TestAfterAnAgentRestartTooTheOldPodOfANameEndsFirst(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *node){
		"the store is lost": func(t *testing.T, n *node) { n.opts.root = t.TempDir() },
		"the runtime is slow to tell": func(_ *testing.T, n *node) {
			n.runtime.Inject(critest.Fault{Method: "ContainerStatus", Delay: 300 * time.Millisecond})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{After: 5 * time.Second}}}}}})
				before, after := podNamed("web", corev1.RestartPolicyAlways, "app"), podNamed("web", corev1.RestartPolicyAlways, "app")
				after.UID = "uid-web-2"
				a := n.start(newCloud(before))
				time.Sleep(5 * time.Second)
				a.stop()
				n.runtime.ResetCalls()
				spoil(t, n)
				n.start(newCloud(after))
				time.Sleep(30 * time.Second)
				assert.Equal(t, "StopContainer web/app; StopPodSandbox web; RunPodSandbox web; CreateContainer web/app; StartContainer web/app; RemoveContainer web/app",
					withoutPulls(n.runtime.Calls().Changes()))
			})
		})
	}
}

func TestAPodThatDoesNotFitIsRejectedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{})
		large, elsewhere := podNamed("large", corev1.RestartPolicyAlways, "app"), podNamed("elsewhere", corev1.RestartPolicyAlways, "app")
		large.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")}
		elsewhere.Spec.NodeSelector = map[string]string{"disk": "fast"}
		pods := []*corev1.Pod{large, elsewhere, podNamed("web", corev1.RestartPolicyAlways, "app")}
		want := "elsewhere NodeAffinity 0/1 0\nlarge OutOfcpu 0/1 0\nweb Running 1/1 0"
		a := n.start(newCloud(pods...))
		time.Sleep(5 * time.Second)
		require.Equal(t, want, a.table())
		status := a.status("uid-large")
		assert.Equal(t, corev1.PodFailed, status.Phase)
		assert.Contains(t, status.Message, "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000, used: 0, capacity: ")
		a.stop()

		a = n.start(newCloud(pods...))
		time.Sleep(5 * time.Second)
		assert.Equal(t, want, a.table(), "the next agent does not ask again")
		assert.NotContains(t, n.runtime.Calls().Changes().String(), "large")
	})
}

func TestReadinessShowsWhileThePodIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{Execs: []critest.ExecScript{{Command: "check", Results: []critest.ExecResult{{}, {}, {ExitCode: 1}}}}})
		n.runtime.Publish(critest.RemoteImage{Image: critest.Image{Name: "large:1"}, PullTime: time.Hour})
		pod := podNamed("web", corev1.RestartPolicyAlways, "app", "other")
		pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
			ProbeHandler:   corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"check"}}},
			TimeoutSeconds: 1, PeriodSeconds: 60, FailureThreshold: 1, SuccessThreshold: 1,
		}
		up := newCloud(pod)
		a := n.start(up)
		time.Sleep(70 * time.Second)
		require.Equal(t, "web Running 2/2 0", a.table())

		edited := pod.DeepCopy()
		edited.Spec.Containers[1].Image = "large:1"
		up.set(edited)
		time.Sleep(time.Minute)
		assert.Equal(t, "web Running 1/2 0", a.table())
		assert.Equal(t, corev1.ConditionFalse, a.ready("uid-web").Status)
		assert.Equal(t, "containers with unready status: [app]", a.ready("uid-web").Message)
	})
}

// A gate is a condition that somebody else sets, long after the node's first report.
func TestAReadinessGateIsOpenedUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{})
		up := metatest.New()
		pod := podNamed("web", corev1.RestartPolicyAlways, "app")
		pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.org/gate"}}
		up.Put(pod)
		a := n.start(up)
		time.Sleep(time.Minute)
		assert.Equal(t, corev1.ConditionFalse, a.ready("uid-web").Status)
		assert.Equal(t, "ReadinessGatesNotReady", a.ready("uid-web").Reason)

		opened := pod.DeepCopy()
		opened.Status.Conditions = []corev1.PodCondition{{Type: "example.org/gate", Status: corev1.ConditionTrue}}
		up.Put(opened)
		time.Sleep(time.Second)
		assert.Equal(t, corev1.ConditionTrue, a.ready("uid-web").Status)
		assert.Contains(t, a.status("uid-web").Conditions, opened.Status.Conditions[0])
	})
}
