package probe_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/probe"
)

func TestVerdictBeforeTheFirstCheck(t *testing.T) {
	for kind, want := range map[probe.Kind]probe.Result{
		probe.Liveness:  probe.Success,
		probe.Readiness: probe.Failure,
		probe.Startup:   probe.Unknown,
	} {
		assert.Equal(t, want, probe.NewTracker(kind, &corev1.Probe{}).Verdict(), kind)
	}
}

func TestVerdictFollowsThresholds(t *testing.T) {
	const (
		u = probe.Unknown
		s = probe.Success
		w = probe.Warning
		f = probe.Failure
	)
	tests := map[string]struct {
		kind           probe.Kind
		toSucceed      int32
		toFail         int32
		results, after []probe.Result
	}{
		"three failures by default": {
			kind: probe.Liveness, results: []probe.Result{f, f, f, f}, after: []probe.Result{s, s, f, f},
		},
		"a success in between starts over": {
			kind: probe.Liveness, results: []probe.Result{f, f, s, f, f, f}, after: []probe.Result{s, s, s, s, s, f},
		},
		"one success by default": {
			kind: probe.Readiness, results: []probe.Result{s, f, f, f, s}, after: []probe.Result{s, s, s, f, s},
		},
		"several successes": {
			kind: probe.Readiness, toSucceed: 3, toFail: 1, results: []probe.Result{s, s, f, s, s, s, f}, after: []probe.Result{f, f, f, f, f, s, f},
		},
		"a warning is a success": {
			kind: probe.Readiness, toSucceed: 2, results: []probe.Result{w, s}, after: []probe.Result{f, s},
		},
		"no result changes nothing, not even the count": {
			kind: probe.Liveness, toFail: 2, results: []probe.Result{f, u, u, f}, after: []probe.Result{s, s, s, f},
		},
		"startup stays unknown below its threshold": {
			kind: probe.Startup, toFail: 2, results: []probe.Result{f, f}, after: []probe.Result{u, f},
		},
		"startup succeeds": {
			kind: probe.Startup, results: []probe.Result{f, s}, after: []probe.Result{u, s},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			tracker := probe.NewTracker(test.kind, &corev1.Probe{SuccessThreshold: test.toSucceed, FailureThreshold: test.toFail})
			before := tracker.Verdict()
			for i, result := range test.results {
				changed := tracker.Observe(result)
				assert.Equal(t, test.after[i], tracker.Verdict(), "after result %d", i)
				assert.Equal(t, tracker.Verdict() != before, changed, "changed by result %d", i)
				before = tracker.Verdict()
			}
		})
	}
}

// Whatever came before, as many equal results as the threshold says decide.
func TestARunAsLongAsTheThresholdDecides(t *testing.T) {
	results := rapid.SampledFrom([]probe.Result{probe.Unknown, probe.Success, probe.Warning, probe.Failure})
	rapid.Check(t, func(t *rapid.T) {
		spec := &corev1.Probe{
			SuccessThreshold: rapid.Int32Range(1, 5).Draw(t, "to succeed"),
			FailureThreshold: rapid.Int32Range(1, 5).Draw(t, "to fail"),
		}
		kind := rapid.SampledFrom([]probe.Kind{probe.Liveness, probe.Readiness, probe.Startup}).Draw(t, "kind")
		tracker := probe.NewTracker(kind, spec)
		for _, result := range rapid.SliceOf(results).Draw(t, "before") {
			tracker.Observe(result)
		}
		last, times := probe.Success, spec.SuccessThreshold
		if rapid.Bool().Draw(t, "fails") {
			last, times = probe.Failure, spec.FailureThreshold
		}
		for range times {
			tracker.Observe(last)
		}
		assert.Equal(t, last, tracker.Verdict())
	})
}

func TestResultsHaveNames(t *testing.T) {
	assert.Equal(t, "unknown", probe.Unknown.String())
	assert.Equal(t, "success", probe.Success.String())
	assert.Equal(t, "warning", probe.Warning.String())
	assert.Equal(t, "failure", probe.Failure.String())
}
