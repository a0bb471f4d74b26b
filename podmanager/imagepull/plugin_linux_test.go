package imagepull_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/edged-project/edged/podmanager/imagepull"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestPluginThatIsGivenUpEndsWithItsChildren(t *testing.T) {
	scripts := newPlugins(t)
	pipe := filepath.Join(scripts.folder, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	scripts.add(t, "hangs", "registry.example", "exec 3>pipe; sleep 1000 & echo started >&3; wait")
	runtime := &fakeRuntime{}
	puller := imagepull.New(runtime, imagepull.Config{CredentialProviders: scripts.read(t)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, _, err := puller.Ensure(ctx, pod("a"), container(private, corev1.PullAlways), nil)
		ended <- err
	}()
	reader, err := os.Open(pipe)
	require.NoError(t, err)
	defer reader.Close()
	_, err = io.ReadFull(reader, make([]byte, len("started\n")))
	require.NoError(t, err)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	assert.Empty(t, runtime.pulls())
	rest, err := io.ReadAll(reader) // ends when nobody has the pipe open any more
	require.NoError(t, err)
	assert.Empty(t, rest)
}
