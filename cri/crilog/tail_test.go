package crilog_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/cri/crilog"
)

const stamp = "2026-01-02T03:04:05.678Z "

func writeLog(t *testing.T, entries ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(entries, "")), 0o600))
	return path
}

func TestTailGivesTheLastOutputOfBothStreams(t *testing.T) {
	for _, row := range []struct {
		name         string
		entries      []string
		lines, limit int
		want         string
	}{
		{"all of a short log", []string{stamp + "stdout F one\n", stamp + "stderr F two\n"}, 80, 2048, "one\ntwo\n"},
		{"the last lines", []string{stamp + "stdout F one\n", stamp + "stdout F two\n", stamp + "stdout F three\n"}, 2, 2048, "two\nthree\n"},
		{"the last bytes", []string{stamp + "stdout F abcdef\n"}, 80, 4, "def\n"},
		{"parts are joined", []string{stamp + "stdout P ab\n", stamp + "stdout P cd\n", stamp + "stdout F ef\n"}, 1, 2048, "abcdef\n"},
		{"a part at the end", []string{stamp + "stdout F one\n", stamp + "stdout P no newline\n"}, 80, 2048, "one\nno newline"},
		{"text with spaces", []string{stamp + "stdout F a  b c \n"}, 80, 2048, "a  b c \n"},
		{"an empty line", []string{stamp + "stdout F \n"}, 80, 2048, "\n"},
		{"more tags", []string{stamp + "stdout F:x one\n"}, 80, 2048, "one\n"},
		{"what is no entry", []string{"garbage\n", "x stdout F y\n", stamp + "stdin F y\n", stamp + "stdout Q y\n", stamp + "stdout F one\n"}, 80, 2048, "one\n"},
		{"no lines", []string{stamp + "stdout F one\n"}, 0, 2048, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := crilog.Tail(writeLog(t, row.entries...), row.lines, row.limit)
			require.NoError(t, err)
			assert.Equal(t, row.want, got)
		})
	}
}

func TestTailReadsOnlyTheEndOfALongLog(t *testing.T) {
	path := writeLog(t, strings.Repeat(stamp+"stdout F "+strings.Repeat("x", 100)+"\n", 20_000), stamp+"stdout F last\n")
	got, err := crilog.Tail(path, 1, 2048)
	require.NoError(t, err)
	assert.Equal(t, "last\n", got)
}

func TestALogThatIsNotThereHasNoOutput(t *testing.T) {
	got, err := crilog.Tail(filepath.Join(t.TempDir(), "absent.log"), 80, 2048)
	require.NoError(t, err)
	assert.Empty(t, got)
	_, err = crilog.Tail(t.TempDir(), 80, 2048)
	assert.Error(t, err, "a folder is no log")
}

func FuzzTailKeepsItsBounds(f *testing.F) {
	f.Add(stamp+"stdout F one\n", 1, 3)
	f.Fuzz(func(t *testing.T, content string, lines, limit int) {
		limit = max(0, limit%5000)
		got, err := crilog.Tail(writeLog(t, content), lines, limit)
		require.NoError(t, err)
		assert.LessOrEqual(t, len(got), limit)
		assert.LessOrEqual(t, strings.Count(strings.TrimSuffix(got, "\n"), "\n"), max(0, lines-1))
	})
}
