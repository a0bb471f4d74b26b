package store_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// crashes calls check with each state that a kill or a power cut may leave of the
// file on the way from one commit to the next: bbolt writes the pages in order, and
// the head page when they are durable. Each page may be cut at each sector.
func crashes(before, after []byte, check func(where string, left []byte)) {
	const sector = 512
	page := os.Getpagesize()
	left := bytes.Clone(before)
	if grown := len(after) - len(left); grown > 0 {
		left = append(left, make([]byte, grown)...)
		check("grown", left)
	}
	write := func(p int) {
		for s := p * page; s < min((p+1)*page, len(after)); s += sector {
			if bytes.Equal(left[s:s+sector], after[s:s+sector]) {
				continue
			}
			copy(left[s:s+sector], after[s:s+sector])
			check(fmt.Sprintf("page %d up to %d", p, s-p*page), left)
		}
	}
	for p := 2; p*page < len(after); p++ {
		write(p)
	}
	write(0)
	write(1)
}

func TestWhatWasAcknowledgedIsThereAfterACrashAtAnyWrite(t *testing.T) {
	for name, cfg := range map[string]store.Config{"plain": config(), "sealed": sealed("k")} {
		t.Run(name, func(t *testing.T) {
			path, points := storePath(t), 0
			s := mustOpen(t, path, cfg)
			script := []store.Change{
				{Bucket: "pods", Key: "a", Value: []byte("1")},
				{Bucket: "pods", Key: "b", Value: []byte(strings.Repeat("long", 3000))},
				{Bucket: "secrets", Key: "c", Value: []byte("2")},
				{Bucket: "pods", Key: "a", Value: []byte("3")},
				{Bucket: "pods", Key: "b"},
				{Bucket: "secrets", Key: "c", Value: []byte("4")},
			}
			for i := range 40 { // until pages split
				script = append(script, store.Change{Bucket: "pods", Key: fmt.Sprint("n", i), Value: []byte(strings.Repeat("x", 200))})
			}
			for _, change := range script {
				acknowledged, before := content(t, s), read(t, path)
				update(t, s, func(store.Reader) []store.Change { return []store.Change{change} })
				next, after := content(t, s), read(t, path)
				crashes(before, after, func(where string, left []byte) {
					points++
					crashed := storePath(t)
					require.NoError(t, os.WriteFile(crashed, left, 0o600))
					again, err := store.Open(crashed, cfg)
					require.NoError(t, err, where)
					got := content(t, again)
					require.NoError(t, again.Close())
					if !assert.ObjectsAreEqual(acknowledged, got) && !assert.ObjectsAreEqual(next, got) {
						t.Fatalf("%v, crashed at %s: what was acknowledged is lost", change.Key, where)
					}
				})
			}
			assert.Greater(t, points, 200)
		})
	}
}

func TestCrashWhileTheFirstFileIsMadeIsNoHarm(t *testing.T) {
	path := storePath(t)
	require.NoError(t, mustOpen(t, path, config()).Close())
	whole := read(t, path)
	for size := 0; size <= len(whole); size += 512 {
		crashed := storePath(t)
		require.NoError(t, os.WriteFile(crashed, whole[:size], 0o600))
		s := mustOpen(t, crashed, config())
		put(t, s, "pods", "a", "1")
		require.Equal(t, map[string]string{"pods/a": "1"}, content(t, s))
	}
}

func TestDraftsThatACrashLeftAreNoHarm(t *testing.T) {
	path := storePath(t)
	s := mustOpen(t, path, config())
	fillAndFree(t, s)
	require.NoError(t, s.Close())
	whole := read(t, path)
	for _, draft := range [][]byte{{}, {1, 2, 3}, whole[:5000], whole} {
		crashed := storePath(t)
		require.NoError(t, os.WriteFile(crashed, whole, 0o600))
		require.NoError(t, os.WriteFile(crashed+".new", draft, 0o600))
		require.NoError(t, os.WriteFile(crashed+".good.new", draft, 0o600))
		s := mustOpen(t, crashed, config())
		require.Equal(t, map[string]string{"pods/kept": "1"}, content(t, s))
		require.NoError(t, s.Close())
		require.NoFileExists(t, crashed+".new")
	}
}
