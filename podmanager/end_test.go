package podmanager_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/podmanager"
)

func TestWhatEndsAPod(t *testing.T) {
	tests := map[string]struct {
		end   func(m *podmanager.Manager)
		stays bool // the pod stays desired, finished
	}{
		"deletionTimestamp":        {end: func(m *podmanager.Manager) { m.Set(pod("a", deleting(30))) }},
		"Delete":                   {end: func(m *podmanager.Manager) { m.Delete("a") }},
		"Replace without it":       {end: func(m *podmanager.Manager) { m.Replace(nil) }},
		"deleted in Replace":       {end: func(m *podmanager.Manager) { m.Replace([]*corev1.Pod{pod("a", deleting(30))}) }},
		"another pod of that name": {end: func(m *podmanager.Manager) { m.Set(pod("b", named("a"))) }},
		"phase Failed":             {end: func(m *podmanager.Manager) { m.Set(pod("a", phase(corev1.PodFailed))) }, stays: true},
		"phase Succeeded":          {end: func(m *podmanager.Manager) { m.Set(pod("a", phase(corev1.PodSucceeded))) }, stays: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake) {
				f.onSync = func(ctx context.Context, p *corev1.Pod) (podmanager.Result, error) {
					if p.UID == "a" {
						<-ctx.Done() // only its end cancels a Sync
						time.Sleep(time.Second)
					}
					return podmanager.Result{}, nil
				}
				m := run(t, f, f)
				m.Set(pod("a"))
				after(5 * time.Second)
				tt.end(m)
				after(time.Minute)

				want := []string{"sync a", "kill a"}
				if !tt.stays {
					want = append(want, "removed a")
				}
				assert.Equal(t, want, f.verbs("a"))
				assert.Equal(t, 6*time.Second, f.of("a")[1].at, "Kill waits for the cancelled Sync")
				assert.Equal(t, []time.Duration{30 * time.Second}, f.graces("a"))
			})
		})
	}
}

func TestPodThatIsEndingWhenFirstSeenIsOnlyKilled(t *testing.T) {
	tests := map[string]struct {
		pod  *corev1.Pod
		want []string
	}{
		"terminal":                  {pod("a", phase(corev1.PodSucceeded)), []string{"kill a"}},
		"deleted":                   {pod("a", deleting(5)), []string{"kill a", "removed a"}},
		"terminal and then deleted": {pod("a", phase(corev1.PodFailed), deleting(5)), []string{"kill a", "removed a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake) {
				m := run(t, f, f)
				m.Replace([]*corev1.Pod{tt.pod})
				after(time.Hour)
				assert.Equal(t, tt.want, f.verbs())
			})
		})
	}
}

func TestFinishedPodStaysUntilItIsDeleted(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onSync = func(context.Context, *corev1.Pod) (podmanager.Result, error) {
			return podmanager.Result{Finished: true}, nil
		}
		m := run(t, f, f)
		m.Set(pod("job"))
		synctest.Wait()
		require.Equal(t, []string{"sync job", "kill job"}, f.verbs())

		m.Wake("job")
		m.Set(pod("job", labelled("new")))
		m.Set(pod("job", phase(corev1.PodSucceeded)))
		m.Replace([]*corev1.Pod{pod("job", labelled("newest"))})
		after(time.Hour)
		assert.Len(t, f.of(), 2, "a finished pod is left alone")
		require.Len(t, m.Pods(), 1)
		assert.Equal(t, "newest", m.Pods()[0].Labels["version"])

		m.Delete("job")
		synctest.Wait()
		assert.Equal(t, []string{"sync job", "kill job", "removed job"}, f.verbs())
		assert.Empty(t, m.Pods())
	})
}

func TestFinishedPodGoesByDeletionTimestampToo(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		m := run(t, f, f)
		m.Set(pod("job", phase(corev1.PodFailed)))
		synctest.Wait()
		m.Set(pod("job", phase(corev1.PodFailed), deleting(30)))
		synctest.Wait()
		assert.Equal(t, []string{"kill job", "removed job"}, f.verbs())
	})
}

func TestGraceOnlyShrinks(t *testing.T) {
	tests := map[string]struct {
		later *corev1.Pod
		want  []time.Duration
	}{
		"shorter":      {pod("a", deleting(5)), []time.Duration{20 * time.Second, 5 * time.Second}},
		"force delete": {pod("a", deleting(0)), []time.Duration{20 * time.Second, time.Second}},
		"the same":     {pod("a", deleting(20)), []time.Duration{20 * time.Second}},
		"longer":       {pod("a", deleting(60)), []time.Duration{20 * time.Second}},
		"not deleted":  {pod("a", specGrace(1)), []time.Duration{20 * time.Second}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake) {
				f.onKill = killTakesItsGrace
				m := run(t, f, f)
				m.Set(pod("a"))
				synctest.Wait()
				m.Set(pod("a", deleting(20)))
				after(2 * time.Second)
				m.Set(tt.later)
				after(time.Hour)

				assert.Equal(t, tt.want, f.graces("a"))
				calls := f.of("a")
				assert.Equal(t, "removed", calls[len(calls)-1].verb)
				if len(tt.want) > 1 {
					assert.Equal(t, 2*time.Second, calls[2].at, "the shorter grace takes effect at once")
				}
			})
		})
	}
}

func TestDeleteWhileFinishingShrinksGraceAndRemoves(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onSync = func(context.Context, *corev1.Pod) (podmanager.Result, error) {
			return podmanager.Result{Finished: true}, nil
		}
		f.onKill = killTakesItsGrace
		m := run(t, f, f)
		m.Set(pod("a", specGrace(100)))
		after(time.Second)
		m.Set(pod("a", specGrace(100), deleting(3)))
		m.Delete("a")
		after(time.Hour)
		assert.Equal(t, []time.Duration{100 * time.Second, 3 * time.Second}, f.graces("a"))
		assert.Equal(t, 1, f.count("removed", "a"))
	})
}

func killTakesItsGrace(ctx context.Context, _ *corev1.Pod, grace time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(grace):
		return nil
	}
}

func TestFailedKillIsRetriedWithACappedBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		var m *podmanager.Manager
		f.onKill = func(context.Context, *corev1.Pod, time.Duration) error {
			m.Wake("a")
			if time.Since(f.start) < time.Hour {
				return errBroken
			}
			return nil
		}
		m = podmanager.New(f, podmanager.Config{OnRemoved: f.removed})
		m.Set(pod("a", deleting(30)))
		runUntilEnd(t, m)
		after(2 * time.Hour)

		calls := f.of("a")
		require.Equal(t, "removed", calls[len(calls)-1].verb)
		assert.Less(t, len(calls), 370)
		last := time.Duration(0)
		for i := 1; i < len(calls)-1; i++ {
			gap := calls[i].at - calls[i-1].at
			assert.Greater(t, gap, last*2/3, "it does not get shorter but for jitter")
			assert.LessOrEqual(t, gap, 15*time.Second)
			assert.Equal(t, 30*time.Second, calls[i].grace)
			last = gap
		}
		assert.GreaterOrEqual(t, last, 10*time.Second)
	})
}

func TestBackoffOfKillDoesNotInheritThatOfSync(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onSync = func(context.Context, *corev1.Pod) (podmanager.Result, error) {
			return podmanager.Result{RetryAt: time.Now()}, nil // slows down
		}
		f.onKill = func(context.Context, *corev1.Pod, time.Duration) error { return errBroken }
		m := run(t, f, f)
		m.Set(pod("a"))
		after(time.Hour)
		m.Delete("a")
		after(150 * time.Millisecond)
		assert.Equal(t, 2, f.count("kill", "a"))
	})
}

func TestShorterGraceCutsTheBackoffOfAFailedKill(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onKill = func(context.Context, *corev1.Pod, time.Duration) error { return errBroken }
		m := run(t, f, f)
		m.Set(pod("a", deleting(30)))
		after(time.Hour)
		before := f.count("kill", "a")
		m.Set(pod("a", deleting(1)))
		synctest.Wait()
		assert.Equal(t, before+1, f.count("kill", "a"))
	})
}

func TestDeleteIsFollowedBeforeTheFirstReplace(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		m := run(t, f, f)
		m.Set(pod("a"))
		synctest.Wait()
		m.Delete("a")
		synctest.Wait()
		assert.Equal(t, []string{"sync a", "kill a", "removed a"}, f.verbs())
	})
}

func TestADeletedPodIsKilledWithADeletionTimestamp(t *testing.T) {
	for name, deletes := range map[string]func(m *podmanager.Manager){
		"Delete":              func(m *podmanager.Manager) { m.Delete("a") },
		"Replace without it":  func(m *podmanager.Manager) { m.Replace(nil) },
		"another of its name": func(m *podmanager.Manager) { m.Set(pod("b", named("a"))) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake) {
				f.onKill = killTakesItsGrace
				m := run(t, f, f)
				given := pod("a")
				m.Set(given)
				synctest.Wait()
				deletes(m)
				deletion := time.Now().Add(30 * time.Second)
				m.Set(pod("a", labelled("again")))
				after(time.Hour)

				calls := f.of("a")
				kill, again := calls[1], calls[len(calls)-1]
				require.Equal(t, "kill", kill.verb)
				require.NotNil(t, kill.pod.DeletionTimestamp)
				assert.True(t, deletion.Equal(kill.pod.DeletionTimestamp.Time), "%s, want %s", kill.pod.DeletionTimestamp, deletion)
				require.NotNil(t, kill.pod.DeletionGracePeriodSeconds)
				assert.EqualValues(t, 30, *kill.pod.DeletionGracePeriodSeconds)
				assert.Nil(t, given.DeletionTimestamp, "the pod is shared")
				assert.Nil(t, again.pod.DeletionTimestamp, "a new life, or none")
			})
		})
	}
}

func TestAPodThatEndsByItselfHasNoDeletionTimestamp(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		m := run(t, f, f)
		m.Set(pod("a"))
		synctest.Wait()
		m.Set(pod("a", phase(corev1.PodFailed)))
		synctest.Wait()
		require.Equal(t, []string{"sync a", "kill a"}, f.verbs())
		assert.Nil(t, f.of()[1].pod.DeletionTimestamp)
	})
}

func TestPodSetAgainWhileItEndsStartsAnew(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onKill = killTakesItsGrace
		m := run(t, f, f)
		m.Set(pod("a"))
		synctest.Wait()
		m.Delete("a")
		after(time.Second)
		m.Set(pod("a", labelled("again")))
		require.Len(t, m.Pods(), 1)
		assert.Equal(t, "again", m.Pods()[0].Labels["version"])
		after(40 * time.Second)

		require.Equal(t, []string{"sync a", "kill a", "removed a", "sync a"}, f.verbs())
		assert.Equal(t, "again", f.of()[3].pod.Labels["version"])
	})
}

func TestWhatUndoesASecondLife(t *testing.T) {
	tests := map[string]func(m *podmanager.Manager){
		"Delete":             func(m *podmanager.Manager) { m.Delete("a") },
		"Replace without it": func(m *podmanager.Manager) { m.Replace(nil) },
		"deletionTimestamp":  func(m *podmanager.Manager) { m.Set(pod("a", deleting(30))) },
	}
	for name, undo := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake) {
				f.onKill = killTakesItsGrace
				m := run(t, f, f)
				m.Set(pod("a"))
				synctest.Wait()
				m.Delete("a")
				synctest.Wait()
				m.Set(pod("a", labelled("again")))
				undo(m)
				after(time.Hour)
				assert.Equal(t, []string{"sync a", "kill a", "removed a"}, f.verbs())
				assert.Empty(t, m.Pods())
			})
		})
	}
}

func TestDeletionTimestampIsNeverTakenBack(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onKill = killTakesItsGrace
		m := run(t, f, f)
		m.Set(pod("a", deleting(30)))
		synctest.Wait()
		m.Set(pod("a")) // an old message
		after(time.Hour)
		assert.Equal(t, []string{"kill a", "removed a"}, f.verbs())
	})
}

func TestManagerMayBeCalledFromItsCallbacks(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		var m *podmanager.Manager
		m = podmanager.New(f, podmanager.Config{OnRemoved: func(p *corev1.Pod) {
			f.removed(p)
			if len(p.Labels) == 0 {
				m.Set(pod(p.UID, labelled("again")))
				m.Wake(p.UID)
				m.Pods()
			}
			m.Delete("b")
		}})
		f.onSync = func(_ context.Context, p *corev1.Pod) (podmanager.Result, error) {
			if p.UID == "a" && len(p.Labels) == 0 {
				m.Delete("a")
			}
			return podmanager.Result{}, nil
		}
		runUntilEnd(t, m)
		m.Set(pod("b"))
		synctest.Wait()
		m.Set(pod("a"))
		synctest.Wait()
		assert.Equal(t, []string{"sync a", "kill a", "removed a", "sync a"}, f.verbs("a"))
		assert.Equal(t, []string{"sync b", "kill b", "removed b"}, f.verbs("b"))
	})
}

func TestLogTellsEachChangeOnceAndEachFailureOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onSync = func(context.Context, *corev1.Pod) (podmanager.Result, error) {
			return podmanager.Result{}, errBroken
		}
		f.onKill = killTakesItsGrace
		core, logs := observer.New(zap.DebugLevel)
		m := podmanager.New(f, podmanager.Config{OnRemoved: f.removed, Logger: zap.New(core)})
		runUntilEnd(t, m)
		m.Set(pod("a"))
		after(time.Hour)
		m.Set(pod("b", named("a")))
		after(time.Minute)

		var lines []string
		for _, e := range logs.All() {
			assert.Equal(t, "podmanager", e.LoggerName)
			lines = append(lines, fmt.Sprint(e.Level, " ", e.Message, " ", e.ContextMap()["uid"]))
		}
		assert.ElementsMatch(t, []string{
			"info pod begins a",
			"warn sync failed, will be retried a",
			"info pod waits until the other of its name is gone b",
			"info pod is ending a",
			"info pod has ended a",
			"info pod removed a",
			"info pod begins b",
			"warn sync failed, will be retried b",
		}, lines)
	})
}

func TestPodsListsWhatIsNotYetGone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onKill = killTakesItsGrace
		m := run(t, f, f)
		m.Replace([]*corev1.Pod{
			pod("running"), pod("ending", deleting(30)), pod("done", phase(corev1.PodSucceeded)),
			pod("waiting", named("running"), created(9)),
		})
		synctest.Wait()
		names := func() (uids []string) {
			for _, p := range m.Pods() {
				uids = append(uids, string(p.UID))
			}
			return uids
		}
		assert.Equal(t, []string{"done", "ending", "running", "waiting"}, names())
		after(time.Minute)
		assert.Equal(t, []string{"done", "running", "waiting"}, names())
	})
}
