package metaclient_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/metaclient"
)

// A secret goes all ways that there are: good, invalid, changed, unread, offline,
// through a restart, a damaged file and another key.
func TestSecretIsInNoLogNoErrorAndNoFile(t *testing.T) {
	const hidden = "correct horse battery staple"
	path := storePath(t)
	logs, seen := observer.New(zap.DebugLevel)
	key := func() ([]byte, error) { return bytes.Repeat([]byte("k"), 32), nil }
	var failures []error
	visit := func(key func() ([]byte, error)) {
		synctest.Test(t, func(t *testing.T) {
			p, refs := everything(t)
			cloud := cloudWith(refs, p, uses("a", "", "s"), secret("s", hidden))
			c, err := metaclient.Open(path, cloud, metaclient.Config{Key: key, Logger: zap.New(logs)})
			require.NoError(t, err)
			stop := start(t, c)
			time.Sleep(time.Second)
			synctest.Wait()
			good, err := c.Secret(t.Context(), "default", "s")
			require.NoError(t, err)
			assert.Contains(t, string(good.Data["key"]), hidden)
			cloud.Put(secret("s", hidden+" again"))
			for n, spoil := range []func(s *corev1.Secret){
				func(s *corev1.Secret) { s.Data["../"+"x"] = []byte(hidden) },
				func(s *corev1.Secret) { s.Type = corev1.SecretTypeDockercfg },
				func(s *corev1.Secret) {
					s.Type, s.Data = corev1.SecretTypeDockercfg, map[string][]byte{".dockercfg": []byte(hidden)}
				},
				func(s *corev1.Secret) { s.Data["big"] = bytes.Repeat([]byte(hidden), 50000) },
			} {
				bad := secret(fmt.Sprint("bad", n), hidden)
				spoil(bad)
				cloud.Put(bad, uses(fmt.Sprint("bad", n), "", bad.Name))
				time.Sleep(time.Second)
				synctest.Wait()
				cloud.Put(bad)
				_, err := c.Secret(t.Context(), "default", bad.Name)
				require.Error(t, err)
				failures = append(failures, err)
			}
			time.Sleep(time.Second)
			cloud.Cut()
			time.Sleep(time.Minute)
			stop()
			require.NoError(t, c.Close())
		})
	}
	visit(key)
	visit(key)
	damaged := readFile(t, path)
	clear(damaged[2*os.Getpagesize() : 3*os.Getpagesize()])
	require.NoError(t, os.WriteFile(path, damaged, 0o600))
	visit(key)
	visit(func() ([]byte, error) { return bytes.Repeat([]byte("o"), 32), nil })

	assert.Greater(t, seen.Len(), 5)
	for _, entry := range seen.All() {
		assert.NotContains(t, fmt.Sprint(entry.Message, entry.ContextMap()), "battery")
	}
	for _, err := range failures {
		assert.NotContains(t, err.Error(), "battery")
	}
	files, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	assert.GreaterOrEqual(t, len(files), 2)
	for _, file := range files {
		content := readFile(t, file)
		assert.False(t, bytes.Contains(content, []byte("battery")), file)
		assert.False(t, bytes.Contains(content, []byte("token-1")), file)
		info, err := os.Stat(file)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), file)
	}
}
