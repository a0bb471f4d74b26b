package main

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
)

// survivor is a node with the pod web, whose container app crashes twice and
// then runs until it is made to end.
type survivor struct {
	*node
	up    *cloud
	agent *running
}

const lastWords = "out of beans"

func newSurvivor(t *testing.T) *survivor {
	t.Helper()
	crash := critest.Run{Duration: time.Second, ExitCode: 3, TerminationMessage: lastWords}
	n := newNode(t, critest.Config{Scripts: []critest.Script{{Container: "app", Runs: []critest.Run{crash, crash, {}}}}})
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
func (s *survivor) removeDead() {
	s.t.Helper()
	exited := &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_EXITED}
	dead, err := s.agent.runtime.ListContainers(s.t.Context(), &runtimeapi.ContainerFilter{State: exited})
	require.NoError(s.t, err)
	for _, c := range dead {
		require.NoError(s.t, s.runtime.Vanish(c.GetId()))
	}
}

func (s *survivor) crash(code int32) {
	s.t.Helper()
	require.NoError(s.t, s.runtime.Exit(s.runtime.ContainerID("web", "app"), code))
}

func (s *survivor) removeLogs() {
	s.t.Helper()
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
				s := newSurvivor(t)
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
				s := newSurvivor(t)
				time.Sleep(20 * time.Second)
				require.EqualValues(t, 2, s.app().RestartCount)

				row.happens(s)
				time.Sleep(25 * time.Second)
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
