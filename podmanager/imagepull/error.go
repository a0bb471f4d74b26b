package imagepull

import (
	"slices"
	"strings"
	"time"

	"github.com/edged-project/edged/cri"
	crierrors "k8s.io/cri-api/pkg/errors"
)

// The reasons of an Error, as the kubelet spells them. A pull may also fail
// for a reason that the runtime names (CRI): RegistryUnavailable or
// SignatureValidationFailed.
const (
	ReasonInvalidName = "InvalidImageName"
	ReasonInspect     = "ImageInspectError"
	ReasonNeverPull   = "ErrImageNeverPull"
	ReasonPull        = "ErrImagePull"
	ReasonBackOff     = "ImagePullBackOff"
)

// Error says why an image is not there. Its text is what the user is to see.
type Error struct {
	reason  string
	message string
	retryAt time.Time
	cause   error
}

func (e *Error) Error() string { return e.message }

// Unwrap returns the error of the runtime or parser, nil when there was none.
func (e *Error) Unwrap() error { return e.cause }

// WaitingReason is the reason for the container status of the waiting container.
func (e *Error) WaitingReason() string { return e.reason }

// RetryAt is when the back-off ends: until then Ensure only says so again. It
// is the zero time when there is none.
func (e *Error) RetryAt() time.Time { return e.retryAt }

// pullReason is the reason of a failed pull: the runtime may begin its message
// with one of those that CRI knows.
func pullReason(err error) string {
	known := []string{crierrors.ErrRegistryUnavailable.Error(), crierrors.ErrSignatureValidationFailed.Error()}
	message := cri.Message(err)
	i := slices.IndexFunc(known, func(reason string) bool { return strings.HasPrefix(message, reason) })
	if i < 0 {
		return ReasonPull
	}
	return known[i]
}
