package metaclient

import (
	"slices"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// valueCheck says whether a value can be used by this program.
type valueCheck func(bucket, key string, value []byte) error

// badValue is a value that cannot be used, as it is stored.
type badValue struct {
	bucket, key string
	raw         []byte
	err         error
}

// scrub reads all values and moves those that cannot be used into the quarantine
// bucket, so that one bad value costs one object and no evidence.
func (s *boltStore) scrub(check valueCheck) error {
	var bad []badValue
	err := guard(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			bad = append(findBad(tx, bucketPods, check), findBad(tx, bucketStatuses, check)...)
			return nil
		})
	})
	if err != nil || len(bad) == 0 {
		return err
	}
	for _, v := range bad {
		s.log.Error("stored value is damaged and was set aside",
			zap.String("bucket", v.bucket), zap.String("key", v.key), zap.Error(v.err))
	}
	return guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error { return quarantine(tx, bad) })
	})
}

func findBad(tx *bolt.Tx, bucket string, check valueCheck) []badValue {
	var bad []badValue
	cursor := tx.Bucket([]byte(bucket)).Cursor()
	for k, raw := cursor.First(); k != nil; k, raw = cursor.Next() {
		value, err := unsealValue(raw)
		if err == nil {
			err = check(bucket, string(k), value)
		}
		if err != nil {
			bad = append(bad, badValue{bucket, string(k), slices.Clone(raw), err})
		}
	}
	return bad
}

func quarantine(tx *bolt.Tx, bad []badValue) error {
	for _, v := range bad {
		if err := tx.Bucket([]byte(bucketQuarantine)).Put([]byte(v.bucket+"/"+v.key), v.raw); err != nil {
			return err
		}
		if err := tx.Bucket([]byte(v.bucket)).Delete([]byte(v.key)); err != nil {
			return err
		}
	}
	return nil
}
