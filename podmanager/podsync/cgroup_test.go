package podsync_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/podmanager/podsync"
)

// cgroups keeps what is asked of it.
type cgroups struct {
	there bool
	err   error
	calls []string
	// during is called while a cgroup is made or removed.
	during func()
}

func (c *cgroups) call(what string) error {
	c.calls = append(c.calls, what)
	if c.during != nil {
		c.during()
	}
	return c.err
}

func (c *cgroups) Ensure(context.Context, *corev1.Pod) (string, error) {
	if err := c.call("ensure"); err != nil {
		return "", err
	}
	c.there = true
	return "/kubepods/poduid-1", nil
}

func (c *cgroups) Settle(context.Context, *corev1.Pod) error { return c.call("settle") }
func (c *cgroups) Exists(*corev1.Pod) bool                   { return c.there }

func (c *cgroups) Remove(context.Context, types.UID) error {
	if err := c.call("remove"); err != nil {
		return err
	}
	c.there = false
	return nil
}

// take returns the calls since the last time.
func (c *cgroups) take() []string {
	calls := c.calls
	c.calls = nil
	return calls
}

func TestThePodsCgroupIsThereBeforeItsSandboxAndGoneAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake, pod := newStage(t, critest.Config{}), &cgroups{}, podOf("a")
		s.cgroups = fake
		parent := ""
		syncer := s.syncerOn(&spy{Runtime: s.client, run: func(config *runtimeapi.PodSandboxConfig) {
			parent = config.GetLinux().GetCgroupParent()
			assert.True(t, fake.there)
		}})
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, "/kubepods/poduid-1", parent)

		fake.take()
		fake.during = func() {
			assert.Empty(t, s.state(pod).ReadySandboxes())
			assert.NotEmpty(t, s.volumes.unmounted, "volumes are given back first")
			assert.False(t, s.last().Ended, "the pod has not ended before its cgroup is gone")
		}
		fake.err = errors.New("busy")
		require.ErrorIs(t, syncer.Kill(t.Context(), pod, time.Second), fake.err)
		fake.err = nil
		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))
		assert.Equal(t, []string{"remove", "remove"}, fake.take())
		assert.True(t, s.last().Ended)
	})
}

func TestNothingStartsWithoutTheCgroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake := newStage(t, critest.Config{}), &cgroups{err: errors.New("no room for more")}
		s.cgroups = fake
		_, err := s.syncer().Sync(t.Context(), podOf("a"))
		require.ErrorIs(t, err, fake.err)
		assert.Empty(t, s.changes())
		assert.Equal(t, corev1.ContainerStateWaiting{Reason: "ContainerCreating", Message: "no room for more"}, s.last().Waiting["a"])
		assert.Equal(t, []string{"Warning FailedCreatePodContainer web: unable to ensure pod container exists: no room for more"}, s.events)
	})
}

func TestAPodThatLostItsCgroupStartsOverInANewOne(t *testing.T) {
	for policy, after := range map[corev1.RestartPolicy]string{
		corev1.RestartPolicyAlways: "StopPodSandbox web; RunPodSandbox web; PullImage a; CreateContainer web/a; StartContainer web/a",
		corev1.RestartPolicyNever:  "",
	} {
		t.Run(string(policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, fake, pod := newStage(t, critest.Config{}), &cgroups{}, podOf("a")
				s.cgroups = fake
				pod.Spec.RestartPolicy = policy
				syncer := s.syncer()
				_, err := syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				s.changes()

				fake.there = false
				_, err = syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				assert.Equal(t, "StopContainer web/a; StopPodSandbox web", s.changes())
				time.Sleep(time.Minute) // no back-off any more
				result, err := syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				assert.Equal(t, after, s.changes())
				assert.Equal(t, after != "", fake.there)
				assert.Equal(t, after == "", result.Finished)
			})
		})
	}
}

// An agent that is new on the node, or has new settings, restarts nothing.
func TestAPodThatNeverHadACgroupRunsOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, pod := newStage(t, critest.Config{}), podOf("a")
		_, err := s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		s.changes()

		fake := &cgroups{}
		s.cgroups = fake
		_, err = s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Empty(t, s.changes())
		assert.Equal(t, []string{"ensure", "settle"}, fake.take(), "its limits are kept up to date")
	})
}

func TestTheCgroupGrowsBeforeItsContainersAndShrinksAfterThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, fake, pod := newStage(t, critest.Config{}), &cgroups{}, podOf("a")
		s.cgroups = fake
		limit := func(text string) *corev1.Pod {
			edited := pod.DeepCopy()
			edited.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(text)}
			return edited
		}
		syncer := s.syncer()
		_, err := syncer.Sync(t.Context(), limit("1"))
		require.NoError(t, err)
		fake.take()
		s.changes()

		var before []string
		fake.during = func() { before = append(before, s.changes()) }
		_, err = syncer.Sync(t.Context(), limit("2"))
		require.NoError(t, err)
		assert.Equal(t, []string{"ensure", "settle"}, fake.take())
		assert.Equal(t, []string{"", "UpdateContainerResources web/a"}, before)
	})
}

var _ podsync.Cgroups = (*cgroups)(nil)
