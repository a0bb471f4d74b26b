package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/gc/eviction"
)

var lowOnMemory = eviction.Eviction{
	Reason: "Evicted", Message: "The node was low on resource: memory. ", Disruption: "TerminationByKubelet", Grace: time.Second,
}

// assertEvicted checks what the status says.
func (s *survivor) assertEvicted() {
	s.t.Helper()
	status := s.agent.status("uid-web")
	assert.Equal(s.t, []string{"Failed", "Evicted", "The node was low on resource: memory. "},
		[]string{string(status.Phase), status.Reason, status.Message})
	told := map[corev1.PodConditionType]string{}
	for _, c := range status.Conditions {
		told[c.Type] = string(c.Status) + " " + c.Reason
	}
	assert.Equal(s.t, "True TerminationByKubelet", told[corev1.DisruptionTarget])
	assert.Equal(s.t, "False PodFailed", told[corev1.PodReady])
}

// Whatever the pod's worker is at, the pod is evicted soon, and stays so.
func TestAnEvictedPodFailsForGood(t *testing.T) {
	for name, row := range map[string]struct {
		config critest.Config
		fault  *critest.Fault
	}{
		"that runs":               {},
		"whose image is pulled":   {fault: &critest.Fault{Method: "PullImage", Hang: true}},
		"that crashes":            {config: critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Duration: time.Second, ExitCode: 1}}}}}},
		"that does not want that": {config: critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{Ignore: true}}}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &survivor{node: newNode(t, row.config), up: newCloud(podNamed("web", corev1.RestartPolicyAlways, "app"))}
				if row.fault != nil {
					s.runtime.Inject(*row.fault)
				}
				s.agent = s.start(s.up)
				time.Sleep(5 * time.Second)
				require.Len(t, s.agent.begunPods(), 1)
				require.NoError(t, s.agent.evict(t.Context(), s.agent.begunPods()[0], lowOnMemory))
				s.assertEvicted()
				assert.Empty(t, s.agent.begunPods())

				starts := s.runtime.Count("StartContainer")
				time.Sleep(time.Second) // it is stored by then
				s.restartAgent(time.Minute)
				time.Sleep(time.Minute)
				s.assertEvicted()
				assert.Equal(t, starts, s.runtime.Count("StartContainer"))
			})
		})
	}
}

// What waits for its name uses nothing, and is not evicted in place of who does.
func TestAPodThatWaitsForItsNameIsNotEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, critest.Config{Scripts: []critest.Script{{Runs: []critest.Run{{Term: critest.Term{Ignore: true}}}}}})
		before, after := podNamed("web", corev1.RestartPolicyAlways, "app"), podNamed("web", corev1.RestartPolicyAlways, "app")
		after.UID = "uid-web-2"
		up := newCloud(before)
		a := n.start(up)
		time.Sleep(5 * time.Second)
		up.set(after)
		time.Sleep(5 * time.Second)
		require.Len(t, a.pods.Pods(), 2, "the old one is given its grace")
		require.Len(t, a.begunPods(), 1)
		assert.EqualValues(t, "uid-web", a.begunPods()[0].UID)
		require.NoError(t, a.evict(t.Context(), after, lowOnMemory), "it may have begun a moment ago for all that the evictor knows")

		require.NoError(t, a.evict(t.Context(), a.begunPods()[0], lowOnMemory))
		time.Sleep(5 * time.Second)
		assert.Equal(t, "web Running 1/1 0", a.table())
		assert.EqualValues(t, "uid-web-2", a.begunPods()[0].UID)
	})
}

// A manifest that is taken away and put back has the same UID.
func TestTheNextLifeOfAPodIsNotEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := podNamed("web", corev1.RestartPolicyAlways, "app")
		s := &survivor{node: newNode(t, critest.Config{}), up: newCloud(pod)}
		s.agent = s.start(s.up)
		time.Sleep(5 * time.Second)
		s.up.set()
		time.Sleep(time.Minute)
		require.Empty(t, s.agent.table())
		require.NoError(t, s.agent.evict(t.Context(), pod, lowOnMemory), "decided before it was gone")
		s.up.set(pod)
		time.Sleep(5 * time.Second)
		assert.Equal(t, "web Running 1/1 0", s.agent.table())
	})
}
