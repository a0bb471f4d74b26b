//go:build e2e

package metaclient_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/metatest"
)

// A disk that is really full, and then is not.
func TestDiskThatIsReallyFull(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	path, ballast := filepath.Join(dir, "meta.db"), filepath.Join(dir, "ballast")

	cloud := metatest.New()
	cloud.Put(uses("a", "c", "s"), configMap("c", "1"), secret("s", "1"))
	c := mustOpen(t, path, cloud, metaclient.Config{FlushAfter: 50 * time.Millisecond})
	stop := start(t, c)
	defer stop()
	soon := func(what string, condition func() bool) {
		t.Helper()
		require.Eventually(t, condition, 90*time.Second, 20*time.Millisecond, what)
	}
	value := func() string {
		cm, err := c.ConfigMap(t.Context(), "default", "c")
		require.NoError(t, err)
		return cm.Data["key"][:1]
	}
	soon("the pod", func() bool { pods, err := c.Pods(t.Context()); return err == nil && len(pods) == 1 })

	_ = os.WriteFile(ballast, bytes.Repeat([]byte("x"), 1<<20), 0o600) // what fits
	cloud.Put(configMap("c", "2"+strings.Repeat("x", 300_000)))
	soon("the condition", func() bool { return c.Health().Store != nil })
	require.ErrorIs(t, c.Health().Store, syscall.ENOSPC)
	assert.Equal(t, "1", value())
	require.NoError(t, c.ReportPodStatus(t.Context(), restarted("a", 3)))
	soon("the report", func() bool { return len(cloud.Status("uid-of-a").ContainerStatuses) > 0 })
	pods, err := mustOpenCopy(t, path).Pods(t.Context())
	require.NoError(t, err)
	require.Len(t, pods, 1, "nothing stored is lost")

	require.NoError(t, os.Remove(ballast))
	soon("the change", func() bool { return c.Health().Store == nil && value() == "2" })
}
