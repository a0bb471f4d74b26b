package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

// survivor is a node with the pod web, whose container app crashes some times
// and then runs until it is made to end.
type survivor struct {
	*node
	up    *cloud
	agent *running
}

const lastWords = "out of beans"

func newSurvivor(t *testing.T, crashes int) *survivor {
	t.Helper()
	runs := slices.Repeat([]critest.Run{{Duration: time.Second, ExitCode: 3, TerminationMessage: lastWords}}, crashes)
	n := newNode(t, critest.Config{Scripts: []critest.Script{{Container: "app", Runs: append(runs, critest.Run{})}}})
	s := &survivor{node: n, up: newCloud(podNamed("web", corev1.RestartPolicyAlways, "app"))}
	s.agent = n.start(s.up)
	return s
}

// app is the status of the container.
func (s *survivor) app() corev1.ContainerStatus {
	statuses := s.agent.status("uid-web").ContainerStatuses
	if len(statuses) == 0 {
		return corev1.ContainerStatus{}
	}
	return statuses[0]
}

func (s *survivor) restartAgent(away time.Duration) {
	s.agent.stop()
	time.Sleep(away)
	s.agent = s.start(newCloud(s.up.pods...))
}

// removeDead removes every dead container, as a collector that keeps none does.
func (s *survivor) removeDead() { s.removeIn(runtimeapi.ContainerState_CONTAINER_EXITED) }

func (s *survivor) removeRunning() { s.removeIn(runtimeapi.ContainerState_CONTAINER_RUNNING) }

func (s *survivor) removeIn(state runtimeapi.ContainerState) {
	s.t.Helper()
	filter := &runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: state}}
	containers, err := s.agent.runtime.ListContainers(s.t.Context(), filter)
	for ; err != nil; containers, err = s.agent.runtime.ListContainers(s.t.Context(), filter) {
		time.Sleep(time.Second) // the runtime restarts
	}
	for _, c := range containers {
		if err := s.runtime.Vanish(c.GetId()); !cri.IsNotFound(err) { // the agent collects garbage too
			require.NoError(s.t, err)
		}
	}
}

func (s *survivor) crash(code int32) {
	s.t.Helper()
	require.NoError(s.t, s.runtime.Exit(s.runtime.ContainerID("web", "app"), code))
}

func (s *survivor) removeLogs() {
	s.t.Helper()
	synctest.Wait() // a log that is being made would be in the way
	require.NoError(s.t, os.RemoveAll(s.opts.podLogs))
}

func TestRestartCountAndLastStateSurvive(t *testing.T) {
	for name, happens := range map[string]func(*survivor){
		"an agent restart":                    func(s *survivor) { s.restartAgent(time.Hour) },
		"container GC":                        func(*survivor) { time.Sleep(time.Minute) },
		"the loss of all dead containers":     (*survivor).removeDead,
		"a runtime restart":                   func(s *survivor) { s.runtime.Restart(5 * time.Second) },
		"the loss of all logs":                (*survivor).removeLogs,
		"the loss of all while nobody looked": func(s *survivor) { s.removeDead(); s.removeLogs(); s.restartAgent(time.Hour) },
		"both restarts": func(s *survivor) {
			s.runtime.Restart(5 * time.Second)
			s.restartAgent(time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSurvivor(t, 2)
				time.Sleep(20 * time.Second)
				before := s.app()
				require.NotNil(t, before.State.Running)
				require.EqualValues(t, 2, before.RestartCount)
				last := before.LastTerminationState.Terminated
				require.NotNil(t, last)
				require.Equal(t, []any{int32(3), "Error", lastWords}, []any{last.ExitCode, last.Reason, last.Message})

				happens(s)
				time.Sleep(10 * time.Second)
				assert.Equal(t, before, s.app())

				s.crash(7)
				time.Sleep(25 * time.Second)
				after := s.app()
				assert.NotNil(t, after.State.Running)
				assert.EqualValues(t, 3, after.RestartCount)
				assert.EqualValues(t, 7, after.LastTerminationState.Terminated.ExitCode)
			})
		})
	}
}

// After a reboot the lost run is the last state, and the restarts count on.
func TestRestartCountGoesOnAfterAReboot(t *testing.T) {
	type end struct {
		code   int32
		reason string
	}
	for name, row := range map[string]struct {
		happens func(*survivor)
		want    end
	}{
		"under the agent": {
			happens: func(s *survivor) { s.runtime.Reboot(critest.RebootOptions{Down: 10 * time.Second}) },
			want:    end{255, "Unknown"},
		},
		"with the agent": {
			happens: func(s *survivor) {
				s.agent.stop()
				s.runtime.Reboot(critest.RebootOptions{})
				s.restartAgent(time.Minute)
			},
			want: end{255, "Unknown"},
		},
		"that wipes": {
			happens: func(s *survivor) { s.runtime.Reboot(critest.RebootOptions{Wipe: true}) },
			want:    end{137, "ContainerStatusUnknown"},
		},
		"with the agent that wipes": {
			happens: func(s *survivor) {
				s.agent.stop()
				s.runtime.Reboot(critest.RebootOptions{Wipe: true})
				s.restartAgent(time.Minute)
			},
			want: end{137, "ContainerStatusUnknown"},
		},
		"that wipes the logs too": {
			happens: func(s *survivor) {
				s.agent.stop()
				s.removeLogs()
				s.runtime.Reboot(critest.RebootOptions{Wipe: true})
				s.restartAgent(time.Minute)
			},
			want: end{137, "ContainerStatusUnknown"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSurvivor(t, 2)
				time.Sleep(20 * time.Second)
				require.EqualValues(t, 2, s.app().RestartCount)

				row.happens(s)
				time.Sleep(35 * time.Second)
				after := s.app()
				require.NotNil(t, after.State.Running)
				assert.EqualValues(t, 3, after.RestartCount)
				last := after.LastTerminationState.Terminated
				require.NotNil(t, last)
				assert.Equal(t, row.want, end{last.ExitCode, last.Reason})

				s.crash(7)
				time.Sleep(45 * time.Second)
				after = s.app()
				assert.NotNil(t, after.State.Running)
				assert.EqualValues(t, 4, after.RestartCount)
				assert.EqualValues(t, 7, after.LastTerminationState.Terminated.ExitCode)
			})
		})
	}
}

// restartsAllOn42 makes the exit code 42 of the container a reason to restart all.
func restartsAllOn42(c *corev1.Container) {
	c.RestartPolicy = new(corev1.ContainerRestartPolicyNever)
	c.RestartPolicyRules = []corev1.ContainerRestartRule{{
		Action: corev1.ContainerRestartRuleActionRestartAllContainers,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{
			Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42},
		},
	}}
}

// A pod that never restarts anything begins anew as a whole when a rule says so, and
// its restarts are counted, whoever forgets in between.
func TestARuleRestartsAllContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := podNamed("web", corev1.RestartPolicyNever, "app", "helper")
		pod.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "init"}}
		restartsAllOn42(&pod.Spec.Containers[0])
		s := &survivor{up: newCloud(pod), node: newNode(t, critest.Config{Scripts: []critest.Script{
			{Container: "init", Runs: []critest.Run{{Duration: time.Second}}},
			{Container: "app", Runs: []critest.Run{{Duration: 5 * time.Second, ExitCode: 42}, {Duration: 5 * time.Second, ExitCode: 42}, {}}},
		}})}
		s.agent = s.start(s.up)
		time.Sleep(4 * time.Second)
		require.Equal(t, "web Running 2/2 0", s.agent.table())
		time.Sleep(8 * time.Second) // init runs again first
		assert.Equal(t, "web Running 2/2 2", s.agent.table())
		for _, c := range s.agent.status("uid-web").ContainerStatuses {
			last := c.LastTerminationState.Terminated
			require.NotNil(t, last, c.Name)
			assert.NotEqual(t, "ContainerStatusUnknown", last.Reason, "the end of each was seen")
			assert.EqualValues(t, 1, c.RestartCount, c.Name)
		}
		time.Sleep(6 * time.Second)
		assert.Equal(t, "web CrashLoopBackOff 1/2 2", s.agent.table(), "the second time after a pause")

		time.Sleep(12 * time.Second)
		s.restartAgent(time.Second)
		time.Sleep(10 * time.Second)
		assert.Equal(t, "web Running 2/2 4", s.agent.table())
		status := s.agent.status("uid-web")
		assert.EqualValues(t, 2, status.InitContainerStatuses[0].RestartCount)
		i := slices.IndexFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.AllContainersRestarting })
		require.GreaterOrEqual(t, i, 0)
		assert.Equal(t, corev1.ConditionFalse, status.Conditions[i].Status)
	})
}

// Whatever happens in the middle of a restart of all, all run in the end, and the pod
// is never said to have ended.
func TestARestartOfAllSurvives(t *testing.T) {
	for name, happens := range map[string]func(*survivor){
		"nothing":              func(*survivor) {},
		"an agent restart":     func(s *survivor) { s.restartAgent(0) },
		"a long agent restart": func(s *survivor) { s.restartAgent(time.Minute) },
		"a runtime restart":    func(s *survivor) { s.runtime.Restart(time.Second) },
		"a reboot":             func(s *survivor) { s.runtime.Reboot(critest.RebootOptions{}) },
		"a wiping reboot":      func(s *survivor) { s.runtime.Reboot(critest.RebootOptions{Wipe: true}) },
	} {
		const stopped = 2 * time.Second // which is how long it takes
		for _, when := range []time.Duration{time.Second, stopped - time.Millisecond, stopped, stopped + time.Millisecond, stopped + time.Second} {
			t.Run(fmt.Sprintf("%s after %v", name, when), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					pod := podNamed("web", corev1.RestartPolicyNever, "app", "stubborn", "done")
					pod.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "init", RestartPolicy: new(corev1.ContainerRestartPolicyOnFailure)}}
					restartsAllOn42(&pod.Spec.Containers[0])
					s := &survivor{up: newCloud(pod), node: newNode(t, critest.Config{Scripts: []critest.Script{
						{Container: "init", Runs: []critest.Run{{Duration: time.Second}}},
						{Container: "stubborn", Runs: []critest.Run{{Term: critest.Term{Ignore: true}}}},
						{Container: "done", Runs: []critest.Run{{Duration: time.Second}, {}}},
					}})}
					s.agent = s.start(s.up)
					time.Sleep(5 * time.Second)
					require.Equal(t, "web Running 2/3 0", s.agent.table())
					s.crash(42)
					time.Sleep(when)
					happens(s)
					for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
						phase := s.agent.status("uid-web").Phase
						require.NotContains(t, []corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded}, phase)
					}
					for _, c := range s.agent.status("uid-web").ContainerStatuses {
						assert.NotNil(t, c.State.Running, c.Name)
						assert.Positive(t, c.RestartCount, c.Name)
					}
				})
			})
		}
	}
}

// A pod that is restarted as a whole again and again does not fill the disk: of each
// container the logs of this run and the last one stay.
func TestRestartsOfAllLeaveNoPileOfLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := podNamed("web", corev1.RestartPolicyNever, "app", "helper")
		restartsAllOn42(&pod.Spec.Containers[0])
		words := []critest.Log{{Text: "hello"}}
		s := &survivor{up: newCloud(pod), node: newNode(t, critest.Config{Scripts: []critest.Script{
			{Container: "app", Runs: []critest.Run{{Duration: 5 * time.Second, ExitCode: 42, Logs: words}}},
			{Container: "helper", Runs: []critest.Run{{Logs: words}}},
		}})}
		s.agent = s.start(s.up)
		time.Sleep(time.Hour)
		require.Greater(t, s.app().RestartCount, int32(10))
		logs, err := filepath.Glob(filepath.Join(s.opts.podLogs, "*", "*", "*.log"))
		require.NoError(t, err)
		assert.Len(t, logs, 4)
		links, err := filepath.Glob(filepath.Join(s.opts.containerLogs, "*"))
		require.NoError(t, err)
		assert.LessOrEqual(t, len(links), 4)
	})
}

// Nothing but the removal of what has ended tells that there is something to do.
func TestARestartOfAllThatStopsNothingGoesOnAtOnce(t *testing.T) {
	for name, place := range map[string]func(*corev1.PodSpec){
		"the only container": func(*corev1.PodSpec) {},
		"an init container": func(spec *corev1.PodSpec) {
			spec.InitContainers, spec.Containers = spec.Containers, []corev1.Container{{Name: "other", Image: "other"}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pod := podNamed("web", corev1.RestartPolicyNever, "app")
				restartsAllOn42(&pod.Spec.Containers[0])
				place(&pod.Spec)
				s := &survivor{up: newCloud(pod), node: newNode(t, critest.Config{Scripts: []critest.Script{
					{Container: "app", Runs: []critest.Run{{Duration: 5 * time.Second, ExitCode: 42}, {}}},
				}})}
				s.agent = s.start(s.up)
				time.Sleep(4 * time.Second)
				phase := s.agent.status("uid-web").Phase
				time.Sleep(3 * time.Second)
				assert.NotEmpty(t, s.runtime.ContainerID("web", "app"))
				status := s.agent.status("uid-web")
				assert.Equal(t, phase, status.Phase, "as it was")
				for _, c := range append(status.InitContainerStatuses, status.ContainerStatuses...) {
					if c.Name == "app" {
						assert.EqualValues(t, 1, c.RestartCount)
						assert.NotNil(t, c.State.Running)
					}
				}
			})
		})
	}
}

// The time that a pod may be active goes on while no agent runs.
func TestADeadlineOutlivesTheAgent(t *testing.T) {
	for name, away := range map[string]time.Duration{"over before": 2 * time.Minute, "over after": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pod := podNamed("web", corev1.RestartPolicyAlways, "app")
				pod.Spec.ActiveDeadlineSeconds = new(int64(60))
				s := &survivor{node: newNode(t, critest.Config{}), up: newCloud(pod)}
				s.agent = s.start(s.up)
				time.Sleep(30 * time.Second)
				require.Equal(t, "web Running 1/1 0", s.agent.table())
				began := s.agent.status("uid-web").StartTime

				s.restartAgent(away)
				time.Sleep(max(2*time.Second, time.Until(began.Add(62*time.Second))))
				ended := s.agent.status("uid-web")
				assert.Equal(t, []string{"Failed", "DeadlineExceeded"}, []string{string(ended.Phase), ended.Reason})
				assert.Equal(t, began, ended.StartTime)
				assert.Nil(t, ended.ContainerStatuses[0].State.Running)
			})
		})
	}
}

// A manifest that is put back while its pod is still ending has the same UID. What is
// told of that end is not said of the next life.
func TestAPodThatIsPutBackWhileItEndsRunsOn(t *testing.T) {
	for name, happens := range map[string]func(*survivor){
		"until the upstream tells of another": func(s *survivor) {
			s.up.set(append(s.up.pods, podNamed("other", corev1.RestartPolicyAlways, "app"))...)
		},
		"until the agent starts anew": func(s *survivor) { s.restartAgent(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pod := podNamed("web", corev1.RestartPolicyAlways, "app")
				n := newNode(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{After: 5 * time.Second}}}}}})
				n.logger = slowLogger() // others get on with the news meanwhile
				s := &survivor{node: n, up: newCloud(pod)}
				s.agent = s.start(s.up)
				time.Sleep(5 * time.Second)
				s.up.set()
				time.Sleep(time.Second)
				s.up.set(pod)
				time.Sleep(10 * time.Second)
				require.Equal(t, "web Running 1/1 1", s.agent.table())

				happens(s)
				time.Sleep(10 * time.Second)
				assert.Contains(t, s.agent.table(), "web Running 1/1 1")
			})
		})
	}
}

// slowLogger takes a while to tell of a pod that has changed, when nobody holds a lock.
func slowLogger() *zap.Logger {
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zap.InfoLevel)
	return zap.New(core, zap.Hooks(func(entry zapcore.Entry) error {
		if entry.Message == "pod changed" {
			time.Sleep(time.Millisecond)
		}
		return nil
	}))
}

// hangPulls makes the pulls of images hang whose names begin so.
func (n *node) hangPulls(prefix string) {
	matches := func(c critest.Call) bool { return strings.HasPrefix(c.Image, prefix) }
	n.runtime.Inject(critest.Fault{Method: "PullImage", Match: matches, Hang: true})
}

// A pod in trouble is its own trouble: those that come and go beside it do so
// at once.
func TestATroubledPodDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{Execs: []critest.ExecScript{{Pod: "slow", Results: []critest.ExecResult{{Delay: time.Minute}}}}})
		n.hangPulls("hangs")
		slow := podNamed("slow", corev1.RestartPolicyAlways, "app")
		slow.Spec.TerminationGracePeriodSeconds = new(int64(90))
		slow.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"wait"}}}}
		stuck := podNamed("stuck", corev1.RestartPolicyAlways, "hangs")
		homeless := podNamed("homeless", corev1.RestartPolicyAlways, "app")
		homeless.Spec.Volumes = []corev1.Volume{{Name: "disk", VolumeSource: corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{}}}}
		homeless.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "disk", MountPath: "/disk"}}
		troubled := "homeless ContainerCreating 0/1 0\n%sslow Terminating 1/1 0\nstuck ContainerCreating 0/1 0"
		var others []*corev1.Pod
		var run strings.Builder
		for i := range 10 {
			others = append(others, podNamed(fmt.Sprintf("other-%d", i), corev1.RestartPolicyAlways, "app", "sidekick"))
			fmt.Fprintf(&run, "other-%d Running 2/2 0\n", i)
		}
		up := newCloud(slow)
		a := n.start(up)
		time.Sleep(2 * time.Second)
		require.Equal(t, "slow Running 1/1 0", a.table())

		up.set(append(others, stuck, homeless)...) // slow begins to stop
		time.Sleep(2 * time.Second)
		assert.Equal(t, fmt.Sprintf(troubled, run.String()), a.table())

		up.set(stuck, homeless)
		time.Sleep(2 * time.Second)
		assert.Equal(t, fmt.Sprintf(troubled, ""), a.table())

		up.set(podNamed("late", corev1.RestartPolicyAlways, "app"), homeless)
		time.Sleep(2 * time.Second)
		assert.Equal(t, "homeless ContainerCreating 0/1 0\nlate Running 1/1 0\nslow Terminating 1/1 0", a.table(), "a hanging pull is given up with its pod")
		time.Sleep(time.Minute)
		assert.Equal(t, "homeless ContainerCreating 0/1 0\nlate Running 1/1 0", a.table())
	})
}

// As many hanging pulls as there may be at once hold up the others, but not for ever.
func TestHangingPullsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{Images: []critest.Image{{Name: "here"}}})
		n.hangPulls("hangs")
		var pods []*corev1.Pod
		for i := range 3 {
			name := fmt.Sprintf("hangs-%d", i)
			pods = append(pods, podNamed(name, corev1.RestartPolicyAlways, name))
		}
		up := newCloud(pods...)
		a := n.start(up)
		time.Sleep(2 * time.Second)
		present := podNamed("present", corev1.RestartPolicyAlways, "here")
		present.Spec.Containers[0].ImagePullPolicy = corev1.PullIfNotPresent
		up.set(append(pods, present, podNamed("web", corev1.RestartPolicyAlways, "app"))...)
		time.Sleep(2 * time.Second)
		const hanging = "hangs-0 ContainerCreating 0/1 0\nhangs-1 ContainerCreating 0/1 0\nhangs-2 ContainerCreating 0/1 0\n"
		assert.Equal(t, hanging+"present Running 1/1 0\nweb ContainerCreating 0/1 0", a.table(), "what is there needs no turn")
		time.Sleep(time.Minute)
		assert.Equal(t, hanging+"present Running 1/1 0\nweb Running 1/1 0", a.table())
	})
}

// mishap is what befalls the survivor, and how long nothing else does then.
type mishap struct {
	Name string
	Then time.Duration
}

// takesTraces reports whether the number of the newest run may be lost with it.
func (m mishap) takesTraces() bool { return m.Name == "logs removed" }

var mishaps = map[string]func(*survivor){
	"crash":           func(s *survivor) { _ = s.runtime.Exit(s.runtime.ContainerID("web", "app"), 7) }, // if it runs
	"running removed": (*survivor).removeRunning,
	"agent restart":   func(s *survivor) { s.restartAgent(time.Second) },
	"runtime restart": func(s *survivor) { s.runtime.Restart(time.Second) },
	"reboot":          func(s *survivor) { s.runtime.Reboot(critest.RebootOptions{}) },
	"wiping reboot":   func(s *survivor) { s.runtime.Reboot(critest.RebootOptions{Wipe: true}) },
	"dead removed":    (*survivor).removeDead,
	"logs removed":    (*survivor).removeLogs,
}

// Whatever befalls a pod in whatever order, its restart count never falls, and as
// long as its traces are there it counts every start.
func TestRestartCountNeverFalls(t *testing.T) {
	drawMishap := rapid.Custom(func(t *rapid.T) mishap {
		return mishap{
			Name: rapid.SampledFrom(slices.Sorted(maps.Keys(mishaps))).Draw(t, "mishap"),
			Then: rapid.SampledFrom([]time.Duration{0, 0, time.Second, 12 * time.Second}).Draw(t, "then"),
		}
	})
	rapid.Check(t, func(rt *rapid.T) {
		schedule := rapid.SliceOfN(drawMishap, 1, 4).Draw(rt, "schedule")
		var broken string
		synctest.Test(t, func(t *testing.T) { broken = newSurvivor(t, 0).live(schedule) })
		if broken != "" {
			rt.Fatal(broken)
		}
	})
}

// live plays the schedule and returns what went wrong.
func (s *survivor) live(schedule []mishap) (broken string) {
	var most int32
	pass := func(d time.Duration) {
		for end := time.Now().Add(d); ; time.Sleep(time.Second) {
			app := s.app()
			count := app.RestartCount
			if count < most && app.Name != "" && broken == "" {
				broken = fmt.Sprintf("restart count fell from %d to %d", most, count)
			}
			most = max(most, count)
			if !time.Now().Before(end) {
				return
			}
		}
	}
	pass(time.Second)
	for _, each := range schedule {
		mishaps[each.Name](s)
		pass(each.Then)
	}
	pass(2 * time.Second)
	starts, known := s.runtime.Count("StartContainer"), !slices.ContainsFunc(schedule, mishap.takesTraces)
	if s.app().State.Running != nil && known && int(most) != starts-1 && broken == "" {
		broken = fmt.Sprintf("%d restarts after %d starts", most, starts)
	}
	return broken
}
