package podsync_test

import (
	"math"
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
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

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

// The directory of a pod goes with its volumes, with all that is in it.
func TestWhatAContainerSaysWhenItIsStoppedIsInTheLastStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		pod.Spec.Containers[0].TerminationMessagePath = "/dev/termination-log"
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		dir := filepath.Join(s.logs, "root/pods/uid-1")
		files, err := filepath.Glob(filepath.Join(dir, "containers/a/*"))
		require.NoError(t, err)
		require.Len(t, files, 1)
		require.NoError(t, os.WriteFile(files[0], []byte("all is saved"), 0o600))
		s.volumes.onUnmount = func() { require.NoError(t, os.RemoveAll(dir)) }

		id := s.runtime.ContainerID("web", "a")
		require.NoError(t, syncer.Kill(t.Context(), pod, 30*time.Second))
		assert.True(t, s.last().Ended)
		assert.Equal(t, map[string]string{id: "all is saved"}, s.last().Messages)
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

func TestKillStopsEverySandboxOfThePod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		config := &runtimeapi.PodSandboxConfig{
			Metadata: &runtimeapi.PodSandboxMetadata{Name: "web", Namespace: "shop", Uid: "uid-1", Attempt: 7},
			Labels:   cri.SandboxLabels(pod),
		}
		_, err = s.client.RunPodSandbox(t.Context(), config, "")
		require.NoError(t, err)

		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))
		state := s.state(pod)
		assert.Len(t, state.Sandboxes, 2)
		assert.Empty(t, state.ReadySandboxes())
	})
}

func TestKillFailsAsLongAsASandboxIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a")
		syncer := s.syncerOn(&spy{Runtime: s.client, forgetsToStop: true})
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		require.ErrorContains(t, syncer.Kill(t.Context(), pod, time.Second), s.runtime.SandboxID("web"))
		assert.False(t, s.last().Ended)
		assert.Empty(t, s.volumes.unmounted)
	})
}

func TestWhatIsGoneIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Profile: critest.Containerd16})
		pod, cache := podOf("a"), &cached{observer: s.observe}
		syncer := s.syncerThatSees(cache)
		for range 2 {
			_, err := syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		require.NoError(t, s.runtime.VanishSandbox(s.runtime.SandboxID("web")))
		s.changes()
		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))
		assert.Equal(t, 2, s.runtime.Count("StopContainer", "StopPodSandbox"))
		assert.True(t, s.last().Ended)
	})
}

func TestSidecarsStopTogetherWhenTheGraceIsSpent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{Ignore: true}}}}}})
		pod, syncer := podOf("a"), s.syncer()
		always := corev1.ContainerRestartPolicyAlways
		for _, name := range []string{"s1", "s2", "s3"} {
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: name, Image: name, RestartPolicy: &always})
		}
		for range 4 {
			_, err := syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		require.Len(t, s.state(pod).Running(), 4)
		began := time.Now()
		require.NoError(t, syncer.Kill(t.Context(), pod, 10*time.Second))
		assert.Equal(t, 12*time.Second, time.Since(began), "the whole grace for a, the least for all the others")
	})
}

func TestWhatHasEndedIsNotWaitedForByTheSidecars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		pod.Spec.InitContainers = []corev1.Container{{Name: "s", Image: "s", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)}}
		for range 2 {
			_, err := syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "a"), 0))
		s.changes()
		began := time.Now()
		require.NoError(t, syncer.Kill(t.Context(), pod, 30*time.Second))
		assert.Zero(t, time.Since(began))
		assert.Equal(t, "StopContainer web/s; StopPodSandbox web", s.changes())
	})
}

func TestWhatIsInUnknownStateIsStoppedAndHoldsUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		require.NoError(t, s.runtime.SetUnknown(s.runtime.ContainerID("web", "a")))
		s.changes()
		s.runtime.Inject(critest.Fault{Method: "StopContainer", Times: 1, Err: status.Error(codes.NotFound, "not now")})
		s.runtime.Inject(critest.Fault{Method: "StopPodSandbox", Times: 1, Err: status.Error(codes.NotFound, "not now")})
		require.ErrorContains(t, syncer.Kill(t.Context(), pod, time.Second), `container "a" still runs`)
		assert.False(t, s.last().Ended)
		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))
		assert.True(t, s.last().Ended)
	})
}

func TestAPodThatHasEndedKeepsItsContainersForTheirLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Duration: time.Second}}}}})
		pod, syncer := podOf("a"), s.syncer()
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		result, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		require.True(t, result.Finished)
		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))
		assert.Zero(t, s.runtime.Count("RemoveContainer", "RemovePodSandbox"))
		assert.Len(t, s.state(pod).Containers, 1)
	})
}

// A manifest that is put back has its old UID, and its job is to be done once more.
func TestAPodThatComesBackAfterItsEndRunsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))
		_, err = syncer.List(t.Context())
		require.NoError(t, err)
		s.changes()

		result, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.False(t, result.Finished)
		assert.Equal(t, "RemoveContainer web/a; StopPodSandbox web; RunPodSandbox web; PullImage a; CreateContainer web/a; StartContainer web/a", s.changes())
		require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "a"), 0))
		result, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.True(t, result.Finished)
		assert.Empty(t, s.changes(), "once")
	})
}

func TestAnOrphanThatTurnsOutToBeWantedGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Scripts: []critest.Script{{Container: "a", Runs: []critest.Run{{Duration: time.Second}}}}})
		pod := podOf("a", "b")
		pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		_, err := s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		next := s.syncer()
		orphans, err := next.List(t.Context())
		require.NoError(t, err)
		require.Len(t, orphans, 1)
		require.NoError(t, next.Kill(t.Context(), orphans[0], time.Second))
		_, err = next.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Len(t, s.state(pod).ContainersNamed("a"), 1, "it had done its work")
	})
}

func TestAGracePeriodOfMoreThanCanBeToldIsTheLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{After: time.Hour}}}}}})
		pod, syncer := podOf("a"), s.syncer()
		pod.Spec.TerminationGracePeriodSeconds = new(int64(math.MaxInt64))
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)

		edited, began := pod.DeepCopy(), time.Now()
		edited.Spec.Containers[0].Image = "newer"
		_, err = syncer.Sync(t.Context(), edited)
		require.NoError(t, err)
		assert.Equal(t, time.Hour, time.Since(began))
		began = time.Now()
		require.NoError(t, syncer.Kill(t.Context(), edited, math.MaxInt64/time.Second*time.Second))
		assert.Equal(t, time.Hour, time.Since(began))
	})
}
