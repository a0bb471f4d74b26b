package statusmgr_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/statusmgr"
)

func TestSummaryReadsLikeKubectl(t *testing.T) {
	type words = []string
	tests := map[string]struct {
		policy           corev1.RestartPolicy
		containers, runs words
		waiting          map[string]corev1.ContainerStateWaiting
		want             statusmgr.Summary
	}{
		"new":                 {always, words{"app"}, nil, nil, statusmgr.Summary{Containers: 1, Status: "ContainerCreating"}},
		"running":             {always, words{"side:s", "app"}, words{"s#1 running", "app#2 running"}, nil, statusmgr.Summary{Ready: 2, Containers: 2, Status: "Running", Restarts: 3}},
		"crash loop":          {always, words{"a", "b"}, words{"a#0 running", "b#4 exited 1"}, waiting("b", "CrashLoopBackOff"), statusmgr.Summary{Ready: 1, Containers: 2, Status: "CrashLoopBackOff", Restarts: 4}},
		"image missing":       {always, words{"app"}, nil, waiting("app", "ErrImagePull"), statusmgr.Summary{Containers: 1, Status: "ErrImagePull"}},
		"completed":           {never, words{"app"}, words{"app#0 exited 0"}, nil, statusmgr.Summary{Containers: 1, Status: "Completed"}},
		"failed":              {never, words{"app"}, words{"app#0 exited 1"}, nil, statusmgr.Summary{Containers: 1, Status: "Error"}},
		"one done, one runs":  {never, words{"a", "b"}, words{"a#0 exited 0", "b#0 running"}, nil, statusmgr.Summary{Ready: 1, Containers: 2, Status: "Running"}},
		"one done, one fails": {always, words{"a", "b"}, words{"a#0 exited 0", "b#0 exited 1"}, nil, statusmgr.Summary{Containers: 2, Status: "Error"}},
		"second init runs":    {always, words{"init:i", "init:j", "app"}, words{"i#0 exited 0", "j#1 running"}, nil, statusmgr.Summary{Containers: 1, Status: "Init:1/2", Restarts: 1}},
		"no init started":     {always, words{"init:i", "app"}, nil, nil, statusmgr.Summary{Containers: 1, Status: "Init:0/1"}},
		"init failed":         {never, words{"init:i", "app"}, words{"i#0 exited 1"}, nil, statusmgr.Summary{Containers: 1, Status: "Init:Error"}},
		"init failed, and with it the sidecar ended": {never, words{"side:s", "init:i", "app"}, words{"s#0 exited 0", "i#0 exited 9"}, nil, statusmgr.Summary{Containers: 2, Status: "Init:Error"}},
		"init in a crash loop":                       {always, words{"init:i", "app"}, words{"i#3 exited 1"}, waiting("i", "CrashLoopBackOff"), statusmgr.Summary{Containers: 1, Status: "Init:CrashLoopBackOff", Restarts: 3}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := newPod(test.policy, test.containers...)
			in := input(pod, observed(test.runs...))
			in.Waiting = test.waiting
			pod.Status = statusmgr.Generate(in)
			assert.Equal(t, test.want, statusmgr.Summarize(pod))
		})
	}
	t.Run("being deleted", func(t *testing.T) {
		pod := newPod(always, "app")
		pod.DeletionTimestamp = &metav1.Time{Time: now}
		pod.Status = statusmgr.Generate(input(pod, observed("app#0 running")))
		assert.Equal(t, "Terminating", statusmgr.Summarize(pod).Status)
	})
	t.Run("the pod's own reason", func(t *testing.T) {
		pod := newPod(always, "app")
		pod.Status = corev1.PodStatus{Phase: failed, Reason: "Evicted"}
		assert.Equal(t, "Evicted", statusmgr.Summarize(pod).Status)
	})
	t.Run("what the node decided", func(t *testing.T) {
		for _, reason := range []string{"DeadlineExceeded", "Evicted"} {
			in := input(newPod(always, "init:i", "app"), observed("i#0 exited 0", "app#1 running"))
			in.Failure = &statusmgr.Failure{Reason: reason, Message: "because"}
			in.Pod.Status = statusmgr.Generate(in)
			assert.Equal(t, statusmgr.Summary{Ready: 1, Containers: 1, Status: "Running", Restarts: 1}, statusmgr.Summarize(in.Pod), "as long as it runs")

			in.State = observed("i#0 exited 0", "app#1 exited 137")
			in.Pod.Status = statusmgr.Generate(in)
			assert.Equal(t, statusmgr.Summary{Containers: 1, Status: reason, Restarts: 1}, statusmgr.Summarize(in.Pod))

			in.Pod.DeletionTimestamp = &metav1.Time{Time: now}
			assert.Equal(t, reason, statusmgr.Summarize(in.Pod).Status, "deleted after its end")
		}
		rejected := newPod(always, "init:i", "app")
		rejected.Status = statusmgr.Generate(statusmgr.Input{Pod: rejected, Failure: &statusmgr.Failure{Reason: "Evicted"}, Now: now})
		assert.Equal(t, statusmgr.Summary{Containers: 1, Status: "Evicted"}, statusmgr.Summarize(rejected), "never started")
	})
	t.Run("runtimes that give no reason", func(t *testing.T) {
		pod := newPod(never, "app")
		pod.Status = statusmgr.Generate(input(pod, observed("app#0 exited 3")))
		ended := pod.Status.ContainerStatuses[0].State.Terminated
		ended.Reason = ""
		assert.Equal(t, "ExitCode:3", statusmgr.Summarize(pod).Status)
		ended.Signal = 9
		assert.Equal(t, "Signal:9", statusmgr.Summarize(pod).Status)
	})
	t.Run("done beside one that is not ready", func(t *testing.T) {
		pod := newPod(never, "a", "b")
		pod.Status = statusmgr.Generate(input(pod, observed("a#0 exited 0", "b#0 running")))
		pod.Status.ContainerStatuses[1].Ready = false
		assert.Equal(t, "NotReady", statusmgr.Summarize(pod).Status)
	})
	t.Run("a pod without a status, and none", func(t *testing.T) {
		assert.Equal(t, statusmgr.Summary{Containers: 1, Status: "Init:0/1"}, statusmgr.Summarize(newPod(always, "init:i", "app")))
		assert.Zero(t, statusmgr.Summarize(nil))
	})
}
