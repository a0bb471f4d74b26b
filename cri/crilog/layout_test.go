package crilog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/cri/crilog"
)

var web = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid-1"}}

func TestLogPathsAreTheKubelets(t *testing.T) {
	dir := crilog.PodDirectory("/var/log/pods", "shop", "web", "uid-1")
	assert.Equal(t, "/var/log/pods/shop_web_uid-1", dir)
	assert.Equal(t, "app/2.log", crilog.ContainerPath("app", 2))
	assert.Equal(t, "/var/log/containers/web_shop_app-abc.log", crilog.LinkPath("/var/log/containers", "shop", "web", "app", "abc"))
}

func TestLinkNameIsCutToWhatFileSystemsTake(t *testing.T) {
	name := filepath.Base(crilog.LinkPath("/l", "shop", strings.Repeat("w", 253), "app", "abc"))
	assert.Len(t, name, 255)
	assert.True(t, strings.HasSuffix(name, ".log"))
}

func TestLinkPointsAtTheLogAndMayBeMadeAgain(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "0.log")
	require.NoError(t, os.WriteFile(log, []byte("hello"), 0o600))
	links := filepath.Join(dir, "not", "there", "yet")

	for range 2 {
		require.NoError(t, crilog.Link(links, web, "app", "abc", log))
	}
	content, err := os.ReadFile(filepath.Join(links, "web_shop_app-abc.log"))
	require.NoError(t, err)
	assert.Equal(t, "hello", string(content))
}

func TestLinkReplacesOneThatPointsElsewhere(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "1.log")
	require.NoError(t, os.WriteFile(log, nil, 0o600))
	stale := crilog.LinkPath(dir, "shop", "web", "app", "abc")
	require.NoError(t, os.Symlink("/gone", stale))

	require.NoError(t, crilog.Link(dir, web, "app", "abc", log))
	target, err := os.Readlink(stale)
	require.NoError(t, err)
	assert.Equal(t, log, target)
}

func TestNoLinkToALogThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, crilog.Link(dir, web, "app", "abc", filepath.Join(dir, "absent.log")))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestNextRestartCountGoesByTheHighestLog(t *testing.T) {
	for _, row := range []struct {
		files []string
		want  int
	}{
		{nil, 0},
		{[]string{"0.log"}, 1},
		{[]string{"0.log", "9.log", "10.log"}, 11},
		{[]string{"3.log.20260102-150405.gz"}, 4},
		{[]string{"3.log.20260102-150405"}, 4},
		{[]string{"other.log", "-1.log", "7.txt", "7"}, 0},
	} {
		t.Run(fmt.Sprint(row.files), func(t *testing.T) {
			dir := t.TempDir()
			for _, file := range row.files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), nil, 0o600))
			}
			count, err := crilog.NextRestartCount(dir)
			require.NoError(t, err)
			assert.Equal(t, row.want, count)
		})
	}
}

func TestTheLogsOfEarlierRunsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"0.log", "9.log", "9.log.20260102-150405.gz", "10.log", "10.log.20260102-150405", "11.log", "other.log", "7.txt"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), nil, 0o600))
	}
	for range 2 {
		require.NoError(t, crilog.RemoveEarlier(filepath.Join(dir, "10.log")))
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		var left []string
		for _, entry := range entries {
			left = append(left, entry.Name())
		}
		assert.Equal(t, []string{"10.log", "10.log.20260102-150405", "11.log", "7.txt", "other.log"}, left)
	}
	require.NoError(t, crilog.RemoveEarlier(filepath.Join(dir, "absent", "3.log")))
	require.NoError(t, crilog.RemoveEarlier(""), "the runtime logs elsewhere")
}

func TestNextRestartCountWithoutADirectoryIsZero(t *testing.T) {
	count, err := crilog.NextRestartCount(filepath.Join(t.TempDir(), "absent"))
	require.NoError(t, err)
	assert.Zero(t, count)
}

func ExampleContainerPath() {
	dir := crilog.PodDirectory("/var/log/pods", "default", "web", "6f2c")
	fmt.Println(filepath.Join(dir, crilog.ContainerPath("app", 1)))
	// Output: /var/log/pods/default_web_6f2c/app/1.log
}
