package probe

import corev1 "k8s.io/api/core/v1"

// Kind is what a probe is for. Its text is the word that events begin with.
type Kind string

// The kinds of probes.
const (
	Liveness  Kind = "Liveness"
	Readiness Kind = "Readiness"
	Startup   Kind = "Startup"
)

// initial is the verdict before the first one: a container is taken for alive,
// for not ready, and for nothing yet.
func (k Kind) initial() Result {
	switch k {
	case Liveness:
		return Success
	case Readiness:
		return Failure
	default:
		return Unknown
	}
}

// Tracker turns the results of one probe of one container into a verdict, which
// changes after as many equal results in a row as the probe's threshold for them
// says. A new container needs a new Tracker. It is not for concurrent use.
type Tracker struct {
	toSucceed, toFail int

	verdict Result
	last    Result
	run     int
}

// NewTracker returns a Tracker with the verdict of a container that was not yet
// checked. Thresholds that are not set have the defaults of the Kubernetes API:
// 1 for success, 3 for failure.
func NewTracker(kind Kind, probe *corev1.Probe) *Tracker {
	t := &Tracker{verdict: kind.initial(), toSucceed: 1, toFail: 3}
	if probe.SuccessThreshold > 0 {
		t.toSucceed = int(probe.SuccessThreshold)
	}
	if probe.FailureThreshold > 0 {
		t.toFail = int(probe.FailureThreshold)
	}
	return t
}

// Verdict is Success, Failure, or Unknown before the first verdict of a startup
// probe.
func (t *Tracker) Verdict() Result { return t.verdict }

// Observe takes in the result of a check and reports whether it changed the
// verdict. Unknown is no result and leaves all as it was; Warning is a success.
func (t *Tracker) Observe(result Result) (changed bool) {
	switch result {
	case Unknown:
		return false
	case Warning:
		result = Success
	}
	if result != t.last {
		t.last, t.run = result, 0
	}
	t.run++
	threshold := t.toSucceed
	if result == Failure {
		threshold = t.toFail
	}
	if t.run < threshold || result == t.verdict {
		return false
	}
	t.verdict = result
	return true
}
