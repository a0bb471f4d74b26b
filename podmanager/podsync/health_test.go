package podsync_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/podmanager/podsync"
)

func TestAContainerThatFailsItsLivenessProbeIsRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a", "b"), s.syncer()
		sync := func() {
			t.Helper()
			_, err := syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		sync()
		s.changes()

		s.sicken(s.runtime.ContainerID("web", "a"), podsync.LivenessProbe)
		sync()
		assert.Equal(t, "StopContainer web/a; PullImage a; CreateContainer web/a; StartContainer web/a", s.changes(), "the first time at once")
		assert.Equal(t, 1, s.state(pod).Newest("a").RestartCount())
		assert.Contains(t, s.events, "Normal Killing spec.containers{a}: Container a failed liveness probe, will be restarted")
		sync()
		assert.Empty(t, s.changes())

		s.sicken(s.runtime.ContainerID("web", "a"), podsync.LivenessProbe)
		sync()
		assert.Equal(t, "StopContainer web/a", s.changes(), "the second time after a back-off")
		killed := time.Now()
		time.Sleep(time.Second)
		result, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.WithinDuration(t, killed.Add(10*time.Second), result.RetryAt, time.Microsecond)
		assert.Equal(t, "CrashLoopBackOff", s.last().Waiting["a"].Reason)
		time.Sleep(10 * time.Second)
		sync()
		assert.Equal(t, "PullImage a; CreateContainer web/a; StartContainer web/a", s.changes())
	})
}

// What ends well when it is told to end was told so because it was sick: its policy
// is to run it again when it fails.
func TestWhatAProbeHasEndedRunsAgainWhateverItsExitCode(t *testing.T) {
	for name, restart := range map[string]bool{"the same agent": false, "another agent": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{ExitCode: 0}}}}}})
				pod, syncer := podOf("a"), s.syncer()
				pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
				sync := func() {
					t.Helper()
					result, err := syncer.Sync(t.Context(), pod)
					require.NoError(t, err)
					require.False(t, result.Finished)
				}
				sync()
				for range 2 {
					s.sicken(s.runtime.ContainerID("web", "a"), podsync.LivenessProbe)
					sync()
				}
				ended := s.state(pod).Newest("a")
				require.True(t, ended.Exited(), "the second time it waits")
				require.Zero(t, ended.GetExitCode())
				time.Sleep(time.Second)
				sync()
				assert.Equal(t, "CrashLoopBackOff", s.last().Waiting["a"].Reason)
				assert.True(t, s.last().Restarting[ended.GetId()])
				if restart {
					pod.Status.Phase = corev1.PodRunning
					pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
						Name: "a", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
						LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ContainerID: "critest://" + ended.GetId()}},
					}}
					syncer = s.syncer()
				}
				time.Sleep(10 * time.Second)
				sync()
				assert.Len(t, s.state(pod).Running(), 1)

				require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "a"), 0))
				result, err := syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				assert.True(t, result.Finished, "by itself it ends well")
			})
		})
	}
}

func TestProbesEndNothingWhileAPodIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.False(t, s.last().Ending)
		told := len(s.seen)

		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))
		require.Len(t, s.seen[told:], 2)
		assert.True(t, s.seen[told].Ending)
		assert.False(t, s.seen[told].Ended)
		assert.True(t, s.seen[told+1].Ended)
	})
}

// After a start of the agent, before anybody has probed, the last status tells
// whether what comes after a sidecar may start.
func TestASidecarThatHasNotStartedHoldsUpTheNextOverARestartOfTheAgent(t *testing.T) {
	for name, started := range map[string]bool{"started": true, "not started": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				pod := podOf("a")
				pod.Spec.InitContainers = []corev1.Container{{
					Name: "side", Image: "side", RestartPolicy: new(corev1.ContainerRestartPolicyAlways), StartupProbe: &corev1.Probe{},
				}}
				_, err := s.syncer().Sync(t.Context(), pod)
				require.NoError(t, err)
				require.Len(t, s.state(pod).Running(), 1)

				pod.Status.Phase = corev1.PodPending
				pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{
					Name: "side", ContainerID: "containerd://" + s.runtime.ContainerID("web", "side"), Started: &started,
				}}
				_, err = s.syncer().Sync(t.Context(), pod)
				require.NoError(t, err)
				assert.Equal(t, started, len(s.state(pod).Running()) == 2)
			})
		})
	}
}

// Wherever a restart of all is cut short, it is completed: who asked for it goes last.
func TestARestartOfAllThatIsCutShortIsCompleted(t *testing.T) {
	for name, left := range map[string]int{"after the stop": 0, "after one removal": 1, "after two": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				pod := podOf("a", "b", "c")
				pod.Spec.RestartPolicy = corev1.RestartPolicyNever
				pod.Spec.Containers[0].RestartPolicy = new(corev1.ContainerRestartPolicyNever)
				pod.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{
					Action:    corev1.ContainerRestartRuleActionRestartAllContainers,
					ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
				}}
				pod.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "init"}}
				_, err := s.syncer().Sync(t.Context(), pod)
				require.NoError(t, err)
				require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "init"), 0))
				_, err = s.syncer().Sync(t.Context(), pod)
				require.NoError(t, err)
				require.Len(t, s.state(pod).Running(), 3)

				require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "a"), 42))
				_, err = s.syncerOn(&mortal{Runtime: s.client, removals: left}).Sync(t.Context(), pod)
				require.NoError(t, err)
				_, err = s.syncerOn(&mortal{Runtime: s.client, removals: left}).Sync(t.Context(), pod)
				require.ErrorIs(t, err, errDead)
				syncer := s.syncer()
				for range 2 {
					_, err = syncer.Sync(t.Context(), pod)
					require.NoError(t, err)
				}
				require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "init"), 0))
				_, err = syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				assert.Len(t, s.state(pod).Running(), 3)
				for _, c := range s.state(pod).Running() {
					assert.Equal(t, 1, c.RestartCount(), c.Name())
				}
			})
		})
	}
}
