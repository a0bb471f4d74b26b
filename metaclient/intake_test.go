package metaclient_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edged-project/edged/metaclient"
)

func TestBadPodsAreSetAsideAndTheOthersGoOn(t *testing.T) {
	changed := func(f func(p *corev1.Pod)) *corev1.Pod {
		p := pod("bad")
		f(p)
		return p
	}
	for name, tc := range map[string]struct {
		bad    *corev1.Pod
		reason string // empty: dropped without a word
	}{
		"nil":           {nil, ""},
		"no uid":        {changed(func(p *corev1.Pod) { p.UID = "" }), "metadata.uid is empty"},
		"no name":       {changed(func(p *corev1.Pod) { p.Name = "" }), "metadata.name is empty"},
		"no namespace":  {changed(func(p *corev1.Pod) { p.Namespace = "" }), "metadata.namespace is empty"},
		"uid is a path": {changed(func(p *corev1.Pod) { p.UID = "../../etc" }), "metadata.uid may not contain '/'"},
		"uid is dots":   {changed(func(p *corev1.Pod) { p.UID = ".." }), "metadata.uid may not be '..'"},
		"name is taken": {changed(func(p *corev1.Pod) { p.Name, p.UID = "good", "other" }), "another pod of the same set has this namespace and name"},
		"uid is taken":  {changed(func(p *corev1.Pod) { p.UID = pod("good").UID }), "another pod of the same set has this uid"},
		"huge quantity": {changed(func(p *corev1.Pod) { p.Spec.Overhead = hugeCPU() }),
			"spec.overhead.cpu: Invalid value: a quantity may have at most 64 characters and an exponent of at most 3 digits"},
		"huge quantity in the status": {changed(func(p *corev1.Pod) { p.Status.AllocatedResources = hugeCPU() }),
			"status.allocatedResources.cpu: Invalid value: a quantity may have at most 64 characters and an exponent of at most 3 digits"},
		"not to be encoded": {changed(func(p *corev1.Pod) {
			p.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
				TCPSocket: &corev1.TCPSocketAction{Port: intstr.IntOrString{Type: 7}},
			}}
		}), "encode pod: json: error calling MarshalJSON for type intstr.IntOrString: impossible IntOrString.Type"},
		"mirror pod": {changed(func(p *corev1.Pod) {
			p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "hash"}
		}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var rec recorder
				logs, seen := observer.New(zap.WarnLevel)
				up := newFakeUpstream()
				stop := start(t, mustOpen(t, storePath(t), up, metaclient.Config{OnPods: rec.onPods, Logger: zap.New(logs)}))
				defer stop()
				require.NoError(t, up.deliver(pod("good"), tc.bad, pod("late")))
				assert.Equal(t, []string{"good", "late"}, rec.last(t).names)
				assert.Equal(t, pod("good").UID, rec.last(t).pods[0].UID, "the first wins")

				require.NoError(t, up.deliver(pod("good"), tc.bad))
				if tc.reason == "" {
					assert.Zero(t, seen.Len())
					return
				}
				require.Equal(t, 1, seen.Len(), "reported once while it stays so")
				fields := seen.All()[0].ContextMap()
				assert.Equal(t, tc.reason, fields["reason"])
				assert.Equal(t, tc.bad.Name, fields["pod"])
				assert.Equal(t, tc.bad.Namespace, fields["namespace"])
				assert.Equal(t, string(tc.bad.UID), fields["uid"])

				require.NoError(t, up.deliver(pod("good")))
				require.NoError(t, up.deliver(pod("good"), tc.bad))
				assert.Equal(t, 2, seen.Len(), "reported again when it comes back")
			})
		})
	}
}

func TestUpdateThatIsSetAsideLeavesThePodAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		var rec recorder
		c := mustOpen(t, storePath(t), up, metaclient.Config{OnPods: rec.onPods})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver(uses("a", "c", ""), pod("b")))
		require.NoError(t, up.sink.Object(t.Context(), configMap("c", "1")))
		require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), runningStatus())))
		huge := pod("a")
		huge.Annotations = map[string]string{"x": strings.Repeat("x", 4<<20)}
		require.NoError(t, up.deliver(huge, pod("b")))
		assert.Equal(t, []string{"a", "b"}, rec.last(t).names)
		assert.True(t, rec.last(t).complete)
		assert.Equal(t, corev1.PodRunning, rec.last(t).pods[0].Status.Phase)
		_, err := c.ConfigMap(t.Context(), "default", "c")
		require.NoError(t, err, "what it refers to stays, too")

		huge.DeletionTimestamp = new(at(1700000000))
		require.NoError(t, up.deliver(huge, pod("b")))
		assert.Equal(t, []string{"b"}, rec.last(t).names, "until it is deleted")
		huge.DeletionTimestamp = nil
		require.NoError(t, up.deliver(pod("a"), pod("b")))

		renamed := pod("a")
		renamed.UID = "another"
		require.NoError(t, up.deliver(huge, renamed))
		assert.Equal(t, []string{"a"}, rec.last(t).names, "unless another has its name now")
		assert.Equal(t, types.UID("another"), rec.last(t).pods[0].UID)
		require.NoError(t, up.deliver())
		assert.Empty(t, rec.last(t).names)
	})
}

func TestSetThatIsNotCompleteRemovesOnlyWhatItsWatchDelivered(t *testing.T) {
	path := storePath(t)
	fill(t, path, withStatus(pod("a"), runningStatus()), pod("b"), pod("z"))
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		var rec recorder
		c := mustOpen(t, path, up, metaclient.Config{OnPods: rec.onPods, CacheAfter: -1})
		stop := start(t, c)
		defer stop()
		synctest.Wait()
		edited := pod("b")
		edited.UID = "edited"
		deliver := func(pods ...*corev1.Pod) []string {
			require.NoError(t, up.sink.PodsSoFar(t.Context(), pods))
			assert.True(t, rec.last(t).complete, "what is missing is unwanted")
			return rec.last(t).names
		}
		assert.Equal(t, []string{"a", "b", "c", "z"}, deliver(edited, pod("c")))
		assert.Equal(t, corev1.PodRunning, rec.last(t).pods[0].Status.Phase)
		assert.Equal(t, edited.UID, rec.last(t).pods[1].UID, "a pod under a name that is taken has gone")
		assert.Equal(t, []string{"a", "b", "z"}, deliver(edited))
		assert.True(t, c.Connected())

		require.NoError(t, up.deliver(pod("z")))
		assert.Equal(t, []string{"z"}, rec.last(t).names)
		assert.Empty(t, deliver())
	})
}

// hugeCPU is decoded in no time, but its text as it would be stored takes hours.
func hugeCPU() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("123456789012345678e2000000000")}
}

func TestSameNameWithANewUIDIsAnotherPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		c := mustOpen(t, storePath(t), up, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver(pod("a")))
		require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), corev1.PodStatus{Phase: corev1.PodFailed})))
		next := pod("a")
		next.UID = "another"
		require.NoError(t, up.deliver(next))
		pods, err := c.Pods(t.Context())
		require.NoError(t, err)
		require.Len(t, pods, 1)
		assert.Equal(t, types.UID("another"), pods[0].UID)
		assert.Empty(t, pods[0].Status.Phase, "the old pod's end is not the new one's")
	})
}

func TestUnchangedSetsWriteNothing(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		c := mustOpen(t, path, up, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		status := corev1.PodStatus{Phase: corev1.PodRunning, StartTime: new(at(1700000000))}
		require.NoError(t, up.deliver(pod("a"), pod("b")))
		require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), status)))
		require.NoError(t, c.Flush(t.Context()))
		before := readFile(t, path)
		for range 60 {
			time.Sleep(time.Minute)
			managed := pod("a")
			managed.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "somebody", Time: new(metav1.Now())}}
			require.NoError(t, up.deliver(pod("b"), managed))
			require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), status)))
		}
		unchanged(t, before, path)
	})
}

func TestOpeningAStoreThatIsInOrderWritesNothing(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	before := readFile(t, path)
	require.Len(t, stored(t, path), 1)
	unchanged(t, before, path)
}

func TestManagedFieldsAreNotKept(t *testing.T) {
	path := storePath(t)
	p := pod("a")
	p.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "somebody"}}
	fill(t, path, p)
	assert.Empty(t, stored(t, path)[0].ManagedFields)
}

func TestReleaseForgetsADeletedPodOnly(t *testing.T) {
	path := storePath(t)
	deleted := withStatus(pod("deleted"), corev1.PodStatus{Phase: corev1.PodSucceeded})
	deleted.DeletionTimestamp = new(at(1700000000))
	wanted := withStatus(pod("wanted"), corev1.PodStatus{Phase: corev1.PodSucceeded})
	fill(t, path, deleted, wanted)

	c := mustOpen(t, path, watchFunc(silent), metaclient.Config{})
	for range 2 {
		require.NoError(t, c.Release(t.Context(), deleted.UID))
		require.NoError(t, c.Release(t.Context(), wanted.UID))
		require.NoError(t, c.Release(t.Context(), "never heard of"))
	}
	pods, err := c.Pods(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"wanted"}, names(pods))
	assert.Equal(t, corev1.PodSucceeded, pods[0].Status.Phase, "a finished job must not run again")
}
