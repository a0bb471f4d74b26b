package metaclient

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// White-box: what the store gives back is decoded by pure functions. Whatever its
// bytes are, it is an error without a word of them, or it is used.
func FuzzStoredValuesAreDecodedOrRefused(f *testing.F) {
	f.Add("default/a", []byte(`{"version":"1","object":{"metadata":{"namespace":"default","name":"a"},"data":{"s3cret":"czNjcmV0"}}}`))
	f.Add("a", []byte(`{"absent":true}`))
	f.Add("event/a/b", []byte(`{"metadata":{"name":"b"}}`))
	f.Add("default/a", []byte(`{"object":{"data":{"s3cret":"s3cret!"}}}`))
	f.Add("default/a", []byte(`{"object":"s3cret"}`))
	f.Add("default/a/b/c", []byte(`{"spec":{"expirationSeconds":"s3cret"},"status":{"token":5}}`))
	f.Add("uid", []byte(`{"metadata":{"uid":"uid"},"status":{"phase":[]}}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		for _, bucket := range buckets() {
			err := bucket.Check(key, value)
			if err != nil && bucket.Secret && !strings.Contains(key, "s3cret") {
				require.NotContains(t, err.Error(), "s3cret")
			}
		}
	})
}
