package podmanager_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/podmanager"
)

func inBubbleListing(t *testing.T, test func(t *testing.T, l *listing)) {
	inBubble(t, func(t *testing.T, f *fake) { test(t, &listing{fake: f}) })
}

func TestOrphansAreKilledOnlyAfterTheFirstReplace(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		l.running(pod("orphan", specGrace(7)), pod("kept"))
		m := run(t, l, l.fake)
		m.Set(pod("new"))
		after(50 * time.Second)
		assert.Equal(t, []string{"sync new"}, l.verbs())

		m.Replace([]*corev1.Pod{pod("new"), pod("kept")})
		synctest.Wait()
		assert.Equal(t, []string{"kill orphan", "removed orphan"}, l.verbs("orphan"))
		assert.Equal(t, []time.Duration{7 * time.Second}, l.graces("orphan"))
		assert.Equal(t, []string{"sync kept"}, l.verbs("kept"))
		assert.Len(t, m.Pods(), 2)
	})
}

func TestOrphanThatAppearsLaterIsKilledWithinTwoSeconds(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		m := run(t, l, l.fake)
		m.Replace([]*corev1.Pod{pod("a")})
		after(10 * time.Second)
		l.running(pod("orphan"))
		after(2 * time.Second)
		assert.Equal(t, []string{"kill orphan", "removed orphan"}, l.verbs("orphan"))
		after(30 * time.Second)
		assert.Len(t, l.verbs("orphan"), 2)
	})
}

func TestNothingIsKilledOnAListThatFails(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		m := run(t, l, l.fake)
		m.Replace(nil)
		synctest.Wait()
		l.whenListed(func(context.Context) error { return errBroken })
		l.running(pod("orphan"))
		after(time.Hour)
		assert.Empty(t, l.verbs())
		l.whenListed(nil)
		after(2 * time.Second)
		assert.Equal(t, []string{"kill orphan", "removed orphan"}, l.verbs())
	})
}

func TestNoPodStartsBeforeWhatRunsIsKnown(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		l.whenListed(func(context.Context) error {
			if time.Since(l.start) < time.Minute {
				return errBroken
			}
			return nil
		})
		m := run(t, l, l.fake)
		m.Replace([]*corev1.Pod{pod("a")})
		after(59 * time.Second)
		assert.Empty(t, l.verbs())
		assert.Less(t, l.timesListed(), 20, "it is asked with a back-off")
		after(6 * time.Second)
		assert.Equal(t, []string{"sync a"}, l.verbs())
	})
}

func TestHangingListEndsWithRunAndByItsDeadline(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		l.whenListed(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		m := run(t, l, l.fake)
		m.Replace([]*corev1.Pod{pod("a")})
		after(3 * time.Minute)
		assert.Equal(t, 2, l.timesListed())
		assert.Empty(t, l.verbs())
	})
}

func TestHangingHousekeepingHoldsUpNoPod(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		m := run(t, l, l.fake)
		m.Replace(nil)
		synctest.Wait()
		l.whenListed(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		after(10 * time.Second)
		m.Set(pod("a"))
		synctest.Wait()
		assert.Equal(t, []string{"sync a"}, l.verbs())
	})
}

func TestOrphansDoNotHoldUpOneAnother(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		l.onKill = func(ctx context.Context, p *corev1.Pod, _ time.Duration) error {
			if p.UID == "stuck" {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		l.running(pod("stuck"), pod("orphan"))
		m := run(t, l, l.fake)
		m.Replace([]*corev1.Pod{pod("a")})
		after(time.Hour)
		assert.Equal(t, []string{"kill stuck"}, l.verbs("stuck"))
		assert.Equal(t, []string{"kill orphan", "removed orphan"}, l.verbs("orphan"))
		assert.Equal(t, "sync a", l.verbs("a")[0])
	})
}

func TestOrphanThatIsSetWhileItEndsStartsAnew(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		l.onKill = killTakesItsGrace
		l.running(pod("a"))
		m := run(t, l, l.fake)
		m.Replace(nil)
		after(time.Second)
		assert.Empty(t, m.Pods())
		m.Set(pod("a"))
		assert.Len(t, m.Pods(), 1)
		after(40 * time.Second)
		assert.Equal(t, []string{"kill a", "removed a", "sync a"}, l.verbs())
	})
}

func TestDeletedVersionOfAnOrphanShortensItsGrace(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		l.onKill = killTakesItsGrace
		l.running(pod("a"))
		m := run(t, l, l.fake)
		m.Replace(nil)
		after(time.Second)
		m.Set(pod("a", deleting(3)))
		assert.Len(t, m.Pods(), 1)
		after(time.Minute)
		assert.Equal(t, []time.Duration{30 * time.Second, 3 * time.Second}, l.graces("a"))
		assert.Equal(t, []string{"kill a", "kill a", "removed a"}, l.verbs())
	})
}

// A manifest was edited, so has another UID, while the agent was down.
func TestRunningPodOfAWantedNameIsEndedBeforeTheNewOneStarts(t *testing.T) {
	tests := map[string]struct{ before, later func(m *podmanager.Manager) }{
		"set before Run":      {before: func(m *podmanager.Manager) { m.Set(web("new")) }},
		"set after the list":  {later: func(m *podmanager.Manager) { m.Set(web("new")) }},
		"replaced before Run": {before: func(m *podmanager.Manager) { m.Replace([]*corev1.Pod{web("new")}) }},
		"replaced after it":   {later: func(m *podmanager.Manager) { m.Replace([]*corev1.Pod{web("new")}) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubbleListing(t, func(t *testing.T, l *listing) {
				l.onKill = killTakesItsGrace
				l.running(web("old"), web("older"), pod("bystander"))
				m := podmanager.New(l, podmanager.Config{OnRemoved: l.removed})
				if tt.before != nil {
					tt.before(m)
				}
				runUntilEnd(t, m)
				synctest.Wait()
				if tt.later != nil {
					tt.later(m)
				}
				after(40 * time.Second)
				assert.Equal(t, []string{"kill old", "removed old"}, l.verbs("old"))
				assert.Equal(t, []string{"kill older", "removed older"}, l.verbs("older"))
				assert.Equal(t, []string{"sync new"}, l.verbs("new"))
				assert.Equal(t, 30*time.Second, l.of("new")[0].at)
			})
		})
	}
}

// A source tells of two pods of one name, which is its fault.
func TestOfTwoPodsOfANameTheOneThatRunsGoesFirst(t *testing.T) {
	for name, beforeRun := range map[string]bool{"set before Run": true, "set after the list": false} {
		t.Run(name, func(t *testing.T) {
			inBubbleListing(t, func(t *testing.T, l *listing) {
				l.running(web("b"))
				m := podmanager.New(l, podmanager.Config{OnRemoved: l.removed})
				both := []*corev1.Pod{web("a", created(1)), web("b", created(2))}
				if beforeRun {
					m.Replace(both)
				}
				runUntilEnd(t, m)
				synctest.Wait()
				m.Replace(both)
				after(30 * time.Second)
				assert.Equal(t, []string{"sync b"}, l.verbs())
				m.Delete("b")
				after(10 * time.Second)
				assert.Equal(t, []string{"sync b", "kill b", "removed b", "sync a"}, l.verbs())
			})
		})
	}
}

func TestFoundPodMayTurnOutToHaveAnotherName(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		l.running(pod("a", named("wrong")))
		m := run(t, l, l.fake)
		synctest.Wait()
		m.Set(pod("a"))
		synctest.Wait()
		m.Set(pod("wrong"))
		synctest.Wait()
		assert.ElementsMatch(t, []string{"sync a", "sync wrong"}, l.verbs())
	})
}

func TestRunningPodGivesItsNameToAPodThatIsToStartAgain(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		l.onKill = killTakesItsGrace
		m := run(t, l, l.fake)
		m.Set(web("a"))
		synctest.Wait()
		m.Delete("a")
		m.Set(web("a"))
		l.running(web("x"))
		after(40 * time.Second)
		assert.Equal(t, []string{"kill x", "removed x"}, l.verbs("x"))
		assert.Equal(t, []string{"sync a", "kill a", "removed a", "sync a"}, l.verbs("a"))
	})
}

func TestDeleteBeforeReplaceReachesAPodThatOnlyRuns(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		l.running(pod("a"), pod("b"))
		m := run(t, l, l.fake)
		synctest.Wait()
		m.Delete("a")
		after(time.Minute)
		assert.Equal(t, []string{"kill a", "removed a"}, l.verbs())
	})
}

func TestFoundPodThatEndsByItselfIsForgotten(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		l.running(web("old"))
		m := run(t, l, l.fake)
		synctest.Wait()
		l.exited("old")
		after(2 * time.Second)
		m.Set(web("new"))
		synctest.Wait()
		assert.Equal(t, []string{"sync new"}, l.verbs())
	})
}

// The list is taken while the pod runs, and answers when it is gone.
func TestPodThatEndedDuringTheListIsNoOrphan(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		m := run(t, &slowListing{listing: l}, l.fake)
		m.Replace([]*corev1.Pod{pod("a")})
		after(6 * time.Second) // listed at 0 and 5, answered at 3 and 8
		m.Delete("a")
		after(time.Minute)
		assert.Equal(t, []string{"sync a", "kill a", "removed a"}, l.verbs())
	})
}

type slowListing struct{ *listing }

func (s *slowListing) List(ctx context.Context) ([]*corev1.Pod, error) {
	pods, err := s.listing.List(ctx)
	time.Sleep(3 * time.Second)
	return pods, err
}

func TestWhatIsKnown(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		l.onKill = killTakesItsGrace
		l.running(pod("orphan"))
		m := podmanager.New(l, podmanager.Config{OnRemoved: l.removed})
		assert.True(t, m.Known("x"), "before the sources spoke")
		m.Replace([]*corev1.Pod{pod("a")})
		assert.True(t, m.Known("x"), "before what runs was listed")
		runUntilEnd(t, m)
		synctest.Wait()
		assert.False(t, m.Known("x"))
		assert.True(t, m.Known("a"))
		assert.True(t, m.Known("orphan"), "while it ends")
		m.Delete("a")
		assert.True(t, m.Known("a"), "while it ends")
		after(time.Minute)
		assert.False(t, m.Known("a"))
		assert.False(t, m.Known("orphan"))
	})
}
