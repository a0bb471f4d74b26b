package podsync

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

func TestAHostsFileThatIsRightAlreadyIsNotWrittenAgain(t *testing.T) {
	f := files{root: t.TempDir()}
	pod := podWith(corev1.RestartPolicyAlways, "a")
	path, err := f.hosts(pod, []string{"10.0.0.1"}, "")
	require.NoError(t, err)
	long := time.Unix(1, 0)
	require.NoError(t, os.Chtimes(path, long, long))

	_, err = f.hosts(pod, []string{"10.0.0.1"}, "")
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, long, info.ModTime())
	_, err = f.hosts(pod, []string{"10.0.0.2"}, "")
	require.NoError(t, err)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(content), "10.0.0.2")
}

// A sparse file costs a container nothing, and is not to cost the agent its memory.
func TestAHostsFileThatAContainerHasMadeHugeIsWrittenAgain(t *testing.T) {
	f := files{root: t.TempDir()}
	pod := podWith(corev1.RestartPolicyAlways, "a")
	path, err := f.hosts(pod, []string{"10.0.0.1"}, "")
	require.NoError(t, err)
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, 1<<40))

	_, err = f.hosts(pod, []string{"10.0.0.1"}, "")
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.EqualValues(t, len(want), info.Size())
}
