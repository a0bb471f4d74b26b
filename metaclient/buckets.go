package metaclient

import (
	"github.com/edged-project/edged/metaclient/internal/store"
)

// Buckets of pods, keyed by UID. An older program wrote them, too.
const (
	bucketPods     = "pods"
	bucketStatuses = "podstatuses"
)

// buckets are all that the store keeps: pods and their statuses, each kind of
// object, tokens, and what waits to be sent.
func buckets() []store.Bucket {
	all := []store.Bucket{
		{Name: bucketPods, Check: func(key string, value []byte) error {
			_, err := decodePod(key, value)
			return err
		}},
		{Name: bucketStatuses, Check: func(_ string, value []byte) error {
			_, err := decodeStatus(value)
			return err
		}},
		{Name: bucketTokens, Secret: true, Check: func(_ string, value []byte) error {
			_, err := decodeToken(value)
			return err
		}},
		{Name: bucketOutbox, Check: func(key string, value []byte) error {
			_, err := decodeReport(topicOf(key), value)
			return err
		}},
	}
	for _, kind := range allKinds() {
		all = append(all, store.Bucket{Name: kind.resource(), Secret: kind == KindSecret, Check: checkRecord(kind)})
	}
	return all
}
