package cri

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrExecTimeout is what ExecSync returns when the command did not end in time.
var ErrExecTimeout = errors.New("command timed out")

// ExitError is what ExecSync returns, together with the output, when the
// command ended with a code other than 0.
type ExitError struct {
	Code int
}

func (e *ExitError) Error() string { return fmt.Sprintf("command exited with code %d", e.Code) }

// IsNotFound reports whether the runtime does not know the object.
func IsNotFound(err error) bool { return status.Code(err) == codes.NotFound }

// IsUnimplemented reports whether the runtime does not know the call.
func IsUnimplemented(err error) bool { return status.Code(err) == codes.Unimplemented }

// Message is the text of an error as a person is to see it in a pod's status:
// the runtime's own words where the error came from the runtime, without the
// gRPC code and without what the callers have put around it.
func Message(err error) string {
	var fromRuntime interface{ GRPCStatus() *status.Status }
	if errors.As(err, &fromRuntime) {
		return fromRuntime.GRPCStatus().Message()
	}
	return err.Error()
}
