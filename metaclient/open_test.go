package metaclient_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/metaclient"
)

// editStore changes a closed store with bbolt itself.
func editStore(t *testing.T, path string, edit func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(edit))
	require.NoError(t, db.Close())
}

// quarantined lists the files that were set aside beside path.
func quarantined(t *testing.T, path string) []string {
	t.Helper()
	aside, err := filepath.Glob(path + ".corrupt-*")
	require.NoError(t, err)
	return aside
}

func TestOpenCreatesAPrivateFileAndItsFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "var", "lib", "meta.db")
	mustOpen(t, path, watchFunc(silent), metaclient.Config{})
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	info, err = os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestOpenTakesARestoredFilesPermissionsBack(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	require.NoError(t, os.Chmod(path, 0o644))
	mustOpen(t, path, watchFunc(silent), metaclient.Config{})
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestCloseIsIdempotentAndLaterCallsFail(t *testing.T) {
	c, err := metaclient.Open(storePath(t), watchFunc(silent), metaclient.Config{})
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	_, err = c.Pods(t.Context())
	require.ErrorContains(t, err, "not open")
	require.ErrorContains(t, c.Release(t.Context(), "u"), "not open")
}

func TestOpenOfAStoreInUseSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := storePath(t)
		first := mustOpen(t, path, watchFunc(silent), metaclient.Config{})
		began := time.Now()
		_, err := metaclient.Open(path, watchFunc(silent), metaclient.Config{})
		require.ErrorIs(t, err, metaclient.ErrLocked)
		require.ErrorContains(t, err, path)
		assert.LessOrEqual(t, time.Since(began), 5*time.Second)
		assert.Empty(t, quarantined(t, path))

		time.AfterFunc(2*time.Second, func() { assert.NoError(t, first.Close()) })
		mustOpen(t, path, watchFunc(silent), metaclient.Config{})
	})
}

func TestStoreOfANewerVersionIsRefusedAndLeftAlone(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	editStore(t, path, func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("edged")).Put([]byte("schema"), []byte("7"))
	})
	require.NoError(t, os.Chmod(path, 0o640))
	before := readFile(t, path)
	_, err := metaclient.Open(path, watchFunc(silent), metaclient.Config{})
	var version *metaclient.VersionError
	require.ErrorAs(t, err, &version)
	assert.Equal(t, metaclient.VersionError{Stored: 7, Supported: 1}, *version)
	require.ErrorContains(t, err, "version 7")
	require.ErrorContains(t, err, "up to 1")
	require.ErrorContains(t, err, path)

	unchanged(t, before, path)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	assert.Empty(t, quarantined(t, path))
}

func TestDatabaseOfAnotherProgramIsRefusedAndLeftAlone(t *testing.T) {
	path := storePath(t)
	editStore(t, path, func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("v1"))
		return err
	})
	before := readFile(t, path)
	_, err := metaclient.Open(path, watchFunc(silent), metaclient.Config{})
	require.ErrorContains(t, err, "another program")
	unchanged(t, before, path)
	assert.Empty(t, quarantined(t, path))
}

func TestPathThatTheSystemRefusesIsNotSetAside(t *testing.T) {
	folder := t.TempDir()
	_, err := metaclient.Open(folder, watchFunc(silent), metaclient.Config{})
	require.ErrorContains(t, err, "not a regular file")
	require.DirExists(t, folder)

	file := filepath.Join(folder, "file")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	_, err = metaclient.Open(filepath.Join(file, "meta.db"), watchFunc(silent), metaclient.Config{})
	require.Error(t, err)
	assert.Equal(t, "x", string(readFile(t, file)))
}

func TestDamagedFileIsSetAsideByName(t *testing.T) {
	good := storePath(t)
	fill(t, good, pod("a"))
	whole := readFile(t, good)
	damaged := func(f func(b []byte)) []byte {
		b := append([]byte(nil), whole...)
		f(b)
		return b
	}
	page := os.Getpagesize()
	for name, content := range map[string][]byte{
		"garbage":         []byte(strings.Repeat("not a database ", 5000)),
		"one byte":        {0},
		"both heads gone": damaged(func(b []byte) { clear(b[:2*page]) }),
		"pages gone":      damaged(func(b []byte) { clear(b[2*page:]) }),
		"schema unreadable": func() []byte {
			path := copyFile(t, good)
			editStore(t, path, func(tx *bolt.Tx) error {
				return tx.Bucket([]byte("edged")).Put([]byte("schema"), []byte("?"))
			})
			return readFile(t, path)
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			path := storePath(t)
			require.NoError(t, os.WriteFile(path, content, 0o600))
			logs, seen := observer.New(zap.ErrorLevel)
			c := mustOpen(t, path, watchFunc(silent), metaclient.Config{Logger: zap.New(logs)})
			pods, err := c.Pods(t.Context())
			require.NoError(t, err)
			assert.Empty(t, pods)

			aside := quarantined(t, path)
			require.Len(t, aside, 1)
			assert.Equal(t, content, readFile(t, aside[0]), "the evidence is kept as it was")
			require.Equal(t, 1, seen.Len())
			assert.Equal(t, aside[0], seen.All()[0].ContextMap()["aside"])
		})
	}
}

func TestFilesSetAsideInTheSameSecondKeepTheirNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock stands still
		path := storePath(t)
		for i := range 3 {
			require.NoError(t, os.WriteFile(path, []byte{byte('a' + i)}, 0o600))
			c, err := metaclient.Open(path, watchFunc(silent), metaclient.Config{})
			require.NoError(t, err)
			require.NoError(t, c.Close())
		}
		aside := quarantined(t, path)
		require.Len(t, aside, 3)
		for i, file := range aside {
			assert.Equal(t, []byte{byte('a' + i)}, readFile(t, file))
		}
	})
}

func TestTruncatedFileOpensWithItsDataOrIsSetAside(t *testing.T) {
	good := storePath(t)
	fill(t, good, withStatus(pod("a"), runningStatus()), pod("b"))
	whole := readFile(t, good)
	outcomes := map[string]int{}
	for size := 0; size <= len(whole); size += 512 {
		path := storePath(t)
		require.NoError(t, os.WriteFile(path, whole[:size], 0o600))
		switch got := names(stored(t, path)); {
		case len(got) == 2:
			outcomes["data"]++
			require.Empty(t, quarantined(t, path))
		case size == 0:
			outcomes["new"]++ // an empty file is nobody's data
		default:
			outcomes["set aside"]++
			require.Empty(t, got)
			require.Len(t, quarantined(t, path), 1, "size %d", size)
		}
	}
	assert.Equal(t, 1, outcomes["new"])
	assert.Positive(t, outcomes["data"])
	assert.Positive(t, outcomes["set aside"])
}

// Each 128 bytes of the file in turn hold nonsense: Open finds the data, or sets
// the file or the values aside, and what it opened can be used.
func TestFileWithADamagedSpotNeverPanics(t *testing.T) {
	good := storePath(t)
	fill(t, good, withStatus(pod("a"), runningStatus()), pod("b"))
	whole := readFile(t, good)
	for _, nonsense := range []byte{0x00, 0xff} {
		for spot := 0; spot < len(whole); spot += 128 {
			path := storePath(t)
			damaged := append([]byte(nil), whole...)
			for i := range 128 {
				damaged[spot+i] = nonsense
			}
			require.NoError(t, os.WriteFile(path, damaged, 0o600))
			useStore(t, path)
		}
	}
}

// useStore opens the store and reads and writes it.
func useStore(t *testing.T, path string) {
	t.Helper()
	_ = stored(t, path)
	fill(t, path, pod("b"), pod("c"))
	require.Equal(t, []string{"b", "c"}, names(stored(t, path)))
}

// A page that names itself as its child would be walked for ever.
func TestFileWithACircleIsSetAside(t *testing.T) {
	path := storePath(t)
	many := make([]*corev1.Pod, 300)
	for i := range many {
		many[i] = pod("pod-" + string(rune('a'+i/26%26)) + string(rune('a'+i%26)) + string(rune('a'+i/676)))
	}
	fill(t, path, many...)
	data := readFile(t, path)
	page, circles := os.Getpagesize(), 0
	for id := 2; id*page < len(data); id++ {
		if p := data[id*page:]; binary.NativeEndian.Uint16(p[8:]) == 1 && binary.NativeEndian.Uint64(p) == uint64(id) {
			binary.NativeEndian.PutUint64(p[16+8:], uint64(id))
			circles++
		}
	}
	require.Positive(t, circles)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	assert.Empty(t, stored(t, path))
	assert.Len(t, quarantined(t, path), 1)
}

func TestDamagedValueIsSetAsideAndTheOthersGoOn(t *testing.T) {
	flip := func(bucket, key string) func(tx *bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte(bucket))
			value := append([]byte(nil), b.Get([]byte(key))...)
			value[len(value)/2] ^= 1
			return b.Put([]byte(key), value)
		}
	}
	put := func(key, value string) func(tx *bolt.Tx) error {
		return func(tx *bolt.Tx) error { return tx.Bucket([]byte("pods")).Put([]byte(key), []byte(value)) }
	}
	for name, tc := range map[string]struct {
		edit   func(tx *bolt.Tx) error
		aside  string
		remain []string
	}{
		"flipped bit":        {flip("pods", "uid-of-a"), "pods/uid-of-a", []string{"b"}},
		"flipped status bit": {flip("podstatuses", "uid-of-a"), "podstatuses/uid-of-a", []string{"a", "b"}},
		"no checksum":        {put("uid-of-a", `{"metadata":{"uid":"uid-of-a"}}`), "pods/uid-of-a", []string{"b"}},
		"not json":           {put("uid-of-a", "cfc4ae1d foo"), "pods/uid-of-a", []string{"b"}},
		"empty":              {put("uid-of-a", ""), "pods/uid-of-a", []string{"b"}},
		"another's":          {put("uid-of-x", "297bd0aa {}"), "pods/uid-of-x", []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := storePath(t)
			fill(t, path, withStatus(pod("a"), runningStatus()), withStatus(pod("b"), runningStatus()))
			editStore(t, path, tc.edit)
			logs, seen := observer.New(zap.ErrorLevel)
			c, err := metaclient.Open(path, watchFunc(silent), metaclient.Config{Logger: zap.New(logs)})
			require.NoError(t, err)
			pods, err := c.Pods(t.Context())
			require.NoError(t, err)
			assert.Equal(t, tc.remain, names(pods))
			assert.Equal(t, corev1.PodRunning, pods[len(pods)-1].Status.Phase)
			require.NoError(t, c.Close())

			require.Equal(t, 1, seen.Len())
			fields := seen.All()[0].ContextMap()
			assert.Equal(t, tc.aside, fields["bucket"].(string)+"/"+fields["key"].(string))
			editStore(t, path, func(tx *bolt.Tx) error {
				assert.NotNil(t, tx.Bucket([]byte("quarantine")).Get([]byte(tc.aside)))
				return nil
			})
			assert.Empty(t, quarantined(t, path), "the file itself is sound")

			fill(t, path, pod("a"), pod("b"))
			assert.Equal(t, []string{"a", "b"}, names(stored(t, path)), "the upstream refills it")
		})
	}
}

func TestReportWhoseStatusIsDamagedIsNotSent(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	never := func(context.Context, *corev1.Pod) error { return errors.New("no network") }
	c, err := metaclient.Open(path, reportingUpstream{watchFunc(silent), never}, metaclient.Config{})
	require.NoError(t, err)
	require.NoError(t, c.ReportPodStatus(t.Context(), restarted("a", 1)))
	require.NoError(t, c.Close())
	editStore(t, path, func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("podstatuses")).Put([]byte("uid-of-a"), []byte("damaged"))
	})
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		reporting, sent := heardBy(up)
		c := mustOpen(t, path, reporting, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver(pod("a")))
		time.Sleep(time.Minute)
		assert.Empty(t, sent, "nothing is known that the upstream could be told")
	})
}

func TestKillWithoutCloseLosesNothingAcknowledged(t *testing.T) {
	path := storePath(t)
	up := newFakeUpstream()
	c := mustOpen(t, path, up, metaclient.Config{})
	stop := start(t, c)
	defer stop()
	var set []*corev1.Pod
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		set = append(set, pod(name))
		require.NoError(t, up.deliver(set...))
		require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod(name), runningStatus())))
		require.NoError(t, c.Flush(t.Context()))
		left := stored(t, copyFile(t, path))
		require.Equal(t, names(set), names(left))
		require.Equal(t, corev1.PodRunning, left[len(left)-1].Status.Phase)
	}
}

// A sector that cannot be read is a fault in the mapped file. Here the file ends
// under the store's feet.
func TestFaultWhileReadingIsAnError(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	c, err := metaclient.Open(path, watchFunc(silent), metaclient.Config{})
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, int64(2*os.Getpagesize())))
	_, err = c.Pods(t.Context())
	require.ErrorContains(t, err, "read stored pods")
	require.NoError(t, c.ReportPodStatus(t.Context(), withStatus(pod("a"), runningStatus())))
	require.Error(t, c.Flush(t.Context()))
	require.Error(t, c.Health().Store)
	require.Error(t, c.Close(), "what was reported is lost")
}

func FuzzOpenNeverPanics(f *testing.F) {
	f.Add(uint16(0), []byte{}, uint16(0))
	f.Add(uint16(3*4096+16), []byte{1, 2, 3, 4}, uint16(0))
	f.Add(uint16(16), []byte{0xff}, uint16(9000))
	var whole []byte
	f.Fuzz(func(t *testing.T, at uint16, change []byte, cut uint16) {
		if whole == nil {
			good := storePath(t)
			fill(t, good, withStatus(pod("a"), runningStatus()), pod("b"))
			whole = readFile(t, good)
		}
		damaged := append([]byte(nil), whole...)
		copy(damaged[min(int(at), len(damaged)):], change)
		damaged = damaged[:len(damaged)-min(int(cut), len(damaged))]
		path := storePath(t)
		require.NoError(t, os.WriteFile(path, damaged, 0o600))
		useStore(t, path)
	})
}
