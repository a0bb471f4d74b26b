package store

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// File is a Store on a bbolt file. Make one with Open.
type File struct {
	db      *bolt.DB
	buckets []Bucket
	secret  map[string]bool // buckets whose values are sealed
	seal    *seal           // nil when there is no key
	log     *zap.Logger
	commits commits
}

// View implements Store.
func (s *File) View(read func(r Reader) error) error {
	return guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error { return read(txReader{tx, s}) })
	})
}

// Update implements Store.
func (s *File) Update(plan func(r Reader) []Change) (changed bool, err error) {
	wanted := false
	err = s.View(func(r Reader) error {
		wanted = len(effective(r, plan(r))) > 0
		return nil
	})
	if err != nil || !wanted {
		return false, err
	}
	return s.commits.do(plan, s.commit)
}

// errUnchanged rolls a transaction back that would write what is there already.
var errUnchanged = errors.New("nothing to write")

// commit makes the changes of all plans, each on top of those before it, and says
// which of them changed something.
func (s *File) commit(plans []planner) ([]bool, error) {
	changed := make([]bool, len(plans))
	err := guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			r := txReader{tx, s}
			for i, plan := range plans {
				changes := effective(r, plan(r))
				if err := s.write(tx, changes); err != nil {
					return err
				}
				changed[i] = len(changes) > 0
			}
			if !slices.Contains(changed, true) {
				return errUnchanged
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return make([]bool, len(plans)), err
	}
	return changed, nil
}

func (s *File) write(tx *bolt.Tx, changes []Change) error {
	for _, c := range changes {
		bucket, key := tx.Bucket([]byte(c.Bucket)), []byte(c.Key)
		var err error
		if c.Value == nil {
			err = bucket.Delete(key)
		} else {
			err = bucket.Put(key, s.encode(c.Bucket, c.Key, c.Value))
		}
		if err != nil {
			return fmt.Errorf("write %s/%s: %w", c.Bucket, c.Key, err)
		}
	}
	return nil
}

// Close implements Store.
func (s *File) Close() error {
	return s.db.Close()
}

type txReader struct {
	tx    *bolt.Tx
	store *File
}

func (r txReader) Get(bucket, key string) []byte {
	raw := r.tx.Bucket([]byte(bucket)).Get([]byte(key))
	if raw == nil {
		return nil
	}
	return r.decode(bucket, key, raw)
}

func (r txReader) Each(bucket string, f func(key string, value []byte)) {
	cursor := r.tx.Bucket([]byte(bucket)).Cursor()
	for k, raw := cursor.First(); k != nil; k, raw = cursor.Next() {
		if value := r.decode(bucket, string(k), raw); value != nil {
			f(string(k), value)
		}
	}
}

func (r txReader) decode(bucket, key string, raw []byte) []byte {
	value, err := r.store.decode(bucket, key, raw)
	if err != nil {
		if !errors.Is(err, errOtherKey) { // told once, at open
			r.store.log.Error("stored value is damaged", zap.String("bucket", bucket), zap.String("key", key), zap.Error(err))
		}
		return nil
	}
	return value
}

// guard turns a panic into an error. bbolt reads a mapped file: a sector that
// cannot be read, or one that holds nonsense, comes as a memory fault or a failed
// assertion, and must not take the agent down.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errCorrupt, p)
		}
	}()
	return f()
}
