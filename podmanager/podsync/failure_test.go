package podsync_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/podmanager/podsync"
)

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

func TestAFailureBesideAWaitIsStillAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		until := time.Now().Add(40 * time.Second)
		s.images.fail = map[string]error{
			"a": &pullError{reason: "ErrImagePull"}, "b": &pullError{reason: "ImagePullBackOff", retryAt: until},
		}
		result, err := s.syncer().Sync(t.Context(), podOf("a", "b"))
		require.ErrorContains(t, err, "ErrImagePull")
		assert.Equal(t, until, result.RetryAt)
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

func TestASyncThatIsCutShortTellsNothingOfIt(t *testing.T) {
	for _, method := range []string{"PullImage", "RunPodSandbox", "CreateContainer", "StartContainer", "ExecSync"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				s.runtime.Inject(critest.Fault{Method: method, Times: 1, Hang: true})
				pod, syncer := podOf("a"), s.syncer()
				pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: execHook("hello")}
				_, err := syncer.Sync(endsAfter(t, 5*time.Second), pod)
				require.Error(t, err)
				_, err = syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				for _, seen := range s.seen {
					assert.Empty(t, seen.Waiting, "that the agent ends is no fault of the container")
				}
				assert.NotContains(t, strings.Join(s.events, "\n"), "Warning")
			})
		})
	}
}

func TestAKillThatIsCutShortTellsNothingOfIt(t *testing.T) {
	for _, method := range []string{"ExecSync", "StopContainer", "StopPodSandbox"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				pod, syncer := podOf("a"), s.syncer()
				pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: execHook("bye")}
				_, err := syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				s.runtime.Inject(critest.Fault{Method: method, Times: 1, Hang: true})
				require.Error(t, syncer.Kill(endsAfter(t, 5*time.Second), pod, time.Minute))
				assert.NotContains(t, strings.Join(s.events, "\n"), "Warning")
			})
		})
	}
}

func TestFailuresAreEventsInTheWordsOfTheKubelet(t *testing.T) {
	fails := func(method string) func(*stage) {
		return func(s *stage) {
			s.runtime.Inject(critest.Fault{Method: method, Times: 1, Err: status.Error(codes.Unknown, "no luck")})
		}
	}
	for _, row := range []struct {
		name  string
		spoil func(*stage)
		want  string
	}{
		{"volumes", func(s *stage) { s.volumes.err = errors.New("no disk") },
			"Warning FailedMount web: Unable to attach or mount volumes: no disk"},
		{"sandbox", fails("RunPodSandbox"), "Warning FailedCreatePodSandBox web: Failed to create pod sandbox: no luck"},
		{"image", func(s *stage) { s.images.fail = map[string]error{"a": &pullError{reason: "ErrImagePull"}} },
			"Warning Failed spec.containers{a}: Error: ErrImagePull"},
		{"create", fails("CreateContainer"), "Warning Failed spec.containers{a}: Error: no luck"},
		{"start", fails("StartContainer"), "Warning Failed spec.containers{a}: Error: no luck"},
		{"kill", fails("StopPodSandbox"), "Warning FailedKillPod web: error killing pod: no luck"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				row.spoil(s)
				syncer := s.syncer()
				_, syncErr := syncer.Sync(t.Context(), podOf("a"))
				require.Error(t, errors.Join(syncErr, syncer.Kill(t.Context(), podOf("a"), time.Second)))
				assert.Contains(t, s.events, row.want)
			})
		})
	}
}

func TestANewSandboxAndABackOffAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		require.NoError(t, s.runtime.KillSandbox(s.runtime.SandboxID("web")))
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Contains(t, s.events, "Normal SandboxChanged web: Pod sandbox changed, it will be killed and re-created.")
		for range 2 {
			time.Sleep(time.Second)
			require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "a"), 1))
			_, err = syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		assert.Contains(t, s.events, "Warning BackOff spec.containers{a}: Back-off restarting failed container a in pod web_shop(uid-1)")
	})
}

func TestNothingIsStoppedForWhatCannotBeStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		s.changes()

		edited := pod.DeepCopy()
		edited.Spec.Containers[0].Image = "newer"
		s.volumes.err = errors.New(`volume "data" is not there`)
		_, err = syncer.Sync(t.Context(), edited)
		require.ErrorContains(t, err, `volume "data" is not there`)
		assert.Empty(t, s.changes(), "the old one goes on without the new volume")
	})
}

func TestNothingIsStartedWhenSomethingCannotBeStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a", "b"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "b"), 1))
		s.changes()

		edited := pod.DeepCopy()
		edited.Spec.Containers[0].Image = "newer"
		s.runtime.Inject(critest.Fault{Method: "StopContainer", Times: 1, Err: status.Error(codes.Internal, "busy")})
		_, err = syncer.Sync(t.Context(), edited)
		require.ErrorContains(t, err, "busy")
		assert.Equal(t, "StopContainer web/a: Internal", s.changes())
	})
}

func TestTheReasonOfAFailedStartGoesWhenTheContainerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		// The runtime starts it, but the agent does not learn of that.
		s.runtime.Inject(critest.Fault{Method: "StartContainer", Times: 1, After: true, Err: status.Error(codes.DeadlineExceeded, "too slow")})
		_, err := syncer.Sync(t.Context(), pod)
		require.Error(t, err)
		require.Equal(t, "RunContainerError", s.last().Waiting["a"].Reason)

		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Len(t, s.state(pod).Containers, 1, "it is not started twice")
		assert.Empty(t, s.last().Waiting)
		require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", "a"), 1))
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Empty(t, s.last().Waiting, "it ran: that is not why it ended")
	})
}

func TestTheTextOfAFailureIsThatOfWhoWordsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		s.images.fail = map[string]error{"a": &pullError{reason: "ImageInspectError", cause: status.Error(codes.Internal, "no disk")}}
		_, err := s.syncer().Sync(t.Context(), podOf("a"))
		require.Error(t, err)
		assert.Equal(t, "the registry said: ImageInspectError", s.last().Waiting["a"].Message)
	})
}

func TestASidecarThatCannotBeStartedKeepsNoContainerFromStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		always := corev1.ContainerRestartPolicyAlways
		pod.Spec.InitContainers = []corev1.Container{{Name: "s", Image: "s", RestartPolicy: &always}}
		for range 2 {
			_, err := syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		for _, name := range []string{"s", "a"} {
			require.NoError(t, s.runtime.Exit(s.runtime.ContainerID("web", name), 1))
		}
		s.images.fail = map[string]error{"s": &pullError{reason: "ErrImagePull"}}
		_, err := syncer.Sync(t.Context(), pod)
		require.ErrorContains(t, err, `start container "s"`)
		require.Len(t, s.state(pod).Running(), 1)
		assert.Equal(t, "a", s.state(pod).Running()[0].Name())
	})
}

func TestWithoutALogDirectoryThePodSaysWhyItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		require.NoError(t, os.WriteFile(filepath.Join(s.logs, "pods"), nil, 0o600))
		_, err := s.syncer().Sync(t.Context(), podOf("a"))
		require.ErrorContains(t, err, "make log directory")
		assert.Empty(t, s.changes())
		assert.Equal(t, "ContainerCreating", s.last().Waiting["a"].Reason)
		assert.Contains(t, s.last().Waiting["a"].Message, filepath.Join(s.logs, "pods"))
	})
}

func TestWhyAContainerDidNotStartIsForgottenWithThePod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		s.images.fail = map[string]error{"a": &pullError{reason: "ErrImagePull"}}
		_, err := syncer.Sync(t.Context(), pod)
		require.Error(t, err)
		require.NotEmpty(t, s.last().Waiting)
		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))

		told := len(s.seen)
		_, err = syncer.Sync(t.Context(), pod)
		require.Error(t, err)
		assert.Empty(t, s.seen[told].Waiting, "the same pod that comes back starts afresh")
	})
}

func TestACondemnedPodFails(t *testing.T) {
	evicted := podsync.Failure{Reason: "Evicted", Message: "The node was low on resource: memory.", Disruption: "TerminationByKubelet"}
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		require.Nil(t, s.last().Failure)

		require.True(t, syncer.Condemn(pod.UID, evicted))
		require.True(t, syncer.Condemn(pod.UID, podsync.Failure{Reason: "Later"}))
		result, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.True(t, result.Finished)
		assert.Equal(t, &evicted, s.last().Failure)

		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))
		assert.Equal(t, &evicted, s.last().Failure)
		assert.True(t, s.last().Ended)
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Nil(t, s.last().Failure, "another life of the pod is not condemned")
	})
}

// A verdict on a pod that has not begun, or is over, would hit another life of it, as
// of a manifest that is taken away and put back.
func TestOnlyAPodThatHasBegunIsCondemned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		require.False(t, syncer.Condemn(pod.UID, podsync.Failure{Reason: "Evicted"}))
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))
		require.False(t, syncer.Condemn(pod.UID, podsync.Failure{Reason: "Evicted"}))

		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Nil(t, s.last().Failure)
		assert.Len(t, s.state(pod).Running(), 1)
	})
}

// The first verdict stands, also against a deadline that passes before the end.
func TestADeadlineDoesNotOverruleAnEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		pod.Spec.ActiveDeadlineSeconds = new(int64(10))
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		syncer.Condemn(pod.UID, podsync.Failure{Reason: "Evicted"})
		time.Sleep(11 * time.Second)
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, "Evicted", s.last().Failure.Reason)
	})
}
