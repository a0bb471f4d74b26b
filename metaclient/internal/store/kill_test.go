package store_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/metaclient/internal/store"
)

// A process that writes is killed, again and again, and what it had acknowledged is
// there each time.
func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	if path := os.Getenv("EDGED_STORE_OF_CHILD"); path != "" {
		countForever(t, path)
	}
	path, acknowledged := storePath(t), 0
	for kill := range 8 {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestKilledProcessLosesNothingAcknowledged$")
		child.Env = append(os.Environ(), "EDGED_STORE_OF_CHILD="+path)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		lines := bufio.NewScanner(out)
		for n := 0; n <= 3*kill+1 && lines.Scan(); n++ {
			acknowledged, err = strconv.Atoi(lines.Text())
			require.NoError(t, err)
		}
		require.NoError(t, child.Process.Kill())
		for lines.Scan() { // what it said before it noticed
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				acknowledged = n
			}
		}
		require.Error(t, child.Wait())

		s := mustOpen(t, path, sealed("k"))
		all := content(t, s)
		require.NoError(t, s.Close())
		assert.GreaterOrEqual(t, len(all["secrets/counter"]), acknowledged)
		assert.Equal(t, len(all["secrets/counter"]), len(all["pods/counter"]), "all or nothing")
	}
	assert.Greater(t, acknowledged, 30)
}

// countForever writes a number, and says so when it is durable.
func countForever(t *testing.T, path string) {
	s, err := store.Open(path, sealed("k"))
	require.NoError(t, err)
	for {
		n := 0
		update(t, s, func(r store.Reader) []store.Change {
			n = len(r.Get("pods", "counter")) + 1
			value := []byte(strings.Repeat("x", n))
			return []store.Change{{Bucket: "pods", Key: "counter", Value: value}, {Bucket: "secrets", Key: "counter", Value: value}}
		})
		fmt.Println(n)
	}
}
