package podmanager_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/podmanager"
)

var errBroken = errors.New("broken")

func TestNewPodIsSyncedAtOnceAndThenInEachResync(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		m := run(t, f, f)
		m.Set(pod("a"))
		after(time.Hour)

		calls := f.of("a")
		require.Greater(t, len(calls), 2)
		assert.Zero(t, calls[0].at)
		spread := map[time.Duration]bool{}
		for i := 1; i < len(calls); i++ {
			gap := calls[i].at - calls[i-1].at
			assert.GreaterOrEqual(t, gap, time.Minute)
			assert.LessOrEqual(t, gap, 90*time.Second)
			spread[gap] = true
		}
		assert.Greater(t, len(spread), 1, "resyncs are jittered")
	})
}

func TestPodsSetBeforeRunAreSyncedWhenItBegins(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		m := podmanager.New(f, podmanager.Config{OnRemoved: f.removed})
		m.Replace([]*corev1.Pod{pod("a"), pod("b")})
		m.Set(pod("c"))
		m.Wake("c")
		m.Delete("b")
		after(time.Minute)
		assert.Empty(t, f.of())

		runUntilEnd(t, m)
		synctest.Wait()
		assert.ElementsMatch(t, []string{"sync a", "sync c", "kill b", "removed b"}, f.verbs())
	})
}

func TestFailedSyncIsRetriedAfterErrorBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onSync = func(context.Context, *corev1.Pod) (podmanager.Result, error) {
			return podmanager.Result{Finished: true}, errBroken // an error overrules Finished
		}
		m := run(t, f, f)
		m.Set(pod("a"))
		after(10 * time.Minute)

		calls := f.of("a")
		require.Greater(t, len(calls), 30)
		for i := 1; i < len(calls); i++ {
			assert.GreaterOrEqual(t, calls[i].at-calls[i-1].at, 10*time.Second)
			assert.LessOrEqual(t, calls[i].at-calls[i-1].at, 15*time.Second)
		}
	})
}

func TestRetryAtIsKeptExactly(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		backoffs := []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second}
		f.onSync = func(context.Context, *corev1.Pod) (podmanager.Result, error) {
			n := f.count("sync", "a") - 1
			if n >= len(backoffs) {
				return podmanager.Result{}, nil
			}
			return podmanager.Result{RetryAt: time.Now().Add(backoffs[n])}, nil
		}
		m := run(t, f, f)
		m.Set(pod("a"))
		after(71 * time.Second)

		var at []time.Duration
		for _, c := range f.of("a") {
			at = append(at, c.at)
		}
		assert.Equal(t, []time.Duration{0, 10 * time.Second, 30 * time.Second, 70 * time.Second}, at)
	})
}

func TestWakeSyncsAtOnce(t *testing.T) {
	for name, err := range map[string]error{"after success": nil, "after failure": errBroken} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake) {
				f.onSync = func(context.Context, *corev1.Pod) (podmanager.Result, error) {
					return podmanager.Result{}, err
				}
				m := run(t, f, f)
				m.Set(pod("a"))
				after(3 * time.Second)
				m.Wake("a")
				synctest.Wait()

				calls := f.of("a")
				require.Len(t, calls, 2)
				assert.Equal(t, 3*time.Second, calls[1].at)
			})
		})
	}
}

func TestManyWakesDuringASyncMakeOneMore(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onSync = func(context.Context, *corev1.Pod) (podmanager.Result, error) {
			time.Sleep(time.Second)
			return podmanager.Result{}, nil
		}
		m := run(t, f, f)
		m.Set(pod("a"))
		after(time.Millisecond)
		for range 100 {
			m.Wake("a")
		}
		after(30 * time.Second)
		assert.Equal(t, 2, f.count("sync", "a"))
	})
}

func TestWakeOfUnknownPodIsIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		m := run(t, f, f)
		m.Wake("a")
		after(time.Hour)
		assert.Empty(t, f.of())
	})
}

func TestSyncThatCausesItsOwnWakesDoesNotSpin(t *testing.T) {
	causes := map[string]struct {
		wake bool
		res  podmanager.Result
		err  error
	}{
		"a failure that wakes":        {wake: true, err: errBroken},
		"a retry that is due":         {res: podmanager.Result{RetryAt: time.Unix(1, 0)}},
		"a failure with a retry past": {res: podmanager.Result{RetryAt: time.Unix(1, 0)}, err: errBroken},
	}
	for name, cause := range causes {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake) {
				var m *podmanager.Manager
				f.onSync = func(context.Context, *corev1.Pod) (podmanager.Result, error) {
					if cause.wake {
						m.Wake("a")
					}
					return cause.res, cause.err
				}
				m = podmanager.New(f, podmanager.Config{})
				m.Set(pod("a"))
				runUntilEnd(t, m)
				after(10 * time.Minute)

				calls := f.of("a")
				assert.Zero(t, calls[1].at, "the first one is not held up")
				assert.Less(t, len(calls), 75, "it slows down to about ErrorBackoff")
				assert.Greater(t, len(calls), 40)
			})
		})
	}
}

func TestWakeAfterManyQuietFailuresIsImmediate(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onSync = func(context.Context, *corev1.Pod) (podmanager.Result, error) {
			return podmanager.Result{}, errBroken // such as a missing Secret
		}
		m := run(t, f, f)
		m.Set(pod("a"))
		after(time.Hour)
		before := f.count("sync", "a")
		m.Wake("a") // the Secret has come
		synctest.Wait()
		assert.Equal(t, before+1, f.count("sync", "a"))
	})
}

func TestWakesThatSucceededDoNotHoldUpTheNextOne(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onSync = func(context.Context, *corev1.Pod) (podmanager.Result, error) {
			if f.count("sync", "a") > 50 {
				return podmanager.Result{}, errBroken
			}
			return podmanager.Result{}, nil
		}
		m := run(t, f, f)
		m.Set(pod("a"))
		for range 52 {
			synctest.Wait()
			m.Wake("a")
		}
		synctest.Wait()
		assert.Equal(t, 52, f.count("sync", "a"))
		assert.Zero(t, f.of("a")[51].at)
	})
}

func TestNewestUpdateReplacesThePendingOne(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onSync = func(ctx context.Context, _ *corev1.Pod) (podmanager.Result, error) {
			time.Sleep(time.Second)
			assert.NoError(t, ctx.Err(), "an update does not disturb the Sync in flight")
			return podmanager.Result{}, nil
		}
		m := run(t, f, f)
		m.Set(pod("a", labelled("1")))
		after(time.Millisecond)
		m.Set(pod("a", labelled("2")))
		m.Set(pod("a", labelled("3")))
		after(30 * time.Second)

		calls := f.of("a")
		require.Len(t, calls, 2)
		assert.Equal(t, "1", calls[0].pod.Labels["version"])
		assert.Equal(t, "3", calls[1].pod.Labels["version"])
		assert.Equal(t, time.Second, calls[1].at)
	})
}

func TestSettingWhatIsThereAlreadyDoesNotSync(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		m := run(t, f, f)
		for range 10 {
			m.Replace([]*corev1.Pod{pod("a"), pod("b")})
			m.Set(pod("a"))
			synctest.Wait()
		}
		assert.ElementsMatch(t, []string{"sync a", "sync b"}, f.verbs())
	})
}

func TestPodsWithoutIdentityAreIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		m := run(t, f, f)
		m.Set(nil)
		m.Set(pod("", named("x")))
		m.Replace([]*corev1.Pod{nil, pod("", named("x")), pod("a")})
		m.Delete("")
		m.Wake("")
		synctest.Wait()
		assert.Equal(t, []string{"sync a"}, f.verbs())
		assert.Len(t, m.Pods(), 1)
	})
}

func TestHangingPodsDelayNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		hangs := map[types.UID]bool{}
		hang := func(ctx context.Context, p *corev1.Pod) {
			if hangs[p.UID] {
				<-ctx.Done()
			}
		}
		f.onSync = func(ctx context.Context, p *corev1.Pod) (podmanager.Result, error) {
			hang(ctx, p)
			return podmanager.Result{}, ctx.Err()
		}
		f.onKill = func(ctx context.Context, p *corev1.Pod, _ time.Duration) error {
			hang(ctx, p)
			return ctx.Err()
		}
		var pods []*corev1.Pod
		for i := range 200 {
			p := pod(types.UID(fmt.Sprint("pod-", i)))
			hangs[p.UID] = i%4 == 0
			pods = append(pods, p)
		}
		m := run(t, f, f)
		m.Replace(pods)
		synctest.Wait()
		assert.Len(t, f.of(), 200)

		for _, p := range pods[:100] {
			m.Delete(p.UID)
		}
		m.Set(pod("late"))
		synctest.Wait()
		removed := 0
		for _, c := range f.of() {
			assert.Zero(t, c.at)
			if c.verb == "removed" {
				removed++
			}
		}
		assert.Equal(t, 75, removed, "all but those whose Kill hangs")
		assert.Equal(t, 1, f.count("sync", "late"))
	})
}

func TestRunEndsWithItsWorkersAndKillsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		returned := 0
		f.onSync = func(ctx context.Context, p *corev1.Pod) (podmanager.Result, error) {
			if p.UID == "slow" {
				<-ctx.Done()
				time.Sleep(5 * time.Second) // a step that must not be torn
			}
			returned++
			return podmanager.Result{}, ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		m := podmanager.New(f, podmanager.Config{OnRemoved: f.removed})
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		m.Set(pod("slow"))
		synctest.Wait()
		m.Set(pod("idle"))
		synctest.Wait()

		cancel()
		require.NoError(t, <-done)
		assert.Equal(t, 2, returned)
		assert.Equal(t, 5*time.Second, time.Since(f.start))
		assert.Equal(t, []string{"sync slow", "sync idle"}, f.verbs())

		m.Set(pod("late")) // harmless after the end
		m.Delete("idle")
		after(time.Hour)
		assert.Len(t, f.of(), 2)
	})
}
