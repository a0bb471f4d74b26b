package podmanager_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/podmanager"
)

func TestAnEvictedPodEndsWithinTheGraceOfItsEvictionAndStaysKnown(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fake) {
		f.onKill = func(context.Context, *corev1.Pod, time.Duration) error { time.Sleep(2 * time.Second); return nil }
		m := run(t, f, f)
		m.Replace([]*corev1.Pod{pod("a"), pod("b")})
		after(5 * time.Second)

		require.NoError(t, m.Evict(t.Context(), "a", 3*time.Second))
		assert.Equal(t, []string{"sync a", "kill a"}, f.verbs("a"))
		assert.Equal(t, []time.Duration{3 * time.Second}, f.graces("a"))
		assert.Equal(t, 7*time.Second, time.Since(f.start), "Evict has waited for the end")
		require.NoError(t, m.Evict(t.Context(), "a", time.Second), "once more does nothing")
		require.NoError(t, m.Evict(t.Context(), "nobody", time.Second))

		m.Wake("a")
		after(time.Hour)
		assert.Equal(t, []string{"sync a", "kill a"}, f.verbs("a"), "it is over for good")
		assert.Len(t, m.Pods(), 2)
		assert.True(t, m.Known("a"))
	})
}

func TestAnEvictionOnlyShortensTheGraceOfAPodThatIsEnding(t *testing.T) {
	for name, tt := range map[string]struct {
		grace time.Duration
		want  []time.Duration
	}{
		"shorter": {0, []time.Duration{30 * time.Second, time.Second}},
		"longer":  {time.Hour, []time.Duration{30 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake) {
				f.onKill = func(ctx context.Context, _ *corev1.Pod, grace time.Duration) error {
					ctx, cancel := context.WithTimeout(ctx, grace)
					defer cancel()
					<-ctx.Done()
					if ctx.Err() == context.Canceled {
						return ctx.Err()
					}
					return nil
				}
				m := run(t, f, f)
				m.Set(pod("a"))
				after(time.Second)
				m.Set(pod("a", deleting(30)))
				after(time.Second)
				require.NoError(t, m.Evict(t.Context(), "a", tt.grace))
				assert.Equal(t, tt.want, f.graces("a"))
			})
		})
	}
}

func TestEvictDoesNotWaitForEver(t *testing.T) {
	for name, tt := range map[string]struct{ grace, patience time.Duration }{
		"short grace": {time.Second, 10 * time.Second},
		"long grace":  {time.Minute, 90 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fake) {
				f.onKill = func(ctx context.Context, _ *corev1.Pod, _ time.Duration) error {
					<-ctx.Done()
					return ctx.Err()
				}
				m := run(t, f, f)
				m.Set(pod("a"))
				after(time.Second)
				require.ErrorIs(t, m.Evict(t.Context(), "a", tt.grace), podmanager.ErrExceededGracePeriod)
				assert.Equal(t, time.Second+tt.patience, time.Since(f.start))

				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				require.ErrorIs(t, m.Evict(ctx, "a", tt.grace), context.DeadlineExceeded)
			})
		})
	}
}
