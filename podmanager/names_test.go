package podmanager_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/podmanager"
)

// web returns a pod named web.
func web(uid types.UID, opts ...option) *corev1.Pod {
	return pod(uid, append([]option{named("web")}, opts...)...)
}

// Each script runs beside a pod "a" named web that is synced; Kill takes 30 s.
func TestOfOneNameOnePodRunsAtATime(t *testing.T) {
	tests := map[string]struct {
		do   func(m *podmanager.Manager)
		want []string // within a minute
	}{
		"a new UID ends the old one and starts when it is gone": {
			do:   func(m *podmanager.Manager) { m.Set(web("b")) },
			want: []string{"sync a", "kill a", "removed a", "sync b"},
		},
		"Replace by another UID does the same": {
			do:   func(m *podmanager.Manager) { m.Replace([]*corev1.Pod{web("b")}) },
			want: []string{"sync a", "kill a", "removed a", "sync b"},
		},
		"a new UID that is created later takes the name": {
			do:   func(m *podmanager.Manager) { m.Set(web("b", created(200))) },
			want: []string{"sync a", "kill a", "removed a", "sync b"},
		},
		"an old message about an older pod ends nothing": {
			do:   func(m *podmanager.Manager) { m.Set(web("b", created(50))) },
			want: []string{"sync a"},
		},
		"a pod that waits behind it starts when it is deleted": {
			do: func(m *podmanager.Manager) {
				m.Set(web("b", created(50)))
				m.Delete("a")
			},
			want: []string{"sync a", "kill a", "removed a", "sync b"},
		},
		"one that waits and is deleted never starts": {
			do: func(m *podmanager.Manager) {
				m.Set(web("b"))
				m.Delete("b")
			},
			want: []string{"sync a", "kill a", "removed a", "kill b", "removed b"},
		},
		"one that waits is ended by the next, which starts": {
			do: func(m *podmanager.Manager) {
				m.Set(web("b"))
				m.Set(web("c"))
			},
			want: []string{"sync a", "kill a", "removed a", "kill b", "removed b", "sync c"},
		},
		"two in one set wait for each other": {
			do: func(m *podmanager.Manager) {
				for range 3 {
					m.Replace([]*corev1.Pod{web("b", created(200)), web("a", created(100))})
					synctest.Wait()
				}
			},
			want: []string{"sync a"},
		},
		"in the order they came": {
			do: func(m *podmanager.Manager) {
				m.Replace([]*corev1.Pod{web("c", created(300)), web("b", created(200)), web("a", created(100))})
				synctest.Wait()
				m.Replace([]*corev1.Pod{web("c", created(300)), web("b", created(200))})
			},
			want: []string{"sync a", "kill a", "removed a", "sync b"},
		},
		"a late Delete of the old UID does not touch the new one": {
			do: func(m *podmanager.Manager) {
				m.Set(web("b"))
				after(31 * time.Second)
				m.Delete("a")
			},
			want: []string{"sync a", "kill a", "removed a", "sync b"},
		},
		"a UID set again while another waits comes after it": {
			do: func(m *podmanager.Manager) {
				m.Delete("a")
				m.Set(web("b"))
				m.Set(web("a", created(100)))
			},
			want: []string{"sync a", "kill a", "removed a", "sync b"},
		},
		"a UID set again is dropped for a newer one": {
			do: func(m *podmanager.Manager) {
				m.Delete("a")
				m.Set(web("a", created(100)))
				m.Set(web("b", created(200)))
				after(31 * time.Second)
				m.Set(web("b", created(200), deleting(1)))
			},
			want: []string{"sync a", "kill a", "removed a", "sync b", "kill b", "removed b"},
		},
		"an old message does not undo a UID that was set again": {
			do: func(m *podmanager.Manager) {
				m.Delete("a")
				m.Set(web("a", created(100)))
				m.Set(web("b", created(50)))
				after(31 * time.Second)
				m.Set(web("b", created(50), deleting(1)))
			},
			want: []string{"sync a", "kill a", "removed a", "sync b", "kill b", "removed b", "sync a"},
		},
		"the same name in another namespace is another name": {
			do: func(m *podmanager.Manager) {
				m.Set(web("b", func(p *corev1.Pod) { p.Namespace = "other" }))
			},
			want: []string{"sync a", "sync b"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake) {
				f.onKill = killTakesItsGrace
				m := podmanager.New(f, podmanager.Config{Resync: time.Hour, OnRemoved: f.removed})
				runUntilEnd(t, m)
				m.Set(web("a", created(100)))
				synctest.Wait()
				tt.do(m)
				after(59*time.Second - time.Since(f.start))
				assert.ElementsMatch(t, tt.want, f.verbs())
			})
		})
	}
}

func TestFinishedPodGivesItsNameToANewOne(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onSync = func(_ context.Context, p *corev1.Pod) (podmanager.Result, error) {
			return podmanager.Result{Finished: p.UID == "a"}, nil
		}
		m := run(t, f, f)
		m.Set(web("a"))
		synctest.Wait()
		m.Set(web("b"))
		synctest.Wait()
		assert.Equal(t, []string{"sync a", "kill a", "removed a", "sync b"}, f.verbs())
	})
}
