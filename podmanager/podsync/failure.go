package podsync

import (
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

// The reasons for which a container waits, as the kubelet words them.
const (
	reasonCreating        = "ContainerCreating"
	reasonCreateConfig    = "CreateContainerConfigError"
	reasonCreateContainer = "CreateContainerError"
	reasonRunContainer    = "RunContainerError"
	reasonPostStart       = "PostStartHookError"
)

// startError is the failure of a step that podsync itself takes.
type startError struct {
	reason string
	err    error
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// reasoned is an error that says what the status is to say.
type reasoned interface {
	error
	WaitingReason() string
}

// waitingFor is what the status says of a container that could not be started.
func waitingFor(err error) corev1.ContainerStateWaiting {
	var worded reasoned
	var own *startError
	switch {
	case errors.As(err, &worded):
		return corev1.ContainerStateWaiting{Reason: worded.WaitingReason(), Message: worded.Error()}
	case errors.As(err, &own):
		return corev1.ContainerStateWaiting{Reason: own.reason, Message: cri.Message(own.err)}
	default:
		return corev1.ContainerStateWaiting{Reason: reasonCreateContainer, Message: cri.Message(err)}
	}
}

// failedMessage words the event of a start that failed. Of an image, whose pull
// has events of its own, only the reason is told.
func failedMessage(waiting corev1.ContainerStateWaiting) string {
	switch waiting.Reason {
	case reasonCreateConfig, reasonCreateContainer, reasonRunContainer, reasonPostStart:
		return "Error: " + waiting.Message
	default:
		return "Error: " + waiting.Reason
	}
}

// retrier is an error that tells when to try again: a back-off, not a failure.
type retrier interface{ RetryAt() time.Time }

// retryTime is the earliest time at which one of the failures in err may be
// gone, zero if none tells.
func retryTime(err error) time.Time {
	var at time.Time
	for _, failure := range failures(err) {
		var wait retrier
		if errors.As(failure, &wait) {
			at = earliest(at, wait.RetryAt())
		}
	}
	return at
}

// onlyWaiting reports whether every failure in err is a wait for a known time,
// which is nothing to report.
func onlyWaiting(err error) bool {
	for _, failure := range failures(err) {
		var wait retrier
		if !errors.As(failure, &wait) || wait.RetryAt().IsZero() {
			return false
		}
	}
	return true
}

// failures takes a joined error apart.
func failures(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, each := range joined.Unwrap() {
		all = append(all, failures(each)...)
	}
	return all
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
