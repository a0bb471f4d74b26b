package imagepull

import (
	"fmt"
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

// RetryAt is when the back-off ends: until then Ensure pulls nothing, but finds an
// image that has come by other means. It is the zero time when there is none.
func (e *Error) RetryAt() time.Time { return e.retryAt }

func invalidName(image string, err error) *Error {
	return &Error{reason: ReasonInvalidName, message: fmt.Sprintf("Failed to apply default image tag %q: %s", image, err), cause: err}
}

func inspectError(name string, err error) *Error {
	return &Error{reason: ReasonInspect, message: fmt.Sprintf("Failed to inspect image %q: %s", name, cri.Message(err)), cause: err}
}

func neverPull(image string) *Error {
	return &Error{reason: ReasonNeverPull, message: fmt.Sprintf("Container image %q is not present with pull policy of Never", image)}
}

func backOffMessage(image string) string { return fmt.Sprintf("Back-off pulling image %q", image) }

// wordPull is the reason and text of a failed pull: the runtime may begin its
// message with a reason that CRI knows.
func wordPull(image string, err error) (reason, message string) {
	message = err.Error()
	for _, known := range []struct{ reason, words string }{
		{crierrors.ErrRegistryUnavailable.Error(), "the registry is unavailable"},
		{crierrors.ErrSignatureValidationFailed.Error(), "the signature validation failed"},
	} {
		if detail, found := strings.CutPrefix(message, known.reason); found {
			return known.reason, fmt.Sprintf("image pull failed for %s because %s%s", image, known.words, detail)
		}
	}
	return ReasonPull, message
}

// tries are the errors of a pull with each of the credentials in turn. The text
// has the runtime's words, once where it says the same each time.
type tries []error

func (t tries) Error() string {
	var messages []string
	for _, err := range t {
		if message := cri.Message(err); !slices.Contains(messages, message) {
			messages = append(messages, message)
		}
	}
	if len(messages) == 1 {
		return messages[0]
	}
	return "[" + strings.Join(messages, ", ") + "]"
}

func (t tries) Unwrap() []error { return t }
