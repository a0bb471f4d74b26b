package metaclient_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/metaclient"
)

// eventUpstream also takes events.
type eventUpstream struct {
	*fakeUpstream
	report func(ctx context.Context, event *corev1.Event) error
}

func (u eventUpstream) ReportEvent(ctx context.Context, event *corev1.Event) error {
	return u.report(ctx, event)
}

func event(name string, count int32) *corev1.Event {
	return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Reason: "Started", Count: count}
}

// inbox is what an upstream was told.
type inbox struct {
	mu     sync.Mutex
	events []*corev1.Event
	answer error
}

func (i *inbox) take(_ context.Context, event *corev1.Event) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.events = append(i.events, event.DeepCopy())
	return i.answer
}

func (i *inbox) got() []*corev1.Event {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]*corev1.Event(nil), i.events...)
}

func TestEventThatIsTakenAtOnceIsNeverWritten(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		var in inbox
		up := newFakeUpstream()
		c := mustOpen(t, path, eventUpstream{up, in.take}, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver(pod("a")))
		time.Sleep(time.Minute)
		synctest.Wait()
		before := readFile(t, path)
		given := event("a.1", 3)
		require.NoError(t, c.ReportEvent(t.Context(), given))
		synctest.Wait()
		assert.Equal(t, []*corev1.Event{event("a.1", 3)}, in.got())
		assert.Equal(t, event("a.1", 3), given, "the reported event is the caller's")
		time.Sleep(time.Hour)
		synctest.Wait()
		unchanged(t, before, path)
		assert.Len(t, in.got(), 1)
	})
}

func TestEventForAnUpstreamThatTakesNone(t *testing.T) {
	c := mustOpen(t, storePath(t), watchFunc(silent), metaclient.Config{})
	require.NoError(t, c.ReportEvent(t.Context(), event("a.1", 1)))
	assert.Zero(t, c.Health().Unsent)
}

func TestReportHasADeadlineAndIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		up := newFakeUpstream()
		c := mustOpen(t, storePath(t), eventUpstream{up, func(ctx context.Context, _ *corev1.Event) error {
			began := time.Now()
			if len(waits) == 2 {
				return nil
			}
			<-ctx.Done()
			waits = append(waits, time.Since(began))
			return ctx.Err()
		}}, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver())
		time.Sleep(time.Minute)
		synctest.Wait()
		require.NoError(t, c.ReportEvent(t.Context(), event("a.1", 1)))
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []time.Duration{10 * time.Second, 10 * time.Second}, waits)
		assert.Zero(t, c.Health().Unsent)
	})
}

func TestReportsThatWaitAreBoundedInTheFileAsWell(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		up := newFakeUpstream()
		busy := func(context.Context, *corev1.Event) error { return errors.New("busy") }
		c := mustOpen(t, path, eventUpstream{up, busy}, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver(pod("a")))
		for i := range 1500 {
			require.NoError(t, c.ReportEvent(t.Context(), event(fmt.Sprint("a.", i), 1)))
			if i%100 == 0 {
				time.Sleep(10 * time.Second)
			}
		}
		require.NoError(t, c.Flush(t.Context()))
		assert.Equal(t, 1000, c.Health().Unsent)
		assert.Equal(t, 500, c.Health().Dropped)
	})
	editStore(t, path, func(tx *bolt.Tx) error {
		assert.Equal(t, 1000, tx.Bucket([]byte("outbox")).Stats().KeyN)
		return nil
	})
}

func TestReportThatIsNeverTakenDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := map[string]bool{}
		up := newFakeUpstream()
		c := mustOpen(t, storePath(t), eventUpstream{up, func(_ context.Context, e *corev1.Event) error {
			if e.Name == "poison" {
				return errors.New("no")
			}
			taken[e.Name] = true
			return nil
		}}, metaclient.Config{})
		stop := start(t, c)
		defer stop()
		require.NoError(t, up.deliver())
		for _, name := range []string{"poison", "a", "b", "c"} {
			require.NoError(t, c.ReportEvent(t.Context(), event(name, 1)))
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		assert.Equal(t, map[string]bool{"a": true, "b": true, "c": true}, taken)
		assert.Equal(t, 1, c.Health().Unsent)
	})
}
