package metaclient

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrLocked says that another process has the store open.
var ErrLocked = errors.New("store is in use by another process")

// errCorrupt says that a store's file cannot be trusted as a whole.
var errCorrupt = errors.New("store is corrupt")

// VersionError says that a program with a newer idea of the store wrote it. The
// file was not touched.
type VersionError struct {
	Stored    int // version in the file
	Supported int // newest version that this program reads
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("store has schema version %d, this program supports up to %d", e.Stored, e.Supported)
}

// Buckets of the store, all keyed by pod UID.
const (
	bucketPods     = "pods"
	bucketStatuses = "podstatuses"
)

// store keeps small values by bucket and key, durably.
type store interface {
	// view calls read with one consistent state.
	view(read func(r reader) error) error
	// update makes the changes that plan asks for, all or none, and returns when
	// they are durable. plan must be pure: it is asked first on a plain view, and
	// again with writers shut out only if it wants something to change. So an
	// update that changes nothing writes nothing.
	update(plan func(r reader) []change) error
	// close is idempotent.
	close() error
}

// reader reads one state of a store. Values are valid only until the call that
// gave the reader returns. Values that fail their checksum read as absent.
type reader interface {
	get(bucket, key string) []byte
	each(bucket string, f func(key string, value []byte))
}

// change sets a key, or deletes it when value is nil.
type change struct {
	bucket, key string
	value       []byte
}

// effective drops the changes that would change nothing.
func effective(r reader, changes []change) []change {
	var kept []change
	for _, c := range changes {
		if old := r.get(c.bucket, c.key); (old == nil) != (c.value == nil) || !bytes.Equal(old, c.value) {
			kept = append(kept, c)
		}
	}
	return kept
}
