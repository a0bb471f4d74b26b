package podsync_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/podmanager/podsync"
)

func execHook(command string) *corev1.LifecycleHandler {
	return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{command}}}
}

// execs says how long the command of a hook takes and how it ends.
func execs(command string, result critest.ExecResult) critest.ExecScript {
	return critest.ExecScript{Command: command, Results: []critest.ExecResult{result}}
}

func TestPostStartRunsBeforeTheNextContainerStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Execs: []critest.ExecScript{execs("hello", critest.ExecResult{Delay: 5 * time.Second})}})
		pod := podOf("a", "b")
		pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: execHook("hello")}
		began := time.Now()
		_, err := s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, 5*time.Second, time.Since(began))
		assert.Contains(t, s.runtime.Calls("StartContainer", "ExecSync").String(), "StartContainer web/a; ExecSync web/a; StartContainer web/b")
	})
}

func TestAContainerWhosePostStartFailsIsKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Execs: []critest.ExecScript{execs("hello", critest.ExecResult{ExitCode: 3, Stderr: "no way"})}})
		pod := podOf("a", "b")
		pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: execHook("hello")}
		_, err := s.syncer().Sync(t.Context(), pod)
		require.Error(t, err)
		assert.Equal(t, "PostStartHookError", s.last().Waiting["a"].Reason)
		assert.Contains(t, s.last().Waiting["a"].Message, `command ["hello"]: exited with 3, output "no way"`)
		assert.True(t, s.state(pod).Newest("a").Exited())
		assert.True(t, s.state(pod).Newest("b").Running(), "the other starts all the same")
		assert.Contains(t, s.events, "Warning FailedPostStartHook spec.containers{a}: PostStartHook failed")
	})
}

func TestAContainerWhosePostStartFailsStopsLikeAnyOther(t *testing.T) {
	for _, row := range []struct {
		name  string
		grace int64
		calls string
		takes time.Duration
	}{
		{"with its preStop hook and its grace", 10, "ExecSync web/a; ExecSync web/a; StopContainer web/a", 10 * time.Second},
		{"with the least grace and no hook where it has none", 0, "ExecSync web/a; StopContainer web/a", 2 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{
					Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{Ignore: true}}}}},
					Execs: []critest.ExecScript{
						execs("hello", critest.ExecResult{ExitCode: 3}), execs("bye", critest.ExecResult{Delay: 4 * time.Second}),
					},
				})
				pod := podOf("a")
				pod.Spec.TerminationGracePeriodSeconds = &row.grace
				pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: execHook("hello"), PreStop: execHook("bye")}
				began := time.Now()
				_, err := s.syncer().Sync(t.Context(), pod)
				require.Error(t, err)
				assert.Equal(t, row.takes, time.Since(began))
				assert.Equal(t, row.calls, s.runtime.Calls("ExecSync", "StopContainer").String())
				assert.Contains(t, s.events, "Normal Killing spec.containers{a}: FailedPostStartHook")
			})
		})
	}
}

func TestPreStopTakesItsTimeFromTheGracePeriod(t *testing.T) {
	for _, row := range []struct {
		name        string
		hook, grace time.Duration
		want        time.Duration
	}{
		{"a short hook leaves the rest to the container", 4 * time.Second, 10 * time.Second, 10 * time.Second},
		{"a long hook leaves the least", time.Minute, 10 * time.Second, 12 * time.Second},
		{"no grace, no hook", time.Minute, 0, 2 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{
					Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{Ignore: true}}}}},
					Execs:   []critest.ExecScript{execs("bye", critest.ExecResult{Delay: row.hook})},
				})
				pod, syncer := podOf("a"), s.syncer()
				pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: execHook("bye")}
				_, err := syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				began := time.Now()
				require.NoError(t, syncer.Kill(t.Context(), pod, row.grace))
				assert.Equal(t, row.want, time.Since(began))
			})
		})
	}
}

func TestAPreStopThatFailsStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Execs: []critest.ExecScript{execs("bye", critest.ExecResult{ExitCode: 1})}})
		pod, syncer := podOf("a"), s.syncer()
		pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: execHook("bye")}
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		require.NoError(t, syncer.Kill(t.Context(), pod, 10*time.Second))
		assert.Contains(t, s.events, "Warning FailedPreStopHook spec.containers{a}: PreStopHook failed")
		assert.Contains(t, s.events, "Normal Killing spec.containers{a}: Stopping container a")
	})
}

func TestTheHooksOfSidecarsDoNotWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{
			Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{After: 3 * time.Second}}}}},
			Execs:   []critest.ExecScript{execs("bye", critest.ExecResult{Delay: 2 * time.Second})},
		})
		pod, syncer := podOf("a"), s.syncer()
		always := corev1.ContainerRestartPolicyAlways
		pod.Spec.InitContainers = []corev1.Container{{
			Name: "s", Image: "s", RestartPolicy: &always, Lifecycle: &corev1.Lifecycle{PreStop: execHook("bye")},
		}}
		for range 2 {
			_, err := syncer.Sync(t.Context(), pod)
			require.NoError(t, err)
		}
		s.runtime.ResetCalls()
		began := time.Now()
		require.NoError(t, syncer.Kill(t.Context(), pod, 30*time.Second))
		assert.Equal(t, 6*time.Second, time.Since(began), "3 s for a, with the hook of s beside it, then 3 s for s")
		var stops []string
		for _, call := range s.runtime.Calls("StopContainer", "ExecSync") {
			stops = append(stops, call.Object()+" "+call.Time.Sub(began).String())
		}
		assert.ElementsMatch(t, []string{"web/s 0s", "web/a 0s", "web/s 3s"}, stops)
	})
}

func TestTheHookOfAnOrphanComesFromItsAnnotations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: execHook("bye")}
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)

		stranger := s.syncer()
		orphans, err := stranger.List(t.Context())
		require.NoError(t, err)
		require.Len(t, orphans, 1)
		s.runtime.ResetCalls()
		require.NoError(t, stranger.Kill(t.Context(), orphans[0], 10*time.Second))
		assert.Equal(t, "ExecSync web/a; StopContainer web/a", s.runtime.Calls("ExecSync", "StopContainer").String())
	})
}

func TestAPodThatIsActiveForTooLongIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod, syncer := podOf("a"), s.syncer()
		seconds := int64(60)
		pod.Spec.ActiveDeadlineSeconds = &seconds
		began := time.Now()
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		result, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, began.Add(time.Minute).Unix(), result.RetryAt.Unix(), "it comes back at the deadline")

		time.Sleep(time.Until(result.RetryAt))
		result, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.True(t, result.Finished)
		require.NoError(t, syncer.Kill(t.Context(), pod, time.Second))
		assert.Equal(t, &podsync.Failure{
			Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline",
		}, s.last().Failure)
		assert.True(t, s.last().Ended)
	})
}

func TestADeadlineThatPassedWithoutAnAgentIsInTheFirstStatusOfTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a")
		pod.Spec.ActiveDeadlineSeconds = new(int64(60))
		_, err := s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		pod.Status.StartTime = s.began.DeepCopy() // as it was stored

		time.Sleep(time.Minute)
		told, next := len(s.seen), s.syncer()
		result, err := next.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.True(t, result.Finished)
		require.Len(t, s.seen, told+1)
		require.NotNil(t, s.last().Failure)
		assert.Equal(t, "DeadlineExceeded", s.last().Failure.Reason)
		told = len(s.events)
		assert.Equal(t, "Warning DeadlineExceeded web: Pod was active on the node longer than the specified deadline", s.events[told-1])
		_, err = next.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Len(t, s.events, told, "it is told once")
	})
}

func TestContainersHaveTheirHostsFileAndAFreshOneForTheirLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{
			{Duration: time.Second, ExitCode: 1, TerminationMessage: "no disk"}, {},
		}}}})
		pod, syncer := podOf("a"), s.syncer()
		pod.Spec.Containers[0].TerminationMessagePath = "/dev/termination-log"
		_, err := syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		mounts := map[string]string{}
		for _, mount := range s.state(pod).Newest("a").GetMounts() {
			mounts[mount.ContainerPath] = mount.HostPath
		}
		hosts, err := os.ReadFile(mounts["/etc/hosts"])
		require.NoError(t, err)
		assert.Contains(t, string(hosts), s.state(pod).Sandboxes[0].Network.Ip+"\tweb")
		info, err := os.Stat(mounts["/dev/termination-log"])
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o666), info.Mode(), "any user may write to it")
		assert.True(t, strings.HasPrefix(mounts["/dev/termination-log"], s.logs+"/root/pods/uid-1/containers/a/"))

		time.Sleep(2 * time.Second)
		ended := s.state(pod).Newest("a").GetId()
		_, err = syncer.Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{ended: "no disk"}, s.last().Messages)
		for _, mount := range s.state(pod).Newest("a").GetMounts() {
			if mount.ContainerPath == "/dev/termination-log" {
				assert.NotEqual(t, mounts["/dev/termination-log"], mount.HostPath)
			}
		}
	})
}

func TestOnlySoManyStartsAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		s.runtime.Inject(critest.Fault{Method: "RunPodSandbox", Delay: time.Second})
		syncer := s.syncerWith(s.client, s.observe)
		began := time.Now()
		done := make(chan error, 4*startLimit)
		for i := range cap(done) {
			pod := podOf("a")
			pod.Name = fmt.Sprintf("web-%d", i)
			pod.UID = types.UID(pod.Name)
			go func() {
				_, err := syncer.Sync(t.Context(), pod)
				done <- err
			}()
		}
		for range cap(done) {
			require.NoError(t, <-done)
		}
		assert.Equal(t, 4*time.Second, time.Since(began))
	})
}

func TestAStartThatHangsKeepsNoOtherPodFromStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		s.runtime.Inject(critest.Fault{Method: "RunPodSandbox", Hang: true, Match: func(c critest.Call) bool { return c.Pod != "web" }})
		syncer := s.syncer()
		done := make(chan error, startLimit)
		for i := range startLimit {
			stuck := podOf("a")
			stuck.Name = fmt.Sprintf("stuck-%d", i)
			stuck.UID = types.UID(stuck.Name)
			go func() {
				_, err := syncer.Sync(t.Context(), stuck)
				done <- err
			}()
		}
		synctest.Wait()
		began := time.Now()
		_, err := syncer.Sync(t.Context(), podOf("a"))
		require.NoError(t, err)
		assert.LessOrEqual(t, time.Since(began), 10*time.Second)
		for range startLimit {
			require.Error(t, <-done)
		}
	})
}
