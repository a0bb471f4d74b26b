package podsync_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/podmanager"
	"github.com/edged-project/edged/podmanager/podsync"
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

func TestNothingIsDoneOnObservationsThatAreTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()

		s.observe.blind = errors.New("the last good listing began 3m1s ago")
		result, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, podmanager.Result{RetryAt: time.Now().Add(5 * time.Second)}, result)
		assert.Empty(t, s.changes())
		assert.Empty(t, s.seen, "what is not known is not told")

		s.observe.blind = nil
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Len(t, s.state(pod).Running(), 1)
	})
}

func TestEachSyncBringsVolumesUpToDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		for i := range 3 {
			_, err := syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
			assert.EqualValues(t, i+1, s.volumes.mounts.Load())
		}
		s.volumes.err = errors.New("the source is away")
		_, err := syncer.Sync(t.Context(), pod)
		require.ErrorContains(t, err, "bring volumes up to date: the source is away")
		assert.Len(t, s.state(pod).Running(), 1, "what runs runs on")
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
		s.reboot(critest.RebootOptions{Wipe: true})
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
		s.reboot(critest.RebootOptions{})
		time.Sleep(10 * time.Second)

		_, err = s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		state := s.state(pod)
		assert.Len(t, state.ReadySandboxes(), 1)
		assert.Equal(t, uint32(1), state.Sandboxes[0].Metadata.Attempt)
		assert.Equal(t, 1, state.Newest("a").RestartCount())
	})
}

func TestAfterARebootAPodIsInitializedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Scripts: []critest.Script{{Container: "i", Runs: []critest.Run{{Duration: time.Second}}}}})
		pod := podOf("a", "b")
		pod.Spec.InitContainers = []corev1.Container{
			{Name: "i", Image: "i"},
			{Name: "s", Image: "s", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)},
		}
		bringUp := func(syncer *podsync.Syncer) {
			for range 3 {
				_, err := syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				time.Sleep(2 * time.Second)
			}
		}
		bringUp(s.syncer())
		require.Len(t, s.state(pod).Running(), 3)
		s.reboot(critest.RebootOptions{})
		s.changes()

		syncer := s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, "StopPodSandbox web; RunPodSandbox web; PullImage i; CreateContainer web/i; StartContainer web/i", s.changes(),
			"the sandbox and, in the same Sync, the first init container")
		time.Sleep(2 * time.Second)
		bringUp(syncer)
		require.Len(t, s.state(pod).Running(), 3)
		for _, name := range []string{"i", "s", "a", "b"} {
			assert.Equal(t, 1, s.state(pod).Newest(name).RestartCount(), name)
		}
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

func TestALinkThatADeadAgentDidNotMakeIsMadeByTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a")
		_, _ = s.syncerOn(&mortal{Runtime: s.client, left: 3}).Sync(t.Context(), pod)
		require.Len(t, s.state(pod).Running(), 1)
		link := filepath.Join(s.logs, "links", "web_shop_a-"+s.runtime.ContainerID("web", "a")+".log")
		require.NoFileExists(t, link)

		_, err := s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.FileExists(t, link)
	})
}

// The name of a link is cut to what file systems take.
func TestALinkOfALongNameIsThatOfTheNewestContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		name := strings.Repeat("c", 63)
		pod := podOf(name)
		pod.Name = strings.Repeat("p", 185)
		_, err := s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		require.NoError(t, s.runtime.Exit(s.runtime.ContainerID(pod.Name, name), 1))
		for range 2 {
			_, err = s.syncer().Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		require.Len(t, s.state(pod).Containers, 2)
		links, err := filepath.Glob(filepath.Join(s.logs, "links", "*"))
		require.NoError(t, err)
		require.Len(t, links, 1)
		target, err := os.Readlink(links[0])
		require.NoError(t, err)
		assert.Equal(t, "1.log", filepath.Base(target))
	})
}

// As when the disk was full.
func TestALinkThatCouldNotBeMadeIsMadeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a", "b"), s.syncer()
		inTheWay := filepath.Join(s.logs, "links")
		require.NoError(t, os.WriteFile(inTheWay, nil, 0o600))
		for range 3 {
			_, err := syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		require.Len(t, s.state(pod).Running(), 2)

		require.NoError(t, os.Remove(inTheWay))
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		for _, container := range []string{"a", "b"} {
			assert.FileExists(t, filepath.Join(inTheWay, "web_shop_"+container+"-"+s.runtime.ContainerID("web", container)+".log"))
		}
	})
}

func TestContainersKnowTheAddressOfTheSandboxThatWasJustMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a")
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "IP", ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"},
		}}}
		var ips []string
		syncer := s.syncerOn(&spy{Runtime: s.client, created: func(config *runtimeapi.ContainerConfig) {
			ips = append(ips, string(config.GetEnvs()[0].GetValue()))
		}})
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		s.reboot(critest.RebootOptions{})
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		state := s.state(pod)
		require.Len(t, ips, 2)
		assert.Equal(t, state.Sandboxes[0].GetNetwork().GetIp(), ips[1])
		assert.NotEmpty(t, ips[0])
		assert.NotEqual(t, ips[0], ips[1], "not that of the sandbox before")
	})
}

func TestLogDirectoriesAreThereBeforeTheRuntimeNeedsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		var modes []os.FileMode
		note := func(dir string) {
			if info, err := os.Stat(filepath.Join(s.logs, "pods/shop_web_uid-1", dir)); assert.NoError(t, err) {
				modes = append(modes, info.Mode().Perm())
			}
		}
		_, err := s.syncerOn(&spy{
			Runtime: s.client,
			run:     func(*runtimeapi.PodSandboxConfig) { note("") },
			created: func(*runtimeapi.ContainerConfig) { note("a") },
		}).Sync(t.Context(), podOf("a"))
		require.NoError(t, err)
		assert.Equal(t, []os.FileMode{0o755, 0o755}, modes)
	})
}

func TestEveryDecisionRestsOnAnObservationAfterTheLastAction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, cache := podOf("a", "b"), &cached{observer: s.observe}
		syncer := s.syncerThatSees(cache)
		for range 3 {
			_, err := syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		assert.Len(t, s.state(pod).Containers, 2)
		looks := cache.looks
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, looks, cache.looks, "nobody looks again where nothing was done")

		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))
		assert.Empty(t, s.last().State.Running(), "the final status is not of before the end")

		// The same pod comes back.
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, uint32(1), s.state(pod).Sandboxes[0].GetMetadata().GetAttempt())
		assert.Len(t, s.state(pod).Running(), 2)
	})
}

func TestNothingStartsOfAPodWhoseStatusSaysThatItHasEnded(t *testing.T) {
	for _, phase := range []corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed} {
		t.Run(string(phase), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				s.phase = phase
				result, err := s.syncer().Sync(t.Context(), podOf("a"))
				require.NoError(t, err)
				assert.True(t, result.Finished)
				assert.Empty(t, s.changes())
			})
		})
	}
}
