package metaclient

import (
	"fmt"
	"hash/crc32"
	"runtime/debug"
	"strconv"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// boltStore is the store on a bbolt file.
type boltStore struct {
	db  *bolt.DB
	log *zap.Logger
}

func (s *boltStore) view(read func(r reader) error) error {
	return guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error { return read(txReader{tx, s.log}) })
	})
}

func (s *boltStore) update(plan func(r reader) []change) error {
	wanted := false
	err := s.view(func(r reader) error {
		wanted = len(effective(r, plan(r))) > 0
		return nil
	})
	if err != nil || !wanted {
		return err
	}
	return guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			r := txReader{tx, s.log}
			return write(tx, effective(r, plan(r)))
		})
	})
}

func write(tx *bolt.Tx, changes []change) error {
	for _, c := range changes {
		bucket, key := tx.Bucket([]byte(c.bucket)), []byte(c.key)
		var err error
		if c.value == nil {
			err = bucket.Delete(key)
		} else {
			err = bucket.Put(key, sealValue(c.value))
		}
		if err != nil {
			return fmt.Errorf("write %s/%s: %w", c.bucket, c.key, err)
		}
	}
	return nil
}

func (s *boltStore) close() error {
	return s.db.Close()
}

type txReader struct {
	tx  *bolt.Tx
	log *zap.Logger
}

func (r txReader) get(bucket, key string) []byte {
	sealed := r.tx.Bucket([]byte(bucket)).Get([]byte(key))
	if sealed == nil {
		return nil
	}
	return r.unseal(bucket, key, sealed)
}

func (r txReader) each(bucket string, f func(key string, value []byte)) {
	cursor := r.tx.Bucket([]byte(bucket)).Cursor()
	for k, sealed := cursor.First(); k != nil; k, sealed = cursor.Next() {
		if value := r.unseal(bucket, string(k), sealed); value != nil {
			f(string(k), value)
		}
	}
}

func (r txReader) unseal(bucket, key string, sealed []byte) []byte {
	value, err := unsealValue(sealed)
	if err != nil {
		r.log.Error("stored value is damaged", zap.String("bucket", bucket), zap.String("key", key), zap.Error(err))
		return nil
	}
	return value
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksumLen is eight hexadecimal digits and a space.
const checksumLen = 9

func sealValue(value []byte) []byte {
	sealed := fmt.Appendf(make([]byte, 0, checksumLen+len(value)), "%08x ", crc32.Checksum(value, castagnoli))
	return append(sealed, value...)
}

func unsealValue(sealed []byte) ([]byte, error) {
	if len(sealed) <= checksumLen || sealed[checksumLen-1] != ' ' {
		return nil, fmt.Errorf("value of %d bytes has no checksum", len(sealed))
	}
	want, err := strconv.ParseUint(string(sealed[:checksumLen-1]), 16, 32)
	if err != nil {
		return nil, fmt.Errorf("read checksum: %w", err)
	}
	value := sealed[checksumLen:]
	if got := crc32.Checksum(value, castagnoli); got != uint32(want) {
		return nil, fmt.Errorf("checksum is %08x, want %08x", got, want)
	}
	return value, nil
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
