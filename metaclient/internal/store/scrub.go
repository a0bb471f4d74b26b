package store

import (
	"errors"
	"slices"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// finding is a value that cannot stay as it is stored.
type finding struct {
	bucket, key string
	raw         []byte
	plain       []byte // to be sealed; nil: to be set aside
	err         error
}

// scrub reads all values. It moves those that cannot be used into the quarantine
// bucket, so that one bad value costs one object and no evidence, and seals what
// was written when there was no key. It returns whether it has sealed something, and
// then leaves a mark in the file that it is to be compacted.
//
// What is sealed with another key stays where it is: the key may come back.
func (s *File) scrub() (sealed bool, err error) {
	var findings []finding
	closed := 0
	err = guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			for _, b := range s.buckets {
				found, other := s.inspect(tx, b)
				findings, closed = append(findings, found...), closed+other
			}
			return nil
		})
	})
	if closed > 0 {
		s.log.Error("stored secrets are sealed with another key, they count as missing", zap.Int("secrets", closed))
	}
	if err != nil || len(findings) == 0 {
		return false, err
	}
	for _, f := range findings {
		if f.plain != nil {
			sealed = true
			continue
		}
		s.log.Error("stored value is damaged and was set aside",
			zap.String("bucket", f.bucket), zap.String("key", f.key), zap.Error(f.err))
	}
	return sealed, guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error { return s.mend(tx, findings) })
	})
}

// inspect returns what cannot stay in the bucket, and how many values there are
// closed.
func (s *File) inspect(tx *bolt.Tx, b Bucket) (found []finding, closed int) {
	cursor := tx.Bucket([]byte(b.Name)).Cursor()
	for k, raw := cursor.First(); k != nil; k, raw = cursor.Next() {
		f := finding{bucket: b.Name, key: string(k), raw: slices.Clone(raw)}
		value, err := s.decode(b.Name, f.key, raw)
		if err == nil && b.Check != nil {
			err = b.Check(f.key, value)
		}
		switch {
		case errors.Is(err, errOtherKey):
			closed++
		case err != nil:
			f.err = err
			found = append(found, f)
		case b.Secret && s.seal != nil && !isSealed(raw[checksumLen:]):
			f.plain = slices.Clone(value)
			found = append(found, f)
		}
	}
	return found, closed
}

func (s *File) mend(tx *bolt.Tx, findings []finding) error {
	for _, f := range findings {
		bucket := tx.Bucket([]byte(f.bucket))
		if f.plain != nil {
			err := bucket.Put([]byte(f.key), s.encode(f.bucket, f.key, f.plain))
			if err == nil {
				err = tx.Bucket([]byte(bucketSchema)).Put([]byte(keyCompactDue), []byte("1"))
			}
			if err != nil {
				return err
			}
			continue
		}
		if err := tx.Bucket([]byte(bucketQuarantine)).Put([]byte(f.bucket+"/"+f.key), s.evidence(f)); err != nil {
			return err
		}
		if err := bucket.Delete([]byte(f.key)); err != nil {
			return err
		}
	}
	return nil
}

// evidence is the value as it was found. Of a secret that may lie open nothing is
// kept but the fact.
func (s *File) evidence(f finding) []byte {
	if value, err := checkChecksum(f.raw); !s.secret[f.bucket] || err == nil && isSealed(value) {
		return f.raw
	}
	return []byte("damaged secret, not kept")
}
