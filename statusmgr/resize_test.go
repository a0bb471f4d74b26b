package statusmgr_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/statusmgr"
)

func TestAResizeIsToldAsLongAsItLasts(t *testing.T) {
	pod := newPod(always, "app")
	after := func(previous corev1.PodStatus, generation int64, resize statusmgr.Resize) corev1.PodStatus {
		pod.Generation = generation
		in := input(pod, observed("app#0 running"))
		in.Resize = resize
		return then(previous, in)
	}
	status := after(corev1.PodStatus{}, 1, statusmgr.Resize{})
	assert.Equal(t, said{}, about(status, corev1.PodResizePending))
	assert.Equal(t, said{}, about(status, corev1.PodResizeInProgress))

	status = after(status, 2, statusmgr.Resize{Reason: "Deferred", Message: "no room"})
	assert.Equal(t, said{corev1.ConditionTrue, "Deferred", "no room"}, about(status, corev1.PodResizePending))
	assert.Equal(t, said{}, about(status, corev1.PodResizeInProgress))
	assert.EqualValues(t, 2, condition(status, corev1.PodResizePending).ObservedGeneration)

	status = after(status, 2, statusmgr.Resize{Acting: true})
	assert.Equal(t, said{}, about(status, corev1.PodResizePending))
	assert.Equal(t, yes, about(status, corev1.PodResizeInProgress))

	status = after(status, 3, statusmgr.Resize{Acting: true, Error: "in use", Reason: "Infeasible"})
	assert.Equal(t, said{corev1.ConditionTrue, "Infeasible", ""}, about(status, corev1.PodResizePending))
	assert.Equal(t, said{corev1.ConditionTrue, "Error", "in use"}, about(status, corev1.PodResizeInProgress))
	assert.EqualValues(t, 3, condition(status, corev1.PodResizePending).ObservedGeneration)
	assert.EqualValues(t, 2, condition(status, corev1.PodResizeInProgress).ObservedGeneration, "it is the earlier one that goes on")

	pod.Status = status // as an earlier agent left it
	status = after(status, 3, statusmgr.Resize{})
	assert.Equal(t, said{}, about(status, corev1.PodResizePending))
	assert.Equal(t, said{}, about(status, corev1.PodResizeInProgress))
}

func TestResourcesAreThoseSetAside(t *testing.T) {
	pod := newPod(always, "app")
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("cpu", "2"), Limits: list("memory", "2Gi")}
	in := input(pod, observed("app#0 running"))
	in.Resize = statusmgr.Resize{Allocated: pod.DeepCopy(), Reason: "Deferred"}
	in.Resize.Allocated.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("cpu", "1"), Limits: list("memory", "1Gi")}
	c := container(statusmgr.Generate(in), "app")
	assert.Equal(t, map[string]string{"cpu": "1"}, texts(c.AllocatedResources))
	assert.Equal(t, map[string]string{"cpu": "1"}, texts(c.Resources.Requests))
	assert.Equal(t, map[string]string{"memory": "1Gi"}, texts(c.Resources.Limits))

	in.Resize = statusmgr.Resize{}
	assert.Equal(t, map[string]string{"cpu": "2"}, texts(container(statusmgr.Generate(in), "app").AllocatedResources))
}

// The next agent is to know what it may start a container with.
func TestWhatIsSetAsideIsToldOfAContainerThatIsNotMadeYet(t *testing.T) {
	pod := newPod(always, "app")
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("cpu", "2"), Limits: list("memory", "2Gi")}
	in := input(pod, observed())
	in.Resize = statusmgr.Resize{Allocated: pod.DeepCopy(), Reason: "Deferred"}
	in.Resize.Allocated.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("cpu", "1"), Limits: list("memory", "1Gi")}
	status := statusmgr.Generate(in)
	c := container(status, "app")
	assert.Equal(t, map[string]string{"cpu": "1"}, texts(c.AllocatedResources))
	assert.Equal(t, map[string]string{"cpu": "1"}, texts(c.Resources.Requests))
	assert.Equal(t, map[string]string{"memory": "1Gi"}, texts(c.Resources.Limits))

	in.Resize = statusmgr.Resize{}
	assert.Equal(t, map[string]string{"cpu": "2"}, texts(container(then(status, in), "app").AllocatedResources))

	rejected := statusmgr.Generate(statusmgr.Input{Pod: pod, Failure: &statusmgr.Failure{Reason: "OutOfcpu"}, Now: now})
	assert.Nil(t, container(rejected, "app").Resources)
	in.Finished = true
	assert.Nil(t, container(then(rejected, in), "app").AllocatedResources)
}
