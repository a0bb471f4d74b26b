package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/edged-project/edged/metaclient/internal/store"
)

const hidden = `{"password":"correct horse battery staple"}`

// lies reports in which files beside path the secret lies open.
func lies(t *testing.T, path string) (open []string) {
	t.Helper()
	files, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		if bytes.Contains(read(t, file), []byte("battery")) {
			open = append(open, filepath.Base(file))
		}
	}
	return open
}

func TestSealedSecretIsInNoFile(t *testing.T) {
	path := storePath(t)
	s := mustOpen(t, path, sealed("k"))
	put(t, s, "secrets", "a", hidden)
	for range 3 { // pages are freed and used again
		put(t, s, "secrets", "a", hidden+" ")
		put(t, s, "secrets", "a", hidden)
	}
	fillAndFree(t, s)
	require.NoError(t, s.Close())
	assert.Empty(t, lies(t, path))

	s = mustOpen(t, path, sealed("k")) // compacted, and copied
	assert.Equal(t, hidden, contentOf(t, s, "secrets/a"))
	require.NoError(t, s.Close())
	require.FileExists(t, path+".good")
	assert.Empty(t, lies(t, path))

	require.NoError(t, os.WriteFile(path, read(t, path)[:9000], 0o600)) // set aside
	require.NoError(t, mustOpen(t, path, sealed("k")).Close())
	assert.Empty(t, lies(t, path))
}

func TestSecretThatWasStoredWithoutAKeyIsSealedWhenThereIsOne(t *testing.T) {
	path := storePath(t)
	s := mustOpen(t, path, config())
	put(t, s, "secrets", "a", hidden)
	put(t, s, "secrets", "b", hidden)
	update(t, s, func(store.Reader) []store.Change { return []store.Change{{Bucket: "secrets", Key: "b"}} })
	require.NoError(t, s.Close())
	require.NoError(t, mustOpen(t, path, config()).Close())
	require.Equal(t, []string{"meta.db", "meta.db.good"}, lies(t, path), "the test can fail")

	s = mustOpen(t, path, sealed("k"))
	assert.Equal(t, map[string]string{"secrets/a": hidden}, content(t, s))
	assert.Empty(t, lies(t, path), "not in free pages either, nor in the copy")
	put(t, s, "pods", "c", "1")
}

func TestPowerCutWhileSecretsAreSealedLeavesNoneOpen(t *testing.T) {
	path := storePath(t)
	s := mustOpen(t, path, config())
	put(t, s, "secrets", "a", hidden)
	require.NoError(t, s.Close())
	require.NoError(t, mustOpen(t, path, config()).Close())
	require.NoError(t, store.SealOnly(path, sealed("k")))
	require.Equal(t, []string{"meta.db", "meta.db.good"}, lies(t, path), "they are in free pages")

	s = mustOpen(t, path, sealed("k"))
	assert.Equal(t, hidden, contentOf(t, s, "secrets/a"))
	assert.Empty(t, lies(t, path))
	require.NoError(t, s.Close())
	before := read(t, path)
	require.NoError(t, mustOpen(t, path, sealed("k")).Close())
	assert.True(t, bytes.Equal(before, read(t, path)), "it is done once")
}

func TestSecretOfAnotherKeyCountsAsMissingAndStays(t *testing.T) {
	path := storePath(t)
	s := mustOpen(t, path, sealed("k"))
	put(t, s, "secrets", "a", hidden)
	put(t, s, "pods", "b", "1")
	require.NoError(t, s.Close())
	for _, cfg := range []store.Config{sealed("other"), config()} {
		logs, seen := observer.New(zap.ErrorLevel)
		cfg.Logger = zap.New(logs)
		s = mustOpen(t, path, cfg)
		assert.Equal(t, map[string]string{"pods/b": "1"}, content(t, s))
		require.NoError(t, s.Close())
		assert.Equal(t, 1, seen.Len())
	}
	s = mustOpen(t, path, sealed("k"))
	assert.Equal(t, hidden, contentOf(t, s, "secrets/a"), "the key came back")
}

func TestSecretInAnothersPlaceIsNotRead(t *testing.T) {
	path := storePath(t)
	s := mustOpen(t, path, sealed("k"))
	put(t, s, "secrets", "a", hidden)
	put(t, s, "secrets", "b", "other")
	require.NoError(t, s.Close())
	edit(t, path, func(b *bolt.Bucket) error { return b.Put([]byte("b"), bytes.Clone(b.Get([]byte("a")))) })
	s = mustOpen(t, path, sealed("k"))
	assert.Equal(t, map[string]string{"secrets/a": hidden}, content(t, s))
}

func TestDamagedSecretLeavesNoOpenEvidence(t *testing.T) {
	path := storePath(t)
	require.NoError(t, mustOpen(t, path, sealed("k")).Close())
	edit(t, path, func(b *bolt.Bucket) error { return b.Put([]byte("a"), []byte("00000000 "+hidden)) })
	s := mustOpen(t, path, sealed("k"))
	assert.Empty(t, content(t, s))
	put(t, s, "pods", "b", "1")
	require.NoError(t, s.Close())
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.View(func(tx *bolt.Tx) error {
		assert.Equal(t, "damaged secret, not kept", string(tx.Bucket([]byte("quarantine")).Get([]byte("secrets/a"))))
		return nil
	}))
}

func edit(t *testing.T, path string, change func(secrets *bolt.Bucket) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bolt.Tx) error { return change(tx.Bucket([]byte("secrets"))) }))
	require.NoError(t, db.Close())
}

func TestShortKeyIsRefused(t *testing.T) {
	for _, key := range []string{"", strings.Repeat("x", 31)} {
		cfg := config()
		cfg.Key = []byte(key)
		_, err := store.Open(storePath(t), cfg)
		require.ErrorContains(t, err, "at least 32 are needed")
	}
}

func FuzzValuesOfAnyBytesAreReadOrSetAside(f *testing.F) {
	f.Add([]byte("83dcefb7 1"))
	f.Add([]byte("2d4a5f6b \x00sealed1"))
	f.Add([]byte("\x00sealed1"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) == 0 {
			return
		}
		path := storePath(t)
		s, err := store.Open(path, sealed("k"))
		require.NoError(t, err)
		require.NoError(t, s.Close())
		for _, key := range []string{"a", "b"} {
			edit(t, path, func(b *bolt.Bucket) error { return b.Put([]byte(key), raw) })
		}
		s, err = store.Open(path, sealed("k"))
		require.NoError(t, err)
		all := content(t, s)
		require.Subset(t, []string{"secrets/a", "secrets/b"}, keys(all))
		require.NoError(t, s.Close())
	})
}

func keys(m map[string]string) []string {
	var all []string
	for key := range m {
		all = append(all, key)
	}
	return all
}
