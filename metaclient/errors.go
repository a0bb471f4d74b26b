package metaclient

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// What a read may fail with, beside an error for which apierrors.IsNotFound holds:
// only that one says that the object does not exist.
var (
	// ErrOffline says that the object is not on the node and that the upstream
	// cannot be asked for it.
	ErrOffline = errors.New("upstream is offline")
	// ErrTimeout says that the object is not on the node and that the upstream did
	// not answer in time.
	ErrTimeout = errors.New("upstream did not answer in time")
)

// ErrLocked says that another process has the store open.
var ErrLocked = store.ErrLocked

// VersionError says that a program with a newer idea of the store wrote it. The
// file was not touched.
type VersionError = store.VersionError

func notFound(ref Ref) error { return apierrors.NewNotFound(ref.Kind.groupResource(), ref.Name) }

// classify words the error of a question to the upstream.
func classify(about string, err error) error {
	switch {
	case errors.Is(err, ErrOffline), errors.Is(err, ErrTimeout), apierrors.IsNotFound(err):
		return fmt.Errorf("%s: %w", about, err)
	case errors.Is(err, context.DeadlineExceeded), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return fmt.Errorf("%s: %w: %w", about, ErrTimeout, err)
	default:
		return fmt.Errorf("%s: ask upstream: %w", about, err)
	}
}
