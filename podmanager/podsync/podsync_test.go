package podsync_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/podmanager"
)

func TestAPodIsStartedInOrderAndItsStatusToldFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a", "b")
		syncer := s.syncer()

		result, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, podmanager.Result{}, result)
		assert.Equal(t, "RunPodSandbox web; PullImage a; CreateContainer web/a; StartContainer web/a; "+
			"PullImage b; CreateContainer web/b; StartContainer web/b", s.changes())
		require.Len(t, s.seen, 1)
		assert.Empty(t, s.seen[0].State.Sandboxes, "the status was told before anything was done")

		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Empty(t, s.changes(), "there is nothing more to do")
		assert.Len(t, s.last().State.Running(), 2)
	})
}

func TestLogsAreWhereShippersLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Logs: []critest.Log{{Text: "hello"}}}}}}})
		_, err := s.syncer().Sync(t.Context(), podOf("a"))
		require.NoError(t, err)
		time.Sleep(time.Second)

		content, err := os.ReadFile(filepath.Join(s.logs, "pods/shop_web_uid-1/a/0.log"))
		require.NoError(t, err)
		assert.Contains(t, string(content), "stdout F hello")
		linked, err := os.ReadFile(filepath.Join(s.logs, "links", "web_shop_a-"+s.runtime.ContainerID("web", "a")+".log"))
		require.NoError(t, err)
		assert.Equal(t, content, linked)
	})
}

func TestAnAgentThatDiesAtAnyStepIsFollowedByOneThatGoesOn(t *testing.T) {
	for calls := range 7 {
		t.Run(fmt.Sprintf("after %d calls", calls), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				pod := podOf("a", "b")
				_, _ = s.syncerOn(&mortal{Runtime: s.client, left: calls}).Sync(t.Context(), pod)
				running := map[string]bool{}
				for _, c := range s.state(pod).Running() {
					running[c.GetId()] = true
				}

				next := s.syncer()
				for range 3 {
					_, err := next.Sync(t.Context(), pod)
					require.NoError(t, err)
				}
				state := s.state(pod)
				assert.Len(t, state.Sandboxes, 1)
				assert.Len(t, state.Containers, 2, "no container twice")
				assert.Len(t, state.Running(), 2)
				for _, c := range state.Containers {
					assert.Zero(t, c.RestartCount(), "nothing counts as restarted")
					delete(running, c.GetId())
				}
				assert.Empty(t, running, "what ran still runs")
			})
		})
	}
}

func TestAContainerThatCannotBeStartedKeepsNoOtherFromStarting(t *testing.T) {
	for _, row := range []struct {
		name   string
		spoil  func(*stage)
		reason string
		text   string
	}{
		{"pull", func(s *stage) { s.images.fail = map[string]error{"a": &pullError{reason: "ErrImagePull"}} }, "ErrImagePull", "the registry said: ErrImagePull"},
		{"create", func(s *stage) {
			s.runtime.Inject(critest.Fault{Method: "CreateContainer", Times: 1, Err: status.Error(codes.Internal, "no space")})
		}, "CreateContainerError", "no space"},
		{"start", func(s *stage) {
			s.runtime.Inject(critest.Fault{Method: "StartContainer", Times: 1, Err: status.Error(codes.Unknown, "exec: not found")})
		}, "RunContainerError", "exec: not found"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				row.spoil(s)
				pod, syncer := podOf("a", "b"), s.syncer()
				_, err := syncer.Sync(t.Context(), pod)
				require.ErrorContains(t, err, `start container "a"`)
				assert.Equal(t, map[string]corev1.ContainerStateWaiting{"a": {Reason: row.reason, Message: row.text}}, s.last().Waiting)
				assert.Equal(t, "b", s.state(pod).Running()[0].Name())

				s.images.fail = nil
				_, err = syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				assert.Len(t, s.state(pod).Running(), 2)
				assert.Empty(t, s.last().Waiting, "the reason goes when the container starts")
			})
		})
	}
}

func TestAWaitForAnImageIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		until := time.Now().Add(40 * time.Second)
		s.images.fail = map[string]error{"a": &pullError{reason: "ImagePullBackOff", retryAt: until}}
		result, err := s.syncer().Sync(t.Context(), podOf("a", "b"))
		require.NoError(t, err)
		assert.Equal(t, until, result.RetryAt)
		assert.Equal(t, "ImagePullBackOff", s.last().Waiting["a"].Reason)
	})
}

func TestAnInitContainerThatCannotBeStartedHoldsUpTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a")
		pod.Spec.InitContainers = []corev1.Container{{Name: "i", Image: "i"}}
		s.images.fail = map[string]error{"i": &pullError{reason: "ErrImagePull"}}
		_, err := s.syncer().Sync(t.Context(), pod)
		require.Error(t, err)
		assert.Empty(t, s.state(pod).Containers)
	})
}

func TestNothingStartsWithoutItsVolumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		s.volumes.err = errors.New(`volume "data" is not there`)
		_, err := s.syncer().Sync(t.Context(), podOf("a"))
		require.ErrorContains(t, err, `volume "data" is not there`)
		assert.Empty(t, s.changes())
		assert.Equal(t, corev1.ContainerStateWaiting{Reason: "ContainerCreating", Message: `volume "data" is not there`}, s.last().Waiting["a"])
	})
}

func TestASandboxThatCannotBeMadeIsToldOfEachContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		s.runtime.Inject(critest.Fault{Method: "RunPodSandbox", Times: 1, Err: status.Error(codes.Unknown, "no network")})
		_, err := s.syncer().Sync(t.Context(), podOf("a", "b"))
		require.ErrorContains(t, err, "no network")
		assert.Equal(t, corev1.ContainerStateWaiting{Reason: "ContainerCreating", Message: "no network"}, s.last().Waiting["b"])
	})
}

func TestAnEditedImageRestartsJustThatContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a", "b"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		s.changes()

		edited := pod.DeepCopy()
		edited.Spec.Containers[0].Image = "newer"
		_, err = syncer.Sync(t.Context(), edited)
		require.NoError(t, err)
		assert.Equal(t, "StopContainer web/a; PullImage newer; CreateContainer web/a; StartContainer web/a", s.changes())
		assert.Equal(t, 1, s.state(edited).Newest("a").RestartCount())
	})
}

func TestEditedEnvArgsAndResourcesRestartNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		s.changes()

		edited := pod.DeepCopy()
		edited.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "A", Value: "b"}}
		edited.Spec.Containers[0].Args = []string{"-v"}
		_, err = syncer.Sync(t.Context(), edited)
		require.NoError(t, err)
		assert.Empty(t, s.changes())
	})
}

func TestRestartsAreCountedOnWhenTheRuntimeHasForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a")
		_, err := s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		time.Sleep(time.Second)
		s.runtime.Reboot(critest.RebootOptions{Wipe: true})
		time.Sleep(10 * time.Second)

		_, err = s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, 1, s.state(pod).Newest("a").RestartCount(), "the log of the first run tells")
	})
}

func TestAfterARebootThePodGoesOnInANewSandbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a")
		_, err := s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		s.runtime.Reboot(critest.RebootOptions{})
		time.Sleep(10 * time.Second)

		_, err = s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		state := s.state(pod)
		assert.Len(t, state.ReadySandboxes(), 1)
		assert.Equal(t, uint32(1), state.Sandboxes[0].Metadata.Attempt)
		assert.Equal(t, 1, state.Newest("a").RestartCount())
	})
}

func TestAPodThatHasRunToItsEndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Duration: time.Second}}}}})
		pod, syncer := podOf("a"), s.syncer()
		pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		s.changes()

		result, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, podmanager.Result{Finished: true}, result)
		assert.Empty(t, s.changes(), "stopping the rest is Kill's work")
	})
}

func TestSyncThatIsCancelledStopsBetweenTwoSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a", "b")
		s.runtime.Inject(critest.Fault{Method: "StartContainer", Delay: 10 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := s.syncer().Sync(ctx, pod)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, "a", s.state(pod).Running()[0].Name(), "the start under way was not torn")
		assert.Nil(t, s.state(pod).Newest("b"), "the next was not begun")
	})
}

func TestKillStopsContainersTogetherSidecarsLastThenTheSandbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := critest.Run{Term: critest.Term{After: 3 * time.Second}}
		s := newStage(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{slow}}}})
		pod, syncer := podOf("a", "b"), s.syncer()
		always := corev1.ContainerRestartPolicyAlways
		pod.Spec.InitContainers = []corev1.Container{
			{Name: "s1", Image: "s1", RestartPolicy: &always},
			{Name: "s2", Image: "s2", RestartPolicy: &always},
		}
		for range 3 {
			_, err := syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		require.Len(t, s.state(pod).Running(), 4)
		s.changes()

		began := time.Now()
		require.NoError(t, syncer.Kill(t.Context(), pod, 30*time.Second))
		assert.Equal(t, 9*time.Second, time.Since(began), "3 s for a and b together, 3 s for each sidecar")
		assert.Regexp(t, "^StopContainer web/[ab]; StopContainer web/[ab]; "+
			"StopContainer web/s2; StopContainer web/s1; StopPodSandbox web$", s.changes())
		assert.True(t, s.last().Ended)
		assert.Empty(t, s.last().State.Running())
		assert.Contains(t, s.volumes.unmounted, pod.UID)
		assert.Contains(t, s.images.forgotten, pod.UID)

		require.NoError(t, syncer.Kill(t.Context(), pod, 30*time.Second), "it may be called again")
	})
}

func TestKillKeepsToTheGracePeriodAndItsLeast(t *testing.T) {
	for _, row := range []struct{ grace, want time.Duration }{
		{7 * time.Second, 7 * time.Second},
		{0, 2 * time.Second},
		{time.Second, 2 * time.Second},
	} {
		t.Run(row.grace.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{Ignore: true}}}}}})
				pod, syncer := podOf("a"), s.syncer()
				_, err := syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				began := time.Now()
				require.NoError(t, syncer.Kill(t.Context(), pod, row.grace))
				assert.Equal(t, row.want, time.Since(began))
				assert.Equal(t, int32(137), s.last().State.Newest("a").GetExitCode())
			})
		})
	}
}

func TestKillFailsAsLongAsSomethingRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		s.runtime.Inject(critest.Fault{Method: "StopContainer", Times: 1, Err: status.Error(codes.Internal, "busy")})

		require.ErrorContains(t, syncer.Kill(t.Context(), pod, time.Second), "busy")
		assert.NotContains(t, s.changes(), "StopPodSandbox", "the sandbox is not taken from under a running container")
		assert.Empty(t, s.volumes.unmounted)
		assert.False(t, s.last().Ended)
		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))
	})
}

func TestKillOfAPodThatNeverStartedIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		require.NoError(t, s.syncer().Kill(t.Context(), podOf("a"), time.Second))
		assert.Empty(t, s.changes())
		assert.True(t, s.last().Ended)
	})
}

func TestWhatRunsIsListedAndCanBeKilledWithoutItsObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		grace := int64(11)
		pod.Spec.TerminationGracePeriodSeconds = &grace
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)

		stranger := s.syncer()
		pods, err := stranger.List(t.Context())
		require.NoError(t, err)
		require.Len(t, pods, 1)
		assert.Equal(t, "shop/web", pods[0].Namespace+"/"+pods[0].Name)
		assert.Equal(t, pod.UID, pods[0].UID)
		assert.Equal(t, grace, *pods[0].Spec.TerminationGracePeriodSeconds)

		told := len(s.seen)
		require.NoError(t, stranger.Kill(t.Context(), pods[0], time.Second))
		assert.Len(t, s.seen, told, "nobody asked for the status of a pod that nobody knows")
		pods, err = stranger.List(t.Context())
		require.NoError(t, err)
		assert.Empty(t, pods, "what has stopped is not listed")
	})
}

func TestASandboxLostBeforeItsContainerStartedIsNoRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a")
		_, _ = s.syncerOn(&mortal{Runtime: s.client, left: 2}).Sync(t.Context(), pod)
		require.Len(t, s.state(pod).Containers, 1)
		require.NoError(t, s.runtime.KillSandbox(s.runtime.SandboxID("web")))

		_, err := s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		require.Len(t, s.state(pod).Running(), 1)
		assert.Zero(t, s.state(pod).Newest("a").RestartCount())
	})
}
