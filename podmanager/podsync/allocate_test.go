package podsync_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/podmanager"
	"github.com/edged-project/edged/podmanager/podsync"
)

var tooMuch = &podsync.Refusal{Reason: corev1.PodReasonDeferred, Message: "others have it"}

// memoryOf is the limit that the container runs with, in MiB.
func (s *stage) memoryOf(pod *corev1.Pod, name string) int64 {
	return s.state(pod).Newest(name).GetResources().GetLinux().GetMemoryLimitInBytes() >> 20
}

// limitedCgroups keeps what memory pods were last limited to, in MiB.
type limitedCgroups struct {
	cgroups
	limit int64
}

func (c *limitedCgroups) Settle(ctx context.Context, pod *corev1.Pod) error {
	c.limit = pod.Spec.Containers[0].Resources.Limits.Memory().Value() >> 20
	return c.cgroups.Settle(ctx, pod)
}

func TestAResizeThatTheNodeHasNoRoomForWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := newStage(t, critest.Config{}), &limitedCgroups{}
		s.cgroups = fake
		asked, why := 0, tooMuch
		s.fits = func(*corev1.Pod) *podsync.Refusal { asked++; return why }
		pod, syncer := withMemory(podOf("a"), "64Mi"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		s.changes()
		assert.Zero(t, asked, "a new pod was admitted as it is")
		assert.Equal(t, podsync.Resize{}, s.last().Resize)

		larger := withMemory(pod, "128Mi")
		for range 2 {
			result, err := syncer.Sync(t.Context(), larger)
			require.NoError(t, err)
			assert.Equal(t, time.Now().Add(10*time.Second), result.RetryAt)
		}
		assert.Empty(t, s.changes())
		assert.Equal(t, int64(64), fake.limit)
		resize := s.last().Resize
		assert.Equal(t, withMemory(pod, "64Mi"), resize.Allocated)
		assert.Equal(t, resize.Allocated, syncer.Allocated(larger))
		resize.Allocated = nil
		assert.Equal(t, podsync.Resize{Reason: "Deferred", Message: "others have it"}, resize)
		assert.Equal(t, "Warning ResizeDeferred web: Pod resize Deferred: others have it", s.events[len(s.events)-1])
		assert.Equal(t, "128Mi", larger.Spec.Containers[0].Resources.Limits.Memory().String(), "what was given is not touched")

		why = nil
		result, err := syncer.Sync(t.Context(), larger)
		require.NoError(t, err)
		assert.Equal(t, "UpdateContainerResources web/a", s.changes())
		assert.Equal(t, podsync.Resize{Acting: true}, s.last().Resize)
		assert.Equal(t, time.Now(), result.RetryAt, "the outcome is to be told at once")
		assert.Equal(t, int64(128), fake.limit)
		result, err = syncer.Sync(t.Context(), larger)
		require.NoError(t, err)
		assert.Zero(t, result)
		assert.Equal(t, podsync.Resize{}, s.last().Resize)
		assert.Same(t, larger, syncer.Allocated(larger))
	})
}

func TestAResizeThatCanNeverFitIsNotAskedForAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		s.fits = func(*corev1.Pod) *podsync.Refusal { return &podsync.Refusal{Reason: corev1.PodReasonInfeasible} }
		pod, syncer := withMemory(podOf("a"), "64Mi"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		result, err := syncer.Sync(t.Context(), withMemory(pod, "1Ti"))
		require.NoError(t, err)
		assert.Zero(t, result)
		assert.Equal(t, "Infeasible", s.last().Resize.Reason)

		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, podsync.Resize{}, s.last().Resize, "taken back")
	})
}

func TestAContainerRestartsWithWhatIsSetAsideForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		s.fits = func(*corev1.Pod) *podsync.Refusal { return tooMuch }
		pod, syncer := withMemory(podOf("a"), "64Mi"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "a"), 1))
		_, err = syncer.Sync(t.Context(), withMemory(pod, "128Mi"))
		require.NoError(t, err)
		assert.Equal(t, 1, s.state(pod).Newest("a").RestartCount())
		assert.Equal(t, int64(64), s.memoryOf(pod, "a"))
	})
}

// told is the pod with the status that an earlier agent published of it.
func told(pod *corev1.Pod, allocated corev1.ResourceRequirements) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "a", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
		AllocatedResources: allocated.Requests, Resources: &allocated,
	}}}
	return pod
}

func TestWhatIsSetAsideOutlivesTheAgent(t *testing.T) {
	small, large := withMemory(podOf("a"), "64Mi"), withMemory(podOf("a"), "128Mi")
	tests := map[string]struct {
		ran, edited *corev1.Pod
		allocated   corev1.ResourceRequirements
		memory      int64
		reason      string
	}{
		"a resize that was granted is not asked for again": {large, large, large.Spec.Containers[0].Resources, 128, ""},
		"one that was refused is, and changes nothing":     {small, large, small.Spec.Containers[0].Resources, 64, "Deferred"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				s.fits = func(*corev1.Pod) *podsync.Refusal { return tooMuch }
				_, err := s.syncer().Sync(t.Context(), test.ran)
				require.NoError(t, err)
				s.changes()

				next, pod := s.syncer(), told(test.edited, test.allocated)
				assert.Equal(t, test.allocated, next.Allocated(pod).Spec.Containers[0].Resources, "known before the first look")
				_, err = next.Sync(t.Context(), pod)
				require.NoError(t, err)
				assert.Empty(t, s.changes())
				assert.Equal(t, test.memory, s.memoryOf(pod, "a"))
				assert.Equal(t, test.reason, s.last().Resize.Reason)
			})
		})
	}
}

func TestMemoryThatIsInUseIsNotTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := withMemory(podOf("a"), "64Mi"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		id := s.runtime.ContainerID("web", "a")
		require.NoError(t, s.runtime.SetUsage(id, critest.Usage{Memory: 32 << 20}))
		s.changes()

		smaller := withMemory(pod, "32Mi")
		_, err = syncer.Sync(t.Context(), smaller)
		const trouble = "memory limit of 33554432 bytes is not more than the 33554432 bytes in use"
		require.ErrorContains(t, err, trouble)
		assert.Empty(t, s.changes())
		assert.Equal(t, podsync.Resize{Acting: true, Error: trouble}, s.last().Resize)

		require.NoError(t, s.runtime.SetUsage(id, critest.Usage{Memory: 31 << 20}))
		for range 2 {
			_, err = syncer.Sync(t.Context(), smaller)
			require.NoError(t, err)
		}
		assert.Equal(t, int64(32), s.memoryOf(pod, "a"))
		assert.Equal(t, podsync.Resize{}, s.last().Resize)
	})
}

// Many pods grow at once on a node with room for some of them.
func TestWhatIsLeftIsNotGivenTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room, before, after = 400, 64, 128
		s := newStage(t, critest.Config{})
		var syncer *podsync.Syncer
		var pods []*corev1.Pod
		for _, uid := range []types.UID{"a", "b", "c", "d"} {
			pod := withMemory(podOf("a"), "64Mi")
			pod.UID, pod.Name = uid, string(uid)
			pods = append(pods, pod)
		}
		s.fits = func(pod *corev1.Pod) *podsync.Refusal {
			sum := int64(after)
			for _, other := range pods {
				if other.UID != pod.UID {
					sum += syncer.Allocated(withMemory(other, "128Mi")).Spec.Containers[0].Resources.Limits.Memory().Value() >> 20
				}
			}
			time.Sleep(time.Millisecond) // the others come meanwhile
			if sum > room {
				return tooMuch
			}
			return nil
		}
		syncer = s.syncer()
		for _, pod := range pods {
			_, err := syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		var group sync.WaitGroup
		for _, pod := range pods {
			group.Go(func() {
				_, err := syncer.Sync(t.Context(), withMemory(pod, "128Mi"))
				assert.NoError(t, err)
			})
		}
		group.Wait()
		var sum int64
		for _, pod := range pods {
			sum += s.memoryOf(pod, "a")
		}
		assert.Equal(t, int64(2*before+2*after), sum)
	})
}

// A pod comes and another grows at once on a node with room for one of both.
func TestWhatIsLeftIsNotGivenToANewPodAndAResize(t *testing.T) {
	for name, resizeFirst := range map[string]bool{"the resize first": true, "the new pod first": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				var syncer *podsync.Syncer
				var admitted atomic.Bool
				memory := func(pod *corev1.Pod) int64 {
					return syncer.Allocated(pod).Spec.Containers[0].Resources.Limits.Memory().Value() >> 20
				}
				there, comes := withMemory(podOf("a"), "64Mi"), withMemory(podOf("a"), "64Mi")
				comes.UID, comes.Name = "new", "new"
				larger := withMemory(there, "128Mi")
				s.fits = func(*corev1.Pod) *podsync.Refusal {
					taken := admitted.Load()
					time.Sleep(time.Second) // time for the other to be decided
					if taken {
						return tooMuch
					}
					return nil
				}
				syncer = s.syncer()
				_, err := syncer.Sync(t.Context(), there)
				require.NoError(t, err)

				resize := func() {
					_, err := syncer.Sync(t.Context(), larger)
					assert.NoError(t, err)
				}
				admit := func() {
					admitted.Store(true) // as podmanager has it while it asks
					why := syncer.Admit(comes, func() *podmanager.Rejection {
						left := 192 - memory(larger) - 64
						time.Sleep(time.Second)
						if left < 64 {
							return &podmanager.Rejection{Reason: "OutOfmemory"}
						}
						return nil
					})
					admitted.Store(why == nil)
				}
				first, second := admit, resize
				if resizeFirst {
					first, second = resize, admit
				}
				var group sync.WaitGroup
				group.Go(first)
				synctest.Wait()
				group.Go(second)
				group.Wait()
				assert.Equal(t, resizeFirst, memory(larger) == 128)
				assert.Equal(t, !resizeFirst, admitted.Load())
			})
		})
	}
}

func TestAPodThatGrowsBeforeItStartsIsAskedForTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		s.fits = func(*corev1.Pod) *podsync.Refusal { return tooMuch }
		pod, syncer := withMemory(podOf("a"), "64Mi"), s.syncer()
		require.Nil(t, syncer.Admit(pod, func() *podmanager.Rejection { return nil }))
		_, err := syncer.Sync(t.Context(), withMemory(pod, "128Mi"))
		require.NoError(t, err)
		assert.Equal(t, int64(64), s.memoryOf(pod, "a"))
		assert.Equal(t, tooMuch.Reason, s.last().Resize.Reason)
	})
}
