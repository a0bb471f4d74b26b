package podmanager_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/podmanager"
	"github.com/edged-project/edged/podmanager/admission"
)

// room admits up to n pods at a time.
func room(n int) admitter {
	return func(_ *corev1.Pod, admitted []*corev1.Pod) *podmanager.Rejection {
		if len(admitted) < n {
			return nil
		}
		return &podmanager.Rejection{Reason: "OutOfpods", Message: "full"}
	}
}

func runAdmitting(t *testing.T, s podmanager.Syncer, f *fake, check admitter) *podmanager.Manager {
	m := podmanager.New(s, f.admitting(check))
	runUntilEnd(t, m)
	return m
}

func startedAt(second int64) option {
	return func(p *corev1.Pod) { p.Status.StartTime = &metav1.Time{Time: time.Unix(second, 0)} }
}

func TestPodIsAskedForOnceBeforeItsFirstSync(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		m := runAdmitting(t, f, f, room(9))
		m.Set(pod("a"))
		synctest.Wait()
		m.Set(pod("a", labelled("2")))
		synctest.Wait()
		m.Wake("a")
		after(30 * time.Second)
		assert.Equal(t, []string{"ask a", "sync a", "sync a", "sync a"}, f.verbs())
	})
}

func TestRejectedPodIsReportedAndKilledAndNeverSynced(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		var told podmanager.Rejection
		cfg := f.admitting(room(0))
		rejected := cfg.OnRejected
		cfg.OnRejected = func(p *corev1.Pod, why podmanager.Rejection) {
			rejected(p, why)
			told = why
		}
		m := podmanager.New(f, cfg)
		runUntilEnd(t, m)
		m.Set(pod("a"))
		after(time.Hour)
		want := []string{"ask a", "rejected a", "kill a"}
		require.Equal(t, want, f.verbs())
		assert.Equal(t, podmanager.Rejection{Reason: "OutOfpods", Message: "full"}, told)
		assert.Len(t, m.Pods(), 1, "it stays until it is deleted")

		m.Wake("a")
		m.Set(pod("a", labelled("2")))
		m.Set(pod("a", labelled("2"), phase(corev1.PodFailed))) // what was published comes back
		m.Replace([]*corev1.Pod{pod("a", labelled("3"))})
		after(time.Hour)
		require.Equal(t, want, f.verbs(), "it is not asked for again")

		m.Delete("a")
		synctest.Wait()
		assert.Equal(t, append(want, "removed a"), f.verbs())
		assert.Empty(t, m.Pods())
	})
}

func TestRejectedPodIsRejectedOnceThoughItsKillFails(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onKill = func(context.Context, *corev1.Pod, time.Duration) error {
			if f.count("kill", "a") < 5 {
				return errBroken
			}
			return nil
		}
		m := runAdmitting(t, f, f, func(p *corev1.Pod, admitted []*corev1.Pod) *podmanager.Rejection {
			if p.UID == "a" {
				return &podmanager.Rejection{Reason: "NodePorts"}
			}
			return room(1)(p, admitted)
		})
		m.Set(pod("a"))
		synctest.Wait()
		m.Set(pod("b"))
		after(time.Hour)
		assert.Equal(t, 1, f.count("rejected", "a"))
		assert.Equal(t, 5, f.count("kill", "a"))
		assert.Zero(t, f.count("rejected", "b"), "one that was refused does not count")
	})
}

func TestOlderPodsAreAskedForFirst(t *testing.T) {
	for name, deliver := range map[string]func(m *podmanager.Manager, pods []*corev1.Pod){
		"Set": func(m *podmanager.Manager, pods []*corev1.Pod) {
			for _, p := range pods {
				m.Set(p)
			}
		},
		"Replace": func(m *podmanager.Manager, pods []*corev1.Pod) { m.Replace(pods) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake) {
				m := podmanager.New(f, f.admitting(room(2)))
				deliver(m, []*corev1.Pod{pod("c", created(3)), pod("a", created(1)), pod("b", created(2))})
				runUntilEnd(t, m)
				synctest.Wait()
				var asked []types.UID
				for _, c := range f.of() {
					if c.verb == "ask" {
						asked = append(asked, c.uid)
					}
				}
				assert.Equal(t, []types.UID{"a", "b", "c"}, asked)
				assert.Equal(t, []string{"ask c", "rejected c", "kill c"}, f.verbs("c"))
			})
		})
	}
}

// A pod "a" takes the only room; what is done to it may make room for "b".
func TestWhatMakesRoom(t *testing.T) {
	ends := func(context.Context, *corev1.Pod) (podmanager.Result, error) {
		return podmanager.Result{Finished: true}, nil
	}
	tests := map[string]struct {
		onSync func(context.Context, *corev1.Pod) (podmanager.Result, error)
		do     func(m *podmanager.Manager)
		then   time.Duration // before "b" comes; a Kill takes 30 s
		fits   bool
	}{
		"nothing":                {do: func(*podmanager.Manager) {}, then: time.Hour},
		"it is ending":           {do: func(m *podmanager.Manager) { m.Delete("a") }, then: 29 * time.Second},
		"it is gone":             {do: func(m *podmanager.Manager) { m.Delete("a") }, then: 31 * time.Second, fits: true},
		"it has run to its end":  {onSync: ends, do: func(*podmanager.Manager) {}, then: 31 * time.Second, fits: true},
		"it is told to have":     {do: func(m *podmanager.Manager) { m.Set(pod("a", phase(corev1.PodFailed))) }, then: 31 * time.Second, fits: true},
		"it has not stopped yet": {do: func(m *podmanager.Manager) { m.Set(pod("a", phase(corev1.PodFailed))) }, then: 29 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake) {
				f.onSync, f.onKill = tt.onSync, killTakesItsGrace
				m := runAdmitting(t, f, f, room(1))
				m.Set(pod("a"))
				synctest.Wait()
				tt.do(m)
				after(tt.then)
				m.Set(pod("b"))
				synctest.Wait()
				want := "rejected b"
				if tt.fits {
					want = "sync b"
				}
				assert.Equal(t, want, f.verbs("b")[1])
				after(time.Hour)
				assert.Equal(t, tt.fits, f.count("sync", "b") > 0, "one that was refused stays so")
			})
		})
	}
}

func TestPodThatTakesANameIsAskedForWhenTheNameIsFree(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onKill = killTakesItsGrace
		m := runAdmitting(t, f, f, room(1))
		m.Set(web("a"))
		synctest.Wait()
		m.Set(web("b"))
		after(time.Minute)
		assert.Equal(t, []string{"ask a", "sync a", "kill a", "removed a", "ask b", "sync b"}, f.verbs())
	})
}

// Its upstream fails a pod that runs.
func TestPodThatIsEndingHasItsPortsUntilItHasEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onKill = killTakesItsGrace
		m := runAdmitting(t, f, f, func(p *corev1.Pod, admitted []*corev1.Pod) *podmanager.Rejection {
			return admission.Check(p, admission.Node{}, admitted)
		})
		onPort := func(p *corev1.Pod) {
			p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{HostPort: 80}}}}
		}
		m.Set(pod("a", onPort))
		synctest.Wait()
		m.Set(pod("a", onPort, phase(corev1.PodFailed)))
		m.Set(pod("early", onPort))
		after(time.Minute)
		m.Set(pod("late", onPort))
		synctest.Wait()
		assert.Equal(t, []string{"ask early", "rejected early", "kill early"}, f.verbs("early"))
		assert.Equal(t, []string{"ask late", "sync late"}, f.verbs("late"))
	})
}

func TestNextLifeIsAskedForAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		free := room(0)
		m := runAdmitting(t, f, f, func(p *corev1.Pod, admitted []*corev1.Pod) *podmanager.Rejection {
			return free(p, admitted)
		})
		m.Set(pod("a"))
		synctest.Wait()
		free = room(1)
		m.Delete("a")
		m.Set(pod("a"))
		synctest.Wait()
		assert.Equal(t, []string{"ask a", "rejected a", "kill a", "removed a", "ask a", "sync a"}, f.verbs())
	})
}

// There is room for one, and a new pod that is older than all others asks for it.
func TestPodsOfAnEarlierAgentAreNotAskedForButCount(t *testing.T) {
	tests := map[string]struct {
		pod   *corev1.Pod
		runs  bool
		asks  bool
		count bool
	}{
		"one that runs":                         {pod: pod("old", created(9)), runs: true, count: true},
		"one that was started":                  {pod: pod("old", created(9), startedAt(10)), count: true},
		"one that is told to run":               {pod: pod("old", created(9), phase(corev1.PodRunning)), count: true},
		"one that runs and is ending":           {pod: pod("old", created(9), deleting(30)), runs: true, count: true},
		"one that was started and is ending":    {pod: pod("old", created(9), startedAt(10), deleting(30))},
		"one that had run to its end":           {pod: pod("old", created(9), startedAt(10), phase(corev1.PodSucceeded))},
		"one that has, of which something runs": {pod: pod("old", created(9), phase(corev1.PodSucceeded)), runs: true, count: true},
		"one that was never started":            {pod: pod("old", created(9)), asks: true},
	}
	for name, tt := range tests {
		for when, late := range map[string]bool{"set before the list": false, "set after the list": true} {
			t.Run(name+", "+when, func(t *testing.T) {
				inBubbleListing(t, func(t *testing.T, l *listing) {
					l.onKill = killTakesItsGrace
					if tt.runs {
						l.running(tt.pod)
					}
					m := podmanager.New(l, l.admitting(room(1)))
					if late {
						runUntilEnd(t, m)
						synctest.Wait()
					}
					m.Replace([]*corev1.Pod{pod("new", created(1)), tt.pod})
					if !late {
						runUntilEnd(t, m)
					}
					synctest.Wait()
					assert.Equal(t, tt.asks, l.count("ask", "old") > 0)
					want := "sync new"
					if tt.count {
						want = "rejected new"
					}
					assert.Equal(t, want, l.verbs("new")[1])
				})
			})
		}
	}
}

func TestNewsThatAPodWasStartedSparesTheQuestion(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		m := podmanager.New(f, f.admitting(room(0)))
		m.Set(pod("a"))
		m.Set(pod("a", startedAt(1)))
		runUntilEnd(t, m)
		synctest.Wait()
		assert.Equal(t, []string{"sync a"}, f.verbs())
	})
}

func TestOrphansDoNotCount(t *testing.T) {
	inBubbleListing(t, func(t *testing.T, l *listing) {
		l.onKill = killTakesItsGrace
		l.running(pod("orphan"))
		m := runAdmitting(t, l, l.fake, room(1))
		m.Replace([]*corev1.Pod{pod("a")})
		synctest.Wait()
		assert.Equal(t, []string{"ask a", "sync a"}, l.verbs("a"))
	})
}

func TestNothingIsAskedForAPodThatIsEnding(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		m := runAdmitting(t, f, f, room(0))
		m.Replace([]*corev1.Pod{pod("a", deleting(5)), pod("b", phase(corev1.PodFailed))})
		synctest.Wait()
		assert.ElementsMatch(t, []string{"kill a", "removed a", "kill b"}, f.verbs())
	})
}

func TestPodDeletedWhileItIsAskedForIsNotRejected(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		var m *podmanager.Manager
		m = podmanager.New(f, f.admitting(func(p *corev1.Pod, _ []*corev1.Pod) *podmanager.Rejection {
			m.Delete(p.UID) // the callback may call the Manager
			return room(0)(p, nil)
		}))
		runUntilEnd(t, m)
		m.Set(pod("a"))
		synctest.Wait()
		assert.Equal(t, []string{"ask a", "kill a", "removed a"}, f.verbs())
	})
}

func TestPodDeletedByOnRejectedIsRemoved(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		var m *podmanager.Manager
		cfg := f.admitting(room(0))
		rejected := cfg.OnRejected
		cfg.OnRejected = func(p *corev1.Pod, why podmanager.Rejection) {
			rejected(p, why)
			m.Set(pod(p.UID, phase(corev1.PodFailed), deleting(0)))
		}
		m = podmanager.New(f, cfg)
		runUntilEnd(t, m)
		m.Set(pod("a"))
		synctest.Wait()
		assert.Equal(t, []string{"ask a", "rejected a", "kill a", "removed a"}, f.verbs())
	})
}

func TestAdmittedAreThePodsThatShareTheNode(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		m := runAdmitting(t, f, f, room(2))
		for _, uid := range []types.UID{"a", "b", "c"} {
			m.Set(pod(uid))
			synctest.Wait()
		}
		uids := func() (uids []types.UID) {
			for _, p := range m.Admitted() {
				uids = append(uids, p.UID)
			}
			return uids
		}
		assert.Equal(t, []types.UID{"a", "b"}, uids(), "c was rejected")
		newer := pod("a", labelled("2"))
		m.Set(newer)
		assert.Same(t, newer, m.Admitted()[0])
		m.Delete("a")
		after(time.Hour)
		assert.Equal(t, []types.UID{"b"}, uids())
	})
}

func TestAPodThatIsAskedForCountsForWhatIsDecidedMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		var m *podmanager.Manager
		var seen []*corev1.Pod
		m = runAdmitting(t, f, f, func(pod *corev1.Pod, admitted []*corev1.Pod) *podmanager.Rejection {
			assert.Empty(t, admitted, "not itself")
			seen = m.Admitted()
			return room(0)(pod, admitted)
		})
		m.Set(pod("a"))
		synctest.Wait()
		require.Len(t, seen, 1)
		assert.Empty(t, m.Admitted(), "it was rejected")
	})
}
