package metaclient_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// written64 returns how many bytes this process has written so far.
func written64(b *testing.B) int64 {
	b.Helper()
	data, err := os.ReadFile("/proc/self/io")
	require.NoError(b, err)
	for _, line := range strings.Split(string(data), "\n") {
		if number, ok := strings.CutPrefix(line, "wchar: "); ok {
			n, err := strconv.ParseInt(number, 10, 64)
			require.NoError(b, err)
			return n
		}
	}
	b.Fatal("no wchar in /proc/self/io")
	return 0
}
