package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/metaclient/internal/store"
)

func config() store.Config {
	return store.Config{Buckets: []store.Bucket{{Name: "pods"}, {Name: "secrets", Secret: true}}}
}

func sealed(key string) store.Config {
	cfg := config()
	cfg.Key = bytes.Repeat([]byte(key), 32)
	return cfg
}

func storePath(t testing.TB) string { return filepath.Join(t.TempDir(), "meta.db") }

func mustOpen(t testing.TB, path string, cfg store.Config) store.Store {
	t.Helper()
	s, err := store.Open(path, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func update(t testing.TB, s store.Store, plan func(r store.Reader) []store.Change) (changed bool) {
	t.Helper()
	changed, err := s.Update(plan)
	require.NoError(t, err)
	return changed
}

func put(t testing.TB, s store.Store, bucket, key, value string) {
	t.Helper()
	update(t, s, func(store.Reader) []store.Change {
		return []store.Change{{Bucket: bucket, Key: key, Value: []byte(value)}}
	})
}

// content is all that a store holds, by "bucket/key".
func content(t testing.TB, s store.Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, s.View(func(r store.Reader) error {
		for _, bucket := range []string{"pods", "secrets"} {
			r.Each(bucket, func(key string, value []byte) { all[bucket+"/"+key] = string(value) })
		}
		return nil
	}))
	return all
}

// memory is the store as its contract says it is, and the model of the others.
type memory struct {
	mu     sync.Mutex // guards the rest
	values map[string][]byte
	closed bool
}

func (m *memory) View(read func(r store.Reader) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.New("not open")
	}
	return read(m)
}

func (m *memory) Update(plan func(r store.Reader) []store.Change) (changed bool, err error) {
	err = m.View(func(r store.Reader) error {
		before := maps.Clone(m.values)
		defer func() { changed = !maps.EqualFunc(before, m.values, bytes.Equal) }()
		for _, c := range plan(r) {
			if c.Value == nil {
				delete(m.values, c.Bucket+"/"+c.Key)
				continue
			}
			m.values[c.Bucket+"/"+c.Key] = bytes.Clone(c.Value)
		}
		return nil
	})
	return changed, err
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *memory) Get(bucket, key string) []byte { return m.values[bucket+"/"+key] }

func (m *memory) Each(bucket string, f func(key string, value []byte)) {
	for _, name := range slices.Sorted(maps.Keys(m.values)) {
		if b, key, _ := bytes.Cut([]byte(name), []byte("/")); string(b) == bucket {
			f(string(key), m.values[name])
		}
	}
}

// stores are all that have to conform.
func stores(t *testing.T, test func(t *testing.T, s store.Store)) {
	t.Run("file", func(t *testing.T) { test(t, mustOpen(t, storePath(t), config())) })
	t.Run("sealed file", func(t *testing.T) { test(t, mustOpen(t, storePath(t), sealed("k"))) })
	t.Run("memory", func(t *testing.T) { test(t, &memory{values: map[string][]byte{}}) })
}

func TestStoresKeepWhatWasWritten(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		put(t, s, "pods", "a", "1")
		put(t, s, "secrets", "a", "2")
		put(t, s, "pods", "a", "3")
		put(t, s, "pods", "b", "4")
		update(t, s, func(r store.Reader) []store.Change {
			assert.Equal(t, "3", string(r.Get("pods", "a")))
			assert.Nil(t, r.Get("pods", "none"))
			return []store.Change{{Bucket: "pods", Key: "a"}, {Bucket: "pods", Key: "never was"}, {Bucket: "secrets", Key: "b", Value: []byte("5")}}
		})
		assert.Equal(t, map[string]string{"pods/b": "4", "secrets/a": "2", "secrets/b": "5"}, content(t, s))
	})
}

func TestStoresGiveTheErrorOfAViewBack(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		full := errors.New("enough")
		require.ErrorIs(t, s.View(func(store.Reader) error { return full }), full)
	})
}

func TestClosedStoresFail(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		require.NoError(t, s.Close())
		require.NoError(t, s.Close())
		require.Error(t, s.View(func(store.Reader) error { return nil }))
		_, err := s.Update(func(store.Reader) []store.Change { return nil })
		require.Error(t, err)
	})
}

func TestStoresTakeUpdatesFromAllSides(t *testing.T) {
	stores(t, func(t *testing.T, s store.Store) {
		var writers sync.WaitGroup
		for w := range 8 {
			writers.Go(func() {
				for range 10 {
					changed, err := s.Update(func(r store.Reader) []store.Change {
						n := len(r.Get("pods", "counter"))
						return []store.Change{
							{Bucket: "pods", Key: "counter", Value: bytes.Repeat([]byte("x"), n+1)},
							{Bucket: "pods", Key: fmt.Sprint(w), Value: []byte("x")},
						}
					})
					assert.NoError(t, err)
					assert.True(t, changed)
				}
			})
		}
		writers.Wait()
		assert.Len(t, content(t, s)["pods/counter"], 80, "none is lost, each sees those before")
	})
}

func TestFileIsAsItsModel(t *testing.T) {
	path := storePath(t)
	rapid.Check(t, func(rt *rapid.T) {
		require.NoError(t, errors.Join(os.RemoveAll(path), os.RemoveAll(path+".good")))
		model := &memory{values: map[string][]byte{}}
		file, err := store.Open(path, sealed("k"))
		require.NoError(t, err)
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			if rapid.IntRange(0, 4).Draw(rt, "reopen") == 0 {
				require.NoError(t, file.Close())
				file, err = store.Open(path, sealed("k"))
				require.NoError(t, err)
			}
			var changes []store.Change
			for range rapid.IntRange(0, 3).Draw(rt, "changes") {
				c := store.Change{
					Bucket: rapid.SampledFrom([]string{"pods", "secrets"}).Draw(rt, "bucket"),
					Key:    rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key"),
				}
				if rapid.Bool().Draw(rt, "set") {
					c.Value = []byte(rapid.StringN(1, 2000, -1).Draw(rt, "value"))
				}
				changes = append(changes, c)
			}
			plan := func(store.Reader) []store.Change { return changes }
			require.Equal(t, update(t, model, plan), update(t, file, plan))
			require.Equal(t, content(t, model), content(t, file))
		}
		require.NoError(t, file.Close())
	})
}

func TestWhatChangesNothingWritesNothing(t *testing.T) {
	path := storePath(t)
	s := mustOpen(t, path, sealed("k"))
	put(t, s, "secrets", "a", "1")
	before := read(t, path)
	for range 10 {
		put(t, s, "secrets", "a", "1")
		update(t, s, func(store.Reader) []store.Change { return []store.Change{{Bucket: "pods", Key: "none"}} })
	}
	assert.True(t, bytes.Equal(before, read(t, path)))
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}
