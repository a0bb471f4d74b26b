package manifests_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/metaclient"
	"github.com/edged-project/edged/metaclient/manifests"
)

// Two ways to learn of a change. Each test of a change must pass with either.
var (
	byNotification = manifests.Config{RescanPeriod: time.Hour}
	byRescan       = manifests.Config{RescanPeriod: 5 * time.Millisecond}
)

func bothWays(t *testing.T, test func(t *testing.T, cfg manifests.Config)) {
	t.Run("by notification", func(t *testing.T) { t.Parallel(); test(t, byNotification) })
	t.Run("by rescan", func(t *testing.T) { t.Parallel(); test(t, byRescan) })
}

// The empty set of a folder that nobody named would end every pod.
func TestAFolderWithoutANameIsNotWatched(t *testing.T) {
	require.ErrorContains(t, manifests.New("", manifests.Config{}).Watch(t.Context(), nil), "empty")
}

var shop = strings.ReplaceAll(web, "web", "shop")

func TestFilesComeChangeAndGo(t *testing.T) {
	bothWays(t, func(t *testing.T, cfg manifests.Config) {
		dir := t.TempDir()
		w := watch(t, dir, cfg)
		w.eventually(t) // the empty folder is a set, too
		write(t, dir, "web.yaml", web)
		before := w.eventually(t, "default/web")[0]
		write(t, dir, "shop.yaml", shop)
		w.eventually(t, "default/shop", "default/web")

		write(t, dir, "web.yaml", strings.Replace(web, "web:1", "web:2", 1))
		var after *corev1.Pod
		soon(t, func() bool {
			after = w.eventually(t, "default/shop", "default/web")[1]
			return after.UID != before.UID
		})
		assert.Equal(t, "example.test/web:2", after.Spec.Containers[0].Image)

		require.NoError(t, os.Rename(filepath.Join(dir, "web.yaml"), filepath.Join(dir, "aaa.yml")))
		assert.Equal(t, after.UID, w.eventually(t, "default/web", "default/shop")[0].UID, "a file's name means nothing")
		require.NoError(t, os.Remove(filepath.Join(dir, "aaa.yml")))
		w.eventually(t, "default/shop")
		assert.Empty(t, w.told())
	})
}

func TestFolderMayAppearLaterAndBeReplaced(t *testing.T) {
	bothWays(t, func(t *testing.T, cfg manifests.Config) {
		parent := t.TempDir()
		dir := filepath.Join(parent, "manifests")
		w := watch(t, dir, cfg)
		soon(t, func() bool { return len(w.src.Problems()) == 1 })
		assert.Equal(t, dir, w.src.Problems()[0].File)
		assert.Empty(t, w.delivered(), "no folder is not the same as no pods")

		require.NoError(t, os.Mkdir(dir, 0o700))
		w.eventually(t)
		write(t, dir, "web.yaml", web)
		w.eventually(t, "default/web")
		require.Empty(t, w.src.Problems())

		require.NoError(t, os.Rename(dir, dir+".old"))
		soon(t, func() bool { return len(w.src.Problems()) == 1 })
		w.eventually(t, "default/web")

		next := filepath.Join(parent, "next")
		require.NoError(t, os.Mkdir(next, 0o700))
		write(t, next, "shop.yaml", shop)
		require.NoError(t, os.Rename(next, dir))
		w.eventually(t, "default/shop")
		write(t, dir, "web.yaml", web)
		w.eventually(t, "default/shop", "default/web")
		assert.Empty(t, w.src.Problems())
	})
}

func TestSwappedConfigMapIsNoticed(t *testing.T) {
	bothWays(t, func(t *testing.T, cfg manifests.Config) {
		dir := t.TempDir()
		for version, content := range map[string]string{"..1": web, "..2": shop} {
			require.NoError(t, os.Mkdir(filepath.Join(dir, version), 0o700))
			write(t, filepath.Join(dir, version), "pod.yaml", content)
		}
		require.NoError(t, os.Symlink("..1", filepath.Join(dir, "..data")))
		require.NoError(t, os.Symlink("..data/pod.yaml", filepath.Join(dir, "pod.yaml")))
		w := watch(t, dir, cfg)
		w.eventually(t, "default/web")
		require.NoError(t, os.Symlink("..2", filepath.Join(dir, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		w.eventually(t, "default/shop")
		assert.Empty(t, w.told())
	})
}

func TestPodsOfAFileThatBreaksStay(t *testing.T) {
	both := web + "---\n" + shop
	for name, tc := range map[string]struct {
		broken string
		want   []string
		kept   int // pods that are told to stay as they were
	}{
		"broken yaml":            {"a: [", []string{"default/web", "default/shop"}, 2},
		"cannot be split":        {web + "--- x\n" + shop, []string{"default/web", "default/shop"}, 2},
		"emptied":                {"", []string{"default/web", "default/shop"}, 2},
		"cut in the second":      {both[:len(web)+40], []string{"default/web", "default/shop"}, 1},
		"invalid after the edit": {strings.Replace(both, "name: shop", "name: Shop", 1), []string{"default/web", "default/shop"}, 1},
		"only a warning":         {web + "foo: 1\n", []string{"default/web"}, 0},
		"only comments":          {"# nothing left\n", []string{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := folder(t, map[string]string{"both.yaml": both, "z.yaml": strings.ReplaceAll(web, "web", "other")})
			w := watch(t, dir, byRescan)
			w.eventually(t, "default/web", "default/shop", "default/other")
			write(t, dir, "both.yaml", tc.broken)
			soon(t, func() bool { return len(w.src.Problems()) > 0 || tc.broken == "# nothing left\n" })
			w.eventually(t, append(append([]string{}, tc.want...), "default/other")...)
			kept := 0
			for _, p := range w.src.Problems() {
				if strings.Contains(p.Message, "stays as it was") {
					kept++
				}
			}
			assert.Equal(t, tc.kept, kept)

			write(t, dir, "both.yaml", shop)
			w.eventually(t, "default/shop", "default/other")
			soon(t, func() bool { return len(w.src.Problems()) == 0 })
			write(t, dir, "both.yaml", tc.broken)
			require.NoError(t, os.Remove(filepath.Join(dir, "both.yaml")))
			w.eventually(t, "default/other")
		})
	}
}

func TestPodsOfAFileThatCannotBeReadStay(t *testing.T) {
	dir := folder(t, map[string]string{"web.yaml": web})
	w := watch(t, dir, byRescan)
	w.eventually(t, "default/web")
	require.NoError(t, os.Remove(filepath.Join(dir, "web.yaml")))
	w.eventually(t)
	require.NoError(t, os.Symlink("real", filepath.Join(dir, "web.yaml")))
	soon(t, func() bool { return len(w.src.Problems()) == 1 })
	write(t, dir, "real", web)
	w.eventually(t, "default/web")
	require.NoError(t, os.Remove(filepath.Join(dir, "real")))
	soon(t, func() bool { return len(w.src.Problems()) == 2 })
	w.eventually(t, "default/web")
	assert.Contains(t, w.src.Problems()[0].Message, "no such file")
}

func TestSetIsNotCompleteUntilEachFileWasReadWholeOnce(t *testing.T) {
	bothWays(t, func(t *testing.T, cfg manifests.Config) {
		dir := folder(t, map[string]string{"web.yaml": web, "shop.yaml": ""}) // a power cut in mid-save, then a restart
		w := watch(t, dir, cfg)
		w.eventually(t, "default/web") // it starts all the same
		require.NoError(t, os.Remove(filepath.Join(dir, "web.yaml")))
		w.eventually(t)
		assert.Equal(t, 2, w.incomplete())

		write(t, dir, "shop.yaml", shop)
		w.eventually(t, "default/shop")
		write(t, dir, "shop.yaml", "a: [")
		soon(t, func() bool { return len(w.src.Problems()) == 2 })
		write(t, dir, "web.yaml", web)
		w.eventually(t, "default/shop", "default/web")
		assert.Equal(t, 2, w.incomplete(), "by now all of it is known")
	})
}

func TestPowerCutInMidSaveAndARestartEndNoPod(t *testing.T) {
	dir := folder(t, map[string]string{"web.yaml": web, "shop.yaml": shop})
	store := filepath.Join(t.TempDir(), "meta.db")
	run := func(want ...string) {
		sets := make(chan []string, 10)
		meta, err := metaclient.Open(store, manifests.New(dir, byRescan), metaclient.Config{
			CacheAfter: time.Hour,
			OnPods:     func(pods []*corev1.Pod, _ bool) { sets <- names(pods) },
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- meta.Run(ctx) }()
		assert.Equal(t, want, <-sets)
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, meta.Close())
	}
	run("default/shop", "default/web")
	write(t, dir, "shop.yaml", "")
	write(t, dir, "web.yaml", strings.Replace(web, "web:1", "web:2", 1))
	write(t, dir, "new.yaml", strings.ReplaceAll(web, "web", "new"))
	run("default/new", "default/shop", "default/web")
	require.NoError(t, os.Remove(filepath.Join(dir, "shop.yaml")))
	run("default/new", "default/web")
}

func TestSetIsCompleteOnceABrokenFileIsRemovedThoughNoPodChanges(t *testing.T) {
	dir := folder(t, map[string]string{"web.yaml": web, "shop.yaml": ""})
	w := watch(t, dir, byRescan)
	w.eventually(t, "default/web")
	require.NoError(t, os.Remove(filepath.Join(dir, "shop.yaml")))
	soon(t, func() bool { return len(w.delivered()) == 2 })
	assert.Equal(t, 1, w.incomplete())
}

func TestSlowWriterIsReadOnceItHasFinished(t *testing.T) {
	dir := t.TempDir()
	w := watch(t, dir, byNotification)
	w.eventually(t)
	file, err := os.Create(filepath.Join(dir, "web.yaml"))
	require.NoError(t, err)
	for _, part := range strings.SplitAfter(web, "\n") {
		_, err := file.WriteString(part)
		require.NoError(t, err)
	}
	require.NoError(t, file.Close())
	// A busy machine may read it half-written first, see TestPause for the waiting.
	soon(t, func() bool {
		sets := w.delivered()
		last := sets[len(sets)-1]
		return len(last) == 1 && last[0].Spec.Containers[0].Image == "example.test/web:1" && len(w.src.Problems()) == 0
	})
}

func TestUnchangedFolderIsDeliveredOnce(t *testing.T) {
	dir := folder(t, map[string]string{"web.yaml": web})
	w := watch(t, dir, byRescan)
	w.eventually(t, "default/web")
	write(t, dir, "bad.yaml", "kind: Foo")
	soon(t, func() bool { return len(w.told()) == 1 }) // several scans on
	write(t, dir, "web.yaml", web)
	write(t, dir, "bad.yaml", "kind: Bar")
	soon(t, func() bool { return len(w.src.Problems()) == 1 && w.src.Problems()[0].Object == "Bar" })
	assert.Len(t, w.delivered(), 1)
}

func TestProblemIsToldOnceUntilItChangesOrGoes(t *testing.T) {
	logs, seen := observer.New(zap.InfoLevel)
	cfg := byRescan
	cfg.Logger = zap.New(logs)
	dir := folder(t, map[string]string{"a.yaml": "kind: Foo\n"})
	w := watch(t, dir, cfg)
	told := func(n int) func() bool { return func() bool { return len(w.told()) == n } }
	soon(t, told(1))
	write(t, dir, "a.yaml", "kind: Foo\nx: y\n") // the same problem in other bytes
	write(t, dir, "b.yaml", "kind: Foo\n")
	soon(t, told(2))
	write(t, dir, "a.yaml", "kind: Bar\n")
	soon(t, told(3))
	write(t, dir, "a.yaml", "# fine\n")
	soon(t, func() bool { return len(w.src.Problems()) == 1 })
	write(t, dir, "a.yaml", "kind: Bar\n")
	soon(t, told(4))

	told4 := w.told()
	assert.Equal(t, []string{"Foo", "Foo", "Bar", "Bar"}, []string{told4[0].Object, told4[1].Object, told4[2].Object, told4[3].Object})
	soon(t, func() bool { return seen.FilterMessage("problem in manifests is gone").Len() == 2 })
	warnings := seen.FilterMessage("problem in manifests").All()
	require.Len(t, warnings, 4)
	assert.Equal(t, zap.WarnLevel, warnings[0].Level)
	fields := warnings[0].ContextMap()
	assert.Equal(t, "a.yaml", fields["file"])
	assert.Equal(t, "Foo", fields["object"])
	assert.Equal(t, "apiVersion", fields["field"])
}

func TestWatchReturnsTheErrorOfDeliverAndStartsAnew(t *testing.T) {
	dir := folder(t, map[string]string{"web.yaml": web})
	src := manifests.New(dir, byNotification)
	full := errors.New("disk is full")
	for range 2 {
		var got []*corev1.Pod
		require.ErrorIs(t, src.Watch(t.Context(), podSink(func(pods []*corev1.Pod) error {
			got = pods
			return full
		})), full)
		assert.Equal(t, []string{"default/web"}, names(got))
		// What a file gave is known over the failure.
		write(t, dir, "web.yaml", "broken: [")
	}
}
