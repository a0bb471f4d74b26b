package main

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edged-project/edged/cri/critest"
)

// asking returns the pod with a request of CPU, in thousandths.
func asking(pod *corev1.Pod, milli int64) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)}
	pod.Generation++
	return pod
}

// resizing is why the pod is not resized, and the CPU that is set aside for it.
func (r *running) resizing(pod *corev1.Pod) (why string, milli int64) {
	status := r.status(pod.UID)
	for _, c := range status.Conditions {
		if c.Type == corev1.PodResizePending || c.Type == corev1.PodResizeInProgress {
			why = c.Reason
		}
	}
	return why, status.ContainerStatuses[0].AllocatedResources.Cpu().MilliValue()
}

func TestAResizeWaitsForRoomAlsoAcrossAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, all := newNode(t, critest.Config{}), int64(runtime.NumCPU())*1000
		large := asking(podNamed("large", corev1.RestartPolicyAlways, "app"), all-500)
		small := asking(podNamed("small", corev1.RestartPolicyAlways, "app"), 200)
		up := newCloud(large, small)
		a := n.start(up)
		time.Sleep(5 * time.Second)
		require.Equal(t, "large Running 1/1 0\nsmall Running 1/1 0", a.table())
		n.runtime.ResetCalls()

		expect := func(what, why string, milli int64) {
			t.Helper()
			time.Sleep(15 * time.Second)
			gotWhy, got := a.resizing(small)
			assert.Equal(t, why, gotWhy, what)
			assert.Equal(t, milli, got, what)
		}
		up.set(large, asking(small, all+1))
		expect("more than the node has", "Infeasible", 200)
		small = asking(small, 600)
		up.set(large, small)
		expect("more than is left", "Deferred", 200)
		late := asking(podNamed("late", corev1.RestartPolicyAlways, "app"), 300)
		up.set(large, small, late)
		expect("what is not set aside keeps no other out", "Deferred", 200)
		require.Equal(t, corev1.PodRunning, a.status(late.UID).Phase)
		a.stop()
		a = n.start(newCloud(up.pods...))
		expect("the next agent reverts and grants nothing", "Deferred", 200)
		assert.NotContains(t, n.runtime.Calls().Changes().String(), "UpdateContainerResources")
		a.stop()

		up = newCloud(small, late)
		a = n.start(up)
		expect("there is room", "", 600)
		shares := func() int64 {
			status, err := a.runtime.ContainerStatus(t.Context(), n.runtime.ContainerID("small", "app"), false)
			require.NoError(t, err)
			return status.GetStatus().GetResources().GetLinux().GetCpuShares()
		}
		assert.EqualValues(t, 614, shares())
		a.stop()
		n.runtime.ResetCalls()
		a = n.start(newCloud(small, late))
		expect("granted for good", "", 600)
		assert.Empty(t, n.runtime.Calls().Changes())
		assert.Equal(t, "late Running 1/1 0\nsmall Running 1/1 0", a.table())
	})
}

func TestAResizeThatIsRefusedStaysSoBeforeTheFirstStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, all := newNode(t, critest.Config{}), int64(runtime.NumCPU())*1000
		large := asking(podNamed("large", corev1.RestartPolicyAlways, "app"), all-500)
		small := asking(podNamed("small", corev1.RestartPolicyAlways, "slow"), 200)
		n.runtime.Inject(critest.Fault{Method: "PullImage", Match: func(c critest.Call) bool { return strings.Contains(c.Image, "slow") }, Err: errors.New("no network")})
		up := newCloud(large, small)
		a := n.start(up)
		time.Sleep(5 * time.Second)
		small = asking(small, 600)
		up.set(large, small)
		for _, agent := range []string{"this one", "the next", "the one after"} {
			time.Sleep(20 * time.Second)
			why, milli := a.resizing(small)
			assert.Equal(t, "Deferred", why, agent)
			assert.EqualValues(t, 200, milli, agent)
			a.stop()
			small = asking(small, 700)
			a = n.start(newCloud(large, small))
		}
	})
}
