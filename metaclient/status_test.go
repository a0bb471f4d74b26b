package metaclient_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/metaclient"
)

// runningStatus is a status with everything that has an order or a time.
func runningStatus() corev1.PodStatus {
	return corev1.PodStatus{
		Phase:     corev1.PodRunning,
		StartTime: new(at(1700000000)),
		PodIPs:    []corev1.PodIP{{IP: "10.0.0.2"}, {IP: "fd00::2"}},
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: at(1700000005)},
			{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: at(1700000001)},
		},
		ContainerStatuses: []corev1.ContainerStatus{
			{Name: "a", RestartCount: 4, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(1700000003)}}},
			{Name: "b"},
		},
	}
}

func TestStatusSurvivesARestart(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"), pod("b"))
	c, err := metaclient.Open(path, watchFunc(silent), metaclient.Config{})
	require.NoError(t, err)
	require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), runningStatus())))
	require.NoError(t, c.Close())

	synctest.Test(t, func(t *testing.T) {
		var rec recorder
		up := newFakeUpstream()
		stop := start(t, mustOpen(t, path, up, metaclient.Config{OnPods: rec.onPods}))
		defer stop()
		time.Sleep(time.Second)
		require.NoError(t, up.deliver(pod("a"), pod("b")))
		require.Len(t, rec.all(), 2)
		for _, call := range rec.all() {
			status := call.pods[0].Status
			assert.True(t, status.StartTime.Equal(new(at(1700000000))))
			assert.EqualValues(t, 4, status.ContainerStatuses[0].RestartCount)
			assert.Empty(t, call.pods[1].Status)
		}
	})
}

func TestStatusNoiseIsNotWritten(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	c := mustOpen(t, path, watchFunc(silent), metaclient.Config{})
	report := func(s corev1.PodStatus) (wrote bool) {
		before := readFile(t, path)
		require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), s)))
		return string(before) != string(readFile(t, path))
	}
	require.True(t, report(runningStatus()))

	for name, tc := range map[string]struct {
		change func(s *corev1.PodStatus)
		writes bool
	}{
		"nothing":            {func(*corev1.PodStatus) {}, false},
		"fraction of second": {func(s *corev1.PodStatus) { s.StartTime.Time = s.StartTime.Add(400 * time.Millisecond) }, false},
		"time zone":          {func(s *corev1.PodStatus) { s.StartTime.Time = s.StartTime.In(time.FixedZone("x", 3600)) }, false},
		"condition order": {func(s *corev1.PodStatus) {
			s.Conditions[0], s.Conditions[1] = s.Conditions[1], s.Conditions[0]
		}, false},
		"condition times": {func(s *corev1.PodStatus) {
			s.Conditions[0].LastProbeTime, s.Conditions[0].LastTransitionTime = at(1800000000), at(1800000000)
		}, false},
		"container order": {func(s *corev1.PodStatus) {
			s.ContainerStatuses[0], s.ContainerStatuses[1] = s.ContainerStatuses[1], s.ContainerStatuses[0]
		}, false},
		"empty list":       {func(s *corev1.PodStatus) { s.InitContainerStatuses = []corev1.ContainerStatus{} }, false},
		"empty status":     {func(s *corev1.PodStatus) { *s = corev1.PodStatus{} }, false},
		"condition status": {func(s *corev1.PodStatus) { s.Conditions[0].Status = corev1.ConditionFalse }, true},
		"condition reason": {func(s *corev1.PodStatus) { s.Conditions[0].Reason = "ContainersNotReady" }, true},
		"restart count":    {func(s *corev1.PodStatus) { s.ContainerStatuses[0].RestartCount++ }, true},
		"container start":  {func(s *corev1.PodStatus) { s.ContainerStatuses[0].State.Running.StartedAt = at(1700000009) }, true},
		"order of ips":     {func(s *corev1.PodStatus) { s.PodIPs[0], s.PodIPs[1] = s.PodIPs[1], s.PodIPs[0] }, true},
	} {
		t.Run(name, func(t *testing.T) {
			report(runningStatus())
			s := runningStatus()
			tc.change(&s)
			given := s.DeepCopy()
			assert.Equal(t, tc.writes, report(s))
			assert.Equal(t, *given, s, "the reported pod is the caller's")
		})
	}
}

func TestStatusOfAnUnknownPodIsNotStored(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	before := readFile(t, path)
	reported := 0
	c := mustOpen(t, path, reportingUpstream{silent, func(context.Context, *corev1.Pod) error {
		reported++
		return nil
	}}, metaclient.Config{})
	require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("gone"), runningStatus())))
	assert.Equal(t, before, readFile(t, path))
	assert.Equal(t, 1, reported)
}

func TestPodThatLeftTakesItsStatusAlong(t *testing.T) {
	path := storePath(t)
	fill(t, path, withStatus(pod("a"), runningStatus()), withStatus(pod("b"), runningStatus()))
	fill(t, path, pod("b"))
	fill(t, path, pod("a"), pod("b"))
	pods := stored(t, path)
	require.Len(t, pods, 2)
	assert.Empty(t, pods[0].Status, "the same uid comes back as a fresh pod")
	assert.Equal(t, corev1.PodRunning, pods[1].Status.Phase)
}

func TestUpstreamStatusAgainstTheNodesOwn(t *testing.T) {
	phase := func(p corev1.PodPhase) corev1.PodStatus { return corev1.PodStatus{Phase: p} }
	for name, tc := range map[string]struct{ node, upstream, want corev1.PodPhase }{
		"first word is the upstream's":      {"", corev1.PodRunning, corev1.PodRunning},
		"the node knows better":             {corev1.PodRunning, corev1.PodPending, corev1.PodRunning},
		"an end set by a controller counts": {corev1.PodRunning, corev1.PodFailed, corev1.PodFailed},
		"an end is not taken back":          {corev1.PodSucceeded, corev1.PodRunning, corev1.PodSucceeded},
		"nor changed":                       {corev1.PodSucceeded, corev1.PodFailed, corev1.PodSucceeded},
		"silence says nothing":              {corev1.PodRunning, "", corev1.PodRunning},
	} {
		t.Run(name, func(t *testing.T) {
			path := storePath(t)
			fill(t, path, pod("a"))
			c, err := metaclient.Open(path, watchFunc(silent), metaclient.Config{})
			require.NoError(t, err)
			require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), phase(tc.node))))
			require.NoError(t, c.Close())
			fill(t, path, withStatus(pod("a"), phase(tc.upstream)))
			assert.Equal(t, tc.want, stored(t, path)[0].Status.Phase)
		})
	}
}

func TestStatusIsReportedUpstream(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	synctest.Test(t, func(t *testing.T) {
		offline := errors.New("no route to cloud")
		var got []corev1.PodPhase
		c := mustOpen(t, path, reportingUpstream{silent, func(ctx context.Context, pod *corev1.Pod) error {
			got = append(got, pod.Status.Phase)
			if len(got) == 1 {
				return offline
			}
			return nil
		}}, metaclient.Config{})
		running := withStatus(pod("a"), runningStatus())
		require.ErrorIs(t, c.ReportPodStatus(t.Context(), running), offline)
		require.NoError(t, c.ReportPodStatus(t.Context(), running), "a report that failed is sent again though nothing is written")
		assert.Equal(t, []corev1.PodPhase{corev1.PodRunning, corev1.PodRunning}, got)
		pods, err := c.Pods(t.Context())
		require.NoError(t, err)
		assert.Equal(t, corev1.PodRunning, pods[0].Status.Phase, "stored though upstream was away")
	})
}

func TestReportHasADeadline(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	synctest.Test(t, func(t *testing.T) {
		c := mustOpen(t, path, reportingUpstream{silent, func(ctx context.Context, _ *corev1.Pod) error {
			<-ctx.Done()
			return ctx.Err()
		}}, metaclient.Config{})
		began := time.Now()
		require.ErrorIs(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), runningStatus())), context.DeadlineExceeded)
		assert.Equal(t, 10*time.Second, time.Since(began))
	})
}

func TestUpstreamHearsOfAStatusThatTheDiskRefuses(t *testing.T) {
	reported := 0
	c := mustOpen(t, storePath(t), reportingUpstream{silent, func(context.Context, *corev1.Pod) error {
		reported++
		return nil
	}}, metaclient.Config{})
	require.NoError(t, c.Close())
	require.ErrorContains(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), runningStatus())), "store status of pod default/a")
	assert.Equal(t, 1, reported)
}
