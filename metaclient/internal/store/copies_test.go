package store_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// fillAndFree leaves a large file with one small value.
func fillAndFree(t *testing.T, s store.Store) {
	t.Helper()
	put(t, s, "pods", "kept", "1")
	for i := range 20 {
		put(t, s, "pods", strconv.Itoa(i), strings.Repeat("x", 100_000))
	}
	update(t, s, func(store.Reader) (changes []store.Change) {
		for i := range 20 {
			changes = append(changes, store.Change{Bucket: "pods", Key: strconv.Itoa(i)})
		}
		return changes
	})
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size()
}

func TestFileWithMuchFreeSpaceIsCompactedWhenItIsOpened(t *testing.T) {
	path := storePath(t)
	s := mustOpen(t, path, config())
	fillAndFree(t, s)
	require.NoError(t, s.Close())
	require.Greater(t, size(t, path), int64(1<<20))
	s = mustOpen(t, path, config())
	assert.Equal(t, map[string]string{"pods/kept": "1"}, content(t, s))
	assert.Less(t, size(t, path), int64(1<<17))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	put(t, s, "pods", "b", "2")
	assert.Len(t, content(t, s), 2)
}

func TestDamagedFileIsReplacedByTheLastGoodCopy(t *testing.T) {
	path := storePath(t)
	s := mustOpen(t, path, config())
	put(t, s, "pods", "a", "1")
	require.NoError(t, s.Close())
	s = mustOpen(t, path, config()) // the copy is made here
	put(t, s, "pods", "b", "2")
	require.NoError(t, s.Close())

	damaged := read(t, path)
	clear(damaged[2*os.Getpagesize():])
	for name, content := range map[string][]byte{"pages gone": damaged, "garbage": bytes.Repeat([]byte("?"), 9000)} {
		require.NoError(t, os.WriteFile(path, content, 0o644), name)
		logs, seen := observer.New(zap.ErrorLevel)
		cfg := config()
		cfg.Logger = zap.New(logs)
		s = mustOpen(t, path, cfg)
		assert.Equal(t, "1", contentOf(t, s, "pods/a"))
		require.NoError(t, s.Close())
		require.Equal(t, 1, seen.Len())
		aside := seen.All()[0].ContextMap()["aside"].(string)
		assert.True(t, bytes.Equal(content, read(t, aside)))
	}
	files, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	for _, file := range files {
		info, err := os.Stat(file)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file)
	}
}

func TestFileThatIsLostIsReplacedByTheLastGoodCopy(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"missing":        os.Remove,
		"cut to nothing": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			path := withCopy(t)
			require.NoError(t, lose(path))
			s := mustOpen(t, path, config())
			assert.Equal(t, map[string]string{"pods/a": "1"}, content(t, s))
			require.NoError(t, s.Close())
			require.NoError(t, lose(path))
			require.NoError(t, os.WriteFile(path+".good", bytes.Repeat([]byte("?"), 9000), 0o600))
			assert.Empty(t, content(t, mustOpen(t, path, config())), "a damaged copy is no copy")
		})
	}
}

// withCopy makes a store and its good copy.
func withCopy(t *testing.T) (path string) {
	t.Helper()
	path = storePath(t)
	s := mustOpen(t, path, config())
	put(t, s, "pods", "a", "1")
	require.NoError(t, s.Close())
	require.NoError(t, mustOpen(t, path, config()).Close())
	return path
}

func TestGoodCopyThatCannotBeUsedForTheMomentIsNotGivenUp(t *testing.T) {
	for name, damaged := range map[string][]byte{"damaged": bytes.Repeat([]byte("?"), 9000), "cut to nothing": {}} {
		t.Run(name, func(t *testing.T) {
			path := withCopy(t)
			require.NoError(t, os.WriteFile(path, damaged, 0o600))
			require.NoError(t, os.MkdirAll(path+".new/full", 0o700)) // no draft can be written
			for range 3 {
				_, err := store.Open(path, config())
				require.Error(t, err)
				assert.True(t, bytes.Equal(damaged, read(t, path)), "the file is left alone")
			}
			aside, err := filepath.Glob(path + ".corrupt-*")
			require.NoError(t, err)
			assert.Empty(t, aside)
			require.NoError(t, os.RemoveAll(path+".new"))
			assert.Equal(t, map[string]string{"pods/a": "1"}, content(t, mustOpen(t, path, config())))
		})
	}
}

func contentOf(t *testing.T, s store.Store, key string) string { return content(t, s)[key] }

func TestDamagedFileAndDamagedCopyGiveAnEmptyStore(t *testing.T) {
	path := storePath(t)
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("?"), 9000), 0o600))
	require.NoError(t, os.WriteFile(path+".good", bytes.Repeat([]byte("!"), 9000), 0o600))
	s := mustOpen(t, path, config())
	assert.Empty(t, content(t, s))
	put(t, s, "pods", "a", "1")
}

func TestCopyIsWrittenOnlyWhenThereIsSomethingNew(t *testing.T) {
	path := storePath(t)
	s := mustOpen(t, path, config())
	put(t, s, "pods", "a", "1")
	require.NoError(t, s.Close())
	require.NoError(t, mustOpen(t, path, config()).Close())
	before, err := os.Stat(path + ".good")
	require.NoError(t, err)
	require.NoError(t, mustOpen(t, path, config()).Close())
	after, err := os.Stat(path + ".good")
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after), "it is the same file, not a new one in its place")
}

// A file as the first version of the program left it: no buckets but for pods.
func TestFileOfTheFirstVersionIsTakenOver(t *testing.T) {
	path := storePath(t)
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	one := fmt.Sprintf("%08x 1", crc32.Checksum([]byte("1"), crc32.MakeTable(crc32.Castagnoli)))
	require.NoError(t, db.Update(func(tx *bolt.Tx) error {
		for bucket, entry := range map[string][2]string{
			"edged": {"schema", "1"}, "pods": {"a", one}, "quarantine": {"x", "y"}, "podstatuses": {"a", one},
		} {
			b, err := tx.CreateBucket([]byte(bucket))
			require.NoError(t, err)
			require.NoError(t, b.Put([]byte(entry[0]), []byte(entry[1])))
		}
		return nil
	}))
	require.NoError(t, db.Close())
	s := mustOpen(t, path, config())
	put(t, s, "secrets", "b", "2")
	assert.Equal(t, "2", contentOf(t, s, "secrets/b"))
	assert.Equal(t, "1", contentOf(t, s, "pods/a"))
}
