package store

import (
	"bytes"
	"errors"
	"fmt"

	"go.uber.org/zap"
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

// Store keeps small values by bucket and key, durably. Its methods may be called
// from several goroutines.
type Store interface {
	// View calls read with one consistent state.
	View(read func(r Reader) error) error
	// Update makes the changes that plan asks for, all or none, and returns when
	// they are durable. plan must be pure and may be asked more than once: first on
	// a plain view, and again with writers shut out only if it wants something to
	// change. So an update that changes nothing writes nothing, and says nothing of
	// whether it could. Updates that come while another is being written share the
	// next commit.
	Update(plan func(r Reader) []Change) (changed bool, err error)
	// Close is idempotent. What is called later fails.
	Close() error
}

// Reader reads one state of a store. Values are valid only until the call that
// gave the reader returns. Values that fail their checksum read as absent.
type Reader interface {
	Get(bucket, key string) []byte
	Each(bucket string, f func(key string, value []byte))
}

// Change sets a key, or deletes it when Value is nil. Of several changes of a key in
// one update the last counts.
type Change struct {
	Bucket, Key string
	Value       []byte
}

// Bucket is a kind of value that a store keeps.
type Bucket struct {
	Name string
	// Secret values are sealed when there is a key.
	Secret bool
	// Check says whether a value can be used by this program. One that cannot is
	// set aside when the store is opened. Default: any can.
	Check func(key string, value []byte) error
}

// Config says what a store keeps.
type Config struct {
	Buckets []Bucket
	// Key seals the values of secret buckets, of any length from 32 bytes. Default:
	// they lie in the file as they are.
	Key []byte
	// Logger default: no log.
	Logger *zap.Logger
}

// effective drops the changes that would change nothing. Of several changes of one
// key the last counts.
func effective(r Reader, changes []Change) []Change {
	type place struct{ bucket, key string }
	last := make(map[place]int, len(changes))
	for i, c := range changes {
		last[place{c.Bucket, c.Key}] = i
	}
	var kept []Change
	for i, c := range changes {
		if last[place{c.Bucket, c.Key}] != i {
			continue
		}
		if old := r.Get(c.Bucket, c.Key); (old == nil) != (c.Value == nil) || !bytes.Equal(old, c.Value) {
			kept = append(kept, c)
		}
	}
	return kept
}
