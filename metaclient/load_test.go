package metaclient_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/metatest"
)

// commits is the number of the file's last commit, as its head pages say.
func commits(t testing.TB, path string) int {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	const number = 64 // in a head page
	page := os.Getpagesize()
	return int(max(binary.NativeEndian.Uint64(data[number:]), binary.NativeEndian.Uint64(data[page+number:])))
}

// fleet is a cloud with n pods, each with a ConfigMap and a Secret.
func fleet(n int) *metatest.Cloud {
	cloud := metatest.New()
	for i := range n {
		cloud.Put(uses(name("p", i), name("c", i), name("s", i)), configMap(name("c", i), "x"), secret(name("s", i), "x"))
	}
	return cloud
}

func TestIdleNodeWritesNothingForAnHour(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		cloud := fleet(50)
		c := mustOpen(t, path, cloud, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		for i := range 50 {
			require.NoError(t, c.ReportPodStatus(t.Context(), restarted(name("p", i), 1)))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		before := readFile(t, path)
		for tick := range 360 {
			time.Sleep(10 * time.Second)
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-1"}}
			node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastHeartbeatTime: metav1.Now()}}
			require.NoError(t, c.ReportNode(t.Context(), node))
			require.NoError(t, c.ReportPodStatus(t.Context(), restarted(name("p", tick%50), 1)))
		}
		synctest.Wait()
		assert.True(t, cloud.Node("edge-1").Status.Conditions[0].LastHeartbeatTime.Time.Equal(time.Now()))
		unchanged(t, before, path)
	})
}

func TestPodThatCrashesWithoutEndCostsACommitPerTickAtMost(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		c := mustOpen(t, path, fleet(3), metaclient.Config{FlushAfter: 10 * time.Second})
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		before := commits(t, path)
		for i := range int32(600) { // ten minutes
			require.NoError(t, c.ReportPodStatus(t.Context(), restarted("p0", i)))
			require.NoError(t, c.ReportEvent(t.Context(), event("p0.backoff", i)))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		assert.LessOrEqual(t, commits(t, path)-before, 60)
		assert.Greater(t, commits(t, path)-before, 30)
	})
}

func TestADayOfflineCostsBoundedMemoryAndWritesAndIsSentOnce(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		cloud := fleet(5)
		c := mustOpen(t, path, cloud, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Minute)
		cloud.Cut()
		time.Sleep(time.Minute)
		synctest.Wait()
		before, sent := commits(t, path), cloud.Reports()
		for i := range int32(24 * 60 * 6) {
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-1"}}
			node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastHeartbeatTime: metav1.Now()}}
			require.NoError(t, c.ReportNode(t.Context(), node))
			if i%30 == 0 { // each five minutes
				require.NoError(t, c.ReportPodStatus(t.Context(), restarted("p0", i)))
				require.NoError(t, c.ReportEvent(t.Context(), event("p0.backoff", i)))
			}
			if i%2 == 0 {
				require.NoError(t, c.ReportEvent(t.Context(), event(fmt.Sprint("flood.", i), 1)))
			}
			time.Sleep(10 * time.Second)
			if i == 2000 {
				flood := c.Health()
				require.Equal(t, 1000, flood.Unsent)
			}
		}
		h := c.Health()
		assert.Equal(t, 1000, h.Unsent, "bounded")
		assert.Positive(t, h.Dropped)
		assert.LessOrEqual(t, commits(t, path)-before, 24*60*6)

		began := time.Now()
		cloud.Heal()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		assert.Equal(t, 1000, cloud.Reports()-sent, "each once")
		assert.EqualValues(t, 24*60*6-30, cloud.Status("uid-of-p0").ContainerStatuses[0].RestartCount)
		assert.WithinDuration(t, began, cloud.Node("edge-1").Status.Conditions[0].LastHeartbeatTime.Time, 11*time.Second)
		assert.Zero(t, c.Health().Unsent)
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Less(t, info.Size(), int64(8<<20))
	})
}

func TestFullDiskLosesNothingAndRecoversByItself(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		cloud := fleet(2)
		var rec recorder
		c := mustOpen(t, path, cloud, metaclient.Config{OnPods: rec.onPods})
		failWith := metaclient.Breakable(c)
		stop := start(t, c)
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		failWith(&os.PathError{Op: "write", Path: path, Err: syscall.ENOSPC})
		cloud.Put(configMap("c0", "new"), pod("late"))
		require.NoError(t, c.ReportPodStatus(t.Context(), restarted("p0", 7)))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.ErrorIs(t, c.Health().Store, syscall.ENOSPC)
		cm, err := c.ConfigMap(t.Context(), "default", "c0")
		require.NoError(t, err)
		assert.Equal(t, "x", cm.Data["key"], "what is stored can be read")
		assert.EqualValues(t, 7, cloud.Status("uid-of-p0").ContainerStatuses[0].RestartCount)
		assert.NotContains(t, rec.last(t).names, "late", "not handed on before it is stored")
		unread, err := c.Secret(t.Context(), "default", "s1")
		require.NoError(t, err)
		assert.Equal(t, "x", string(unread.Data["key"]))

		failWith(nil)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		require.NoError(t, c.Health().Store)
		assert.Contains(t, rec.last(t).names, "late")
		cm, err = c.ConfigMap(t.Context(), "default", "c0")
		require.NoError(t, err)
		assert.Equal(t, "new", cm.Data["key"])
		left := mustOpenCopy(t, path)
		pods, err := left.Pods(t.Context())
		require.NoError(t, err)
		assert.EqualValues(t, 7, pods[1].Status.ContainerStatuses[0].RestartCount)
	})
}

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store.key")
	good := strings.Repeat("k", 32)
	require.NoError(t, os.WriteFile(path, []byte(good), 0o600))
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	for name, tc := range map[string]struct {
		key  func() ([]byte, error)
		want string // error
	}{
		"file":                {metaclient.KeyFile(path), ""},
		"credential":          {metaclient.KeyCredential("store.key"), ""},
		"missing file":        {metaclient.KeyFile(path + ".no"), "no such file"},
		"missing credential":  {metaclient.KeyCredential("no"), "no such file"},
		"credential is path":  {metaclient.KeyCredential("../store.key"), "is a path"},
		"short":               {func() ([]byte, error) { return []byte("short"), nil }, "at least 32 are needed"},
		"none":                {func() ([]byte, error) { return nil, nil }, "at least 32 are needed"},
		"the vendor's module": {func() ([]byte, error) { return nil, errors.New("tpm is locked") }, "get key: tpm is locked"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := metaclient.Open(storePath(t), watchFunc(silent), metaclient.Config{Key: tc.key})
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				assert.NotContains(t, err.Error(), good)
				return
			}
			require.NoError(t, err)
			require.NoError(t, c.Close())
		})
	}
	require.NoError(t, os.Chmod(path, 0o640))
	_, err := metaclient.KeyFile(path)()
	require.ErrorContains(t, err, "can be read by others")
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	_, err = metaclient.KeyCredential("store.key")()
	require.ErrorContains(t, err, "systemd passes no credentials")
}
