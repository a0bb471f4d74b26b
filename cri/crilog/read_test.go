package crilog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/cri/crilog"
)

// at is an entry at a second of the day.
func at(second int, rest string) string {
	return time.Date(2026, 1, 2, 3, 4, second, 0, time.UTC).Format(time.RFC3339Nano) + " " + rest + "\n"
}

func read(t *testing.T, path string, opts crilog.Options) (stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	require.NoError(t, crilog.Read(t.Context(), path, opts, &out, &err))
	return out.String(), err.String()
}

func TestReadGivesWhatWasAskedFor(t *testing.T) {
	log := []string{
		at(1, "stdout F one"), at(2, "stderr F bad"), at(3, "stdout P t"), at(4, "stdout P w"), at(5, "stdout F o"), at(6, "stdout F three"),
	}
	for name, row := range map[string]struct {
		entries []string
		opts    crilog.Options
		out     string
		err     string
	}{
		"all":                   {log, crilog.Options{}, "one\ntwo\nthree\n", "bad\n"},
		"the last line":         {log, crilog.Options{Tail: new(int64(1))}, "three\n", ""},
		"a line of parts":       {log, crilog.Options{Tail: new(int64(2))}, "two\nthree\n", ""},
		"both streams count":    {log, crilog.Options{Tail: new(int64(3))}, "two\nthree\n", "bad\n"},
		"more than there are":   {log, crilog.Options{Tail: new(int64(99))}, "one\ntwo\nthree\n", "bad\n"},
		"none":                  {log, crilog.Options{Tail: new(int64(0))}, "", ""},
		"since":                 {log, crilog.Options{Since: time.Date(2026, 1, 2, 3, 4, 2, 0, time.UTC)}, "two\nthree\n", "bad\n"},
		"a limit":               {log, crilog.Options{Limit: 6}, "on", "bad\n"},
		"a limit in a line":     {log, crilog.Options{Limit: 2}, "on", ""},
		"timestamps":            {log[:2], crilog.Options{Timestamps: true}, "2026-01-02T03:04:01.000000000Z one\n", "2026-01-02T03:04:02.000000000Z bad\n"},
		"a timestamp of a line": {log[2:5], crilog.Options{Timestamps: true}, "2026-01-02T03:04:03.000000000Z two\n", ""},
		"a line without an end": {[]string{at(1, "stdout F one"), at(2, "stdout P tw")}, crilog.Options{}, "one\ntw", ""},
		"which is a line":       {[]string{at(1, "stdout F one"), at(2, "stdout P tw")}, crilog.Options{Tail: new(int64(1))}, "tw", ""},
		"what is no entry":      {[]string{"garbage\n", log[0], "{\"log\":1}\n", "2026 stdout F x\n", log[5]}, crilog.Options{}, "one\nthree\n", ""},
		"an entry that is cut":  {[]string{log[0], strings.TrimSuffix(log[5], "\n")}, crilog.Options{}, "one\nthree\n", ""},
		"too long an entry":     {[]string{log[0], at(2, "stdout F "+strings.Repeat("x", 1<<20)), log[5]}, crilog.Options{}, "one\nthree\n", ""},
		"Docker's format": {[]string{
			`{"log":"one\n","stream":"stdout","time":"2026-01-02T03:04:05.6Z"}` + "\n", `{"log":"tw","stream":"stdout","time":"2026-01-02T03:04:06Z"}` + "\n",
		}, crilog.Options{Timestamps: true}, "2026-01-02T03:04:05.600000000Z one\n2026-01-02T03:04:06.000000000Z tw", ""},
		"nothing": {nil, crilog.Options{Tail: new(int64(5))}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := read(t, writeLog(t, row.entries...), row.opts)
			if name == "a limit" { // of both streams together
				assert.Equal(t, 6, len(out)+len(err))
				return
			}
			assert.Equal(t, row.out, out)
			assert.Equal(t, row.err, err)
		})
	}
}

func TestReadFollowsALink(t *testing.T) {
	path := writeLog(t, at(1, "stdout F one"))
	link := filepath.Join(t.TempDir(), "link.log")
	require.NoError(t, os.Symlink(path, link))
	out, _ := read(t, link, crilog.Options{})
	assert.Equal(t, "one\n", out)
}

func TestReadOfALogThatIsNotThere(t *testing.T) {
	err := crilog.Read(t.Context(), filepath.Join(t.TempDir(), "0.log"), crilog.Options{}, nil, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestReadEndsWhenNobodyReads(t *testing.T) {
	path := writeLog(t, at(1, "stderr F bad"), at(1, "stdout F one"))
	require.ErrorContains(t, crilog.Read(t.Context(), path, crilog.Options{Follow: true}, brokenPipe{}, nil), "broken pipe")
}

// The tail of a log is the end of the whole, whatever the lines are made of.
func TestTailIsTheEndOfTheWhole(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		entry := rapid.Custom(func(t *rapid.T) string {
			tag := rapid.SampledFrom([]string{"stdout F ", "stdout F ", "stdout P ", "garbage "}).Draw(t, "tag")
			return at(1, tag+strings.Repeat("x", rapid.SampledFrom([]int{1, 2, 4094, 4095, 4096, 9000}).Draw(t, "length")))
		})
		path := filepath.Join(dir, "0.log")
		entries := rapid.SliceOfN(entry, 0, 12).Draw(t, "entries")
		if err := os.WriteFile(path, []byte(strings.Join(entries, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		var whole, tail bytes.Buffer
		n := rapid.Int64Range(1, 14).Draw(t, "n")
		for opts, out := range map[*crilog.Options]*bytes.Buffer{{}: &whole, {Tail: &n}: &tail} {
			if err := crilog.Read(t.Context(), path, *opts, out, out); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.HasSuffix(whole.String(), tail.String()) {
			t.Fatalf("the last %d lines are not the end of it", n)
		}
		lines := strings.SplitAfter(whole.String(), "\n")
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		endsInGarbage := len(entries) > 0 && strings.Contains(entries[len(entries)-1], "garbage")
		if want := strings.Join(lines[max(0, len(lines)-int(n)):], ""); !endsInGarbage && tail.String() != want {
			t.Fatalf("the last %d lines are %q, not %q", n, short(want), short(tail.String()))
		}
	})
}

func short(text string) string {
	return fmt.Sprintf("%d bytes in %d lines", len(text), strings.Count(text, "\n"))
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(at(1, "stdout F one")+at(2, "stderr P two")), int64(1))
	f.Add([]byte(`{"log":"one\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}`), int64(3))
	f.Add([]byte("\n\n\x00"), int64(0))
	f.Fuzz(func(t *testing.T, content []byte, tail int64) {
		path := filepath.Join(t.TempDir(), "0.log")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		var out bytes.Buffer
		require.NoError(t, crilog.Read(t.Context(), path, crilog.Options{Tail: &tail, Limit: 1 << 10}, &out, &out))
		require.LessOrEqual(t, out.Len(), 1<<10)
	})
}
