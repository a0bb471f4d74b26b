package podsync_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edged-project/edged/cri/critest"
)

func TestAHookIsNotRunAgainByTheNextKill(t *testing.T) {
	for _, row := range []struct {
		name  string
		cut   time.Duration // when the first Kill is cut short
		fault critest.Fault
		want  string
	}{
		{"cut short while the hook runs", time.Second, critest.Fault{}, "ExecSync web/a: Canceled; StopContainer web/a"},
		{"cut short while the container stops", 5 * time.Second, critest.Fault{}, "ExecSync web/a; StopContainer web/a: Canceled; StopContainer web/a"},
		{"the stop failed", time.Minute, critest.Fault{Method: "StopContainer", Times: 1, Err: status.Error(codes.Internal, "busy")},
			"ExecSync web/a; StopContainer web/a: Internal; StopContainer web/a"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{
					Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{Ignore: true}}}}},
					Execs:   []critest.ExecScript{execs("bye", critest.ExecResult{Delay: 3 * time.Second})},
				})
				pod, syncer := podOf("a"), s.syncer()
				pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: execHook("bye")}
				_, err := syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				s.runtime.ResetCalls()
				if row.fault.Method != "" {
					s.runtime.Inject(row.fault)
				}
				require.Error(t, syncer.Kill(endsAfter(t, row.cut), pod, 30*time.Second))
				began := time.Now()
				require.NoError(t, syncer.Kill(t.Context(), pod, 10*time.Second))
				assert.Equal(t, 10*time.Second, time.Since(began), "the grace of the second Kill is the container's")
				assert.Equal(t, row.want, s.runtime.Calls("ExecSync", "StopContainer").String())
			})
		})
	}
}

func TestOnlyWhatRunsHasItsPreStopRun(t *testing.T) {
	for name, spoil := range map[string]func(*critest.Runtime, string) error{
		"ended by itself":  func(r *critest.Runtime, id string) error { return r.Exit(id, 0) },
		"in unknown state": (*critest.Runtime).SetUnknown,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, critest.Config{})
				pod, syncer := podOf("a", "b"), s.syncer()
				for i := range pod.Spec.Containers {
					pod.Spec.Containers[i].Lifecycle = &corev1.Lifecycle{PreStop: execHook("bye")}
				}
				_, err := syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
				require.NoError(t, spoil(s.runtime, s.runtime.ContainerID("web", "a")))
				require.NoError(t, syncer.Kill(t.Context(), pod, 10*time.Second))
				assert.Equal(t, "ExecSync web/b", s.runtime.Calls("ExecSync").String())
			})
		})
	}
}

func TestTheCommandOfAHookIsNotExpanded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{Execs: []critest.ExecScript{execs("$(WHO)", critest.ExecResult{Delay: 5 * time.Second})}})
		pod := podOf("a")
		pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "WHO", Value: "me"}}
		pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: execHook("$(WHO)")}
		began := time.Now()
		_, err := s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, 5*time.Second, time.Since(began))
	})
}

func TestATCPHookIsNoHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a")
		pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{
			TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(80)},
		}}
		_, err := s.syncer().Sync(t.Context(), pod)
		require.ErrorContains(t, err, "invalid handler")
		assert.True(t, s.state(pod).Newest("a").Exited())
	})
}

func TestASidecarIsThereForTheNextOnlyAfterItsPostStart(t *testing.T) {
	sidecarWith := func(t *testing.T, code int32) (*stage, *corev1.Pod) {
		s := newStage(t, critest.Config{Execs: []critest.ExecScript{execs("hello", critest.ExecResult{Delay: 5 * time.Second, ExitCode: code})}})
		pod := podOf("a")
		pod.Spec.InitContainers = []corev1.Container{{
			Name: "s", Image: "s", RestartPolicy: new(corev1.ContainerRestartPolicyAlways),
			Lifecycle: &corev1.Lifecycle{PostStart: execHook("hello")},
		}}
		return s, pod
	}
	t.Run("that succeeds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, pod := sidecarWith(t, 0)
			syncer, began := s.syncer(), time.Now()
			for range 2 {
				_, err := syncer.Sync(t.Context(), pod)
				require.NoError(t, err)
			}
			assert.Equal(t, 5*time.Second, time.Since(began))
			assert.Equal(t, "StartContainer web/s; ExecSync web/s; StartContainer web/a", s.runtime.Calls("StartContainer", "ExecSync").String())
		})
	})
	t.Run("that fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, pod := sidecarWith(t, 1)
			syncer := s.syncer()
			for range 2 {
				_, err := syncer.Sync(t.Context(), pod)
				require.ErrorContains(t, err, "postStart hook")
			}
			assert.Nil(t, s.state(pod).Newest("a"))
			assert.Equal(t, 1, s.state(pod).Newest("s").RestartCount())
		})
	})
}
