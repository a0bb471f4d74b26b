package volume_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/volume"
)

// running runs the manager until the end of the test's bubble.
func running(t *testing.T, m *volume.Manager) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

// No time passes between the push and the files, and nothing else is asked for.
func TestAPushedChangeShowsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, root := newShelf(), t.TempDir()
		s.setConfigMap("settings", map[string]string{"a": "1"})
		s.setConfigMap("other", map[string]string{"a": "1"})
		pod := shopPod(configMap("settings"), configMap("other"))
		_, err := s.manager(root).Mount(t.Context(), pod)
		require.NoError(t, err)

		m := s.manager(root) // the next agent, which learns of the pod by its Mount
		running(t, m)
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		synctest.Wait()
		s.takeAsked()
		start := time.Now()
		s.setConfigMap("settings", map[string]string{"a": "2"})
		s.setConfigMap("other", map[string]string{"a": "2"})
		m.Changed(volume.KindConfigMap, "shop", "settings")
		m.Changed(volume.KindConfigMap, "elsewhere", "other")
		m.Changed(volume.KindSecret, "shop", "other")
		m.Changed("Pod", "shop", "other")
		synctest.Wait()
		assert.Equal(t, map[string]string{"a": "2"}, filesIn(t, paths["v-settings"]))
		assert.Equal(t, map[string]string{"a": "1"}, filesIn(t, paths["v-other"]))
		assert.Equal(t, []string{"configmaps settings"}, s.takeAsked())
		assert.Zero(t, time.Since(start))
	})
}

// A change that is told while the pod's worker reads the old object is not lost, and
// the worker is not refused its volumes while Run is at them.
func TestAChangeInTheMiddleOfAMountIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.setConfigMap("settings", map[string]string{"a": "1"})
		m := s.manager(t.TempDir())
		running(t, m)
		pod := shopPod(configMap("settings"))
		first := true
		s.whenAsked(func(string) {
			time.Sleep(time.Second) // the answer is on its way
			if first {
				first = false
				s.setConfigMap("settings", map[string]string{"a": "2"})
				m.Changed(volume.KindConfigMap, "shop", "settings")
			}
		})
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"a": "1"}, filesIn(t, paths["v-settings"]))
		synctest.Wait() // Run asks now, and gets its answer in a second
		_, err = m.Mount(t.Context(), pod)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"a": "2"}, filesIn(t, paths["v-settings"]))
		assert.Equal(t, []string{"configmaps settings", "configmaps settings", "configmaps settings"}, s.takeAsked())
	})
}

func TestAMountWaitsForRunNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.setConfigMap("settings", nil)
		m := s.manager(t.TempDir())
		running(t, m)
		pod := shopPod(configMap("settings"))
		_, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		s.whenAsked(func(string) { time.Sleep(time.Minute) })
		m.Changed(volume.KindConfigMap, "shop", "settings")
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = m.Mount(ctx, pod)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		s.whenAsked(nil)
		time.Sleep(time.Minute)
	})
}

func TestAChangeThatCannotBeReadIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.setConfigMap("settings", map[string]string{"a": "1"})
		m := s.manager(t.TempDir())
		running(t, m)
		paths, err := m.Mount(t.Context(), shopPod(configMap("settings")))
		require.NoError(t, err)
		s.setConfigMap("settings", map[string]string{"a": "2"})
		s.fail(errOffline)
		m.Changed(volume.KindConfigMap, "shop", "settings")
		time.Sleep(10 * time.Minute)
		assert.Equal(t, map[string]string{"a": "1"}, filesIn(t, paths["v-settings"]))
		assert.Len(t, s.told(), 1)
		s.fail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, map[string]string{"a": "2"}, filesIn(t, paths["v-settings"]))
	})
}

func TestAChangeDoesNotBringBackAPodThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, root := newShelf(), t.TempDir()
		s.setConfigMap("settings", map[string]string{"a": "1"})
		m := s.manager(root)
		running(t, m)
		pod := shopPod(configMap("settings"))
		_, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		require.NoError(t, m.Unmount(t.Context(), pod.UID))
		s.takeAsked()
		m.Changed(volume.KindConfigMap, "shop", "settings")
		synctest.Wait()
		assert.Empty(t, s.takeAsked())
		assert.NoDirExists(t, filepath.Join(root, "pods/uid"))
	})
}

// One pod whose object takes long does not keep others from theirs.
func TestASlowObjectHoldsUpNoOtherPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.setConfigMap("slow", map[string]string{"a": "1"})
		s.setConfigMap("quick", map[string]string{"a": "1"})
		m := s.manager(t.TempDir())
		running(t, m)
		slow, quick := shopPod(configMap("slow")), shopPod(configMap("quick"))
		quick.UID = "quick"
		_, err := m.Mount(t.Context(), slow)
		require.NoError(t, err)
		paths, err := m.Mount(t.Context(), quick)
		require.NoError(t, err)
		s.whenAsked(func(what string) {
			if what == "configmaps slow" {
				time.Sleep(time.Minute)
			}
		})
		s.setConfigMap("quick", map[string]string{"a": "2"})
		m.Changed(volume.KindConfigMap, "shop", "slow")
		synctest.Wait()
		m.Changed(volume.KindConfigMap, "shop", "quick")
		synctest.Wait()
		assert.Equal(t, map[string]string{"a": "2"}, filesIn(t, paths["v-quick"]))
		time.Sleep(time.Minute)
	})
}

// What a Mount that was cut short did not come to is not forgotten.
func TestAChangeBeforeAMountThatIsCutShortIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.setConfigMap("one", map[string]string{"a": "1"})
		s.setConfigMap("two", map[string]string{"a": "1"})
		m := s.manager(t.TempDir())
		pod := shopPod(configMap("one"), configMap("two"))
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		s.setConfigMap("two", map[string]string{"a": "2"})
		m.Changed(volume.KindConfigMap, "shop", "two")
		ctx, cancel := context.WithCancel(t.Context())
		s.whenAsked(func(string) { cancel() })
		_, err = m.Mount(ctx, pod)
		require.ErrorIs(t, err, context.Canceled)
		s.whenAsked(nil)
		running(t, m)
		synctest.Wait()
		assert.Equal(t, map[string]string{"a": "2"}, filesIn(t, paths["v-two"]))
	})
}

// ctxShelf heeds its context.
type ctxShelf struct{ *shelf }

func (s ctxShelf) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	object, err := s.shelf.ConfigMap(ctx, namespace, name)
	return object, errors.Join(err, ctx.Err())
}

// Who is cut short has not failed: nobody is told, and what was not done stays to be
// done.
func TestAnEndIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := ctxShelf{newShelf()}
		s.setConfigMap("settings", map[string]string{"a": "1"})
		m := volume.New(s, volume.Config{Root: t.TempDir(), Recorder: s})
		pod := shopPod(configMap("settings"))
		paths, err := m.Mount(t.Context(), pod)
		require.NoError(t, err)
		s.setConfigMap("settings", map[string]string{"a": "2"})
		m.Changed(volume.KindConfigMap, "shop", "settings")
		ctx, cancel := context.WithCancel(t.Context())
		s.whenAsked(func(string) { cancel() })
		require.NoError(t, m.Run(ctx))
		assert.Empty(t, s.told())
		assert.Equal(t, map[string]string{"a": "1"}, filesIn(t, paths["v-settings"]))
		_, err = m.Mount(ctx, pod)
		require.ErrorIs(t, err, context.Canceled)

		s.whenAsked(nil)
		running(t, m)
		synctest.Wait()
		assert.Equal(t, map[string]string{"a": "2"}, filesIn(t, paths["v-settings"]))
		assert.Empty(t, s.told())
	})
}

// Of many pods that show a slow object, those whose turn has not come are nobody's: they
// are unmounted at once, and the next turn may be that of another pod.
func TestPodsWaitForTheirTurnUnclaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf()
		s.setConfigMap("slow", nil)
		s.setConfigMap("quick", map[string]string{"a": "1"})
		m := s.manager(t.TempDir())
		running(t, m)
		const pods, atOnce = 17, 8
		for i := range pods {
			pod := shopPod(configMap("slow"))
			pod.UID = types.UID(fmt.Sprint(i))
			_, err := m.Mount(t.Context(), pod)
			require.NoError(t, err)
		}
		paths, err := m.Mount(t.Context(), shopPod(configMap("quick")))
		require.NoError(t, err)
		synctest.Wait()
		s.whenAsked(func(what string) {
			if what == "configmaps slow" {
				time.Sleep(time.Minute)
			}
		})
		m.Changed(volume.KindConfigMap, "shop", "slow")
		synctest.Wait()
		s.setConfigMap("quick", map[string]string{"a": "2"})
		m.Changed(volume.KindConfigMap, "shop", "quick")

		refused := 0
		for i := range pods {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if m.Unmount(ctx, types.UID(fmt.Sprint(i))) != nil {
				refused++
			}
			cancel()
		}
		assert.Equal(t, atOnce, refused)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, map[string]string{"a": "2"}, filesIn(t, paths["v-quick"]))
	})
}
