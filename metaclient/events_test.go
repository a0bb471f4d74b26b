package metaclient_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edged-project/edged/metaclient"
)

// eventUpstream also takes events.
type eventUpstream struct {
	watchFunc
	report func(ctx context.Context, event *corev1.Event) error
}

func (u eventUpstream) ReportEvent(ctx context.Context, event *corev1.Event) error {
	return u.report(ctx, event)
}

func started() *corev1.Event {
	return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a.1"}, Reason: "Started", Count: 3}
}

func TestEventIsReportedUpstreamAndNotStored(t *testing.T) {
	path := storePath(t)
	fill(t, path, pod("a"))
	before := readFile(t, path)
	var got []*corev1.Event
	offline := errors.New("no route to cloud")
	var answer error
	c := mustOpen(t, path, eventUpstream{silent, func(_ context.Context, event *corev1.Event) error {
		got = append(got, event.DeepCopy())
		return answer
	}}, metaclient.Config{})

	event := started()
	require.NoError(t, c.ReportEvent(t.Context(), event))
	answer = offline
	err := c.ReportEvent(t.Context(), event)
	require.ErrorIs(t, err, offline)
	require.ErrorContains(t, err, "report event default/a.1")
	assert.Equal(t, []*corev1.Event{started(), started()}, got)
	assert.Equal(t, started(), event, "the reported event is the caller's")
	assert.Equal(t, before, readFile(t, path))
}

func TestEventForAnUpstreamThatTakesNone(t *testing.T) {
	c := mustOpen(t, storePath(t), watchFunc(silent), metaclient.Config{})
	assert.NoError(t, c.ReportEvent(t.Context(), started()))
}

func TestEventReportHasADeadline(t *testing.T) {
	path := storePath(t)
	synctest.Test(t, func(t *testing.T) {
		c := mustOpen(t, path, eventUpstream{silent, func(ctx context.Context, _ *corev1.Event) error {
			<-ctx.Done()
			return ctx.Err()
		}}, metaclient.Config{})
		began := time.Now()
		require.ErrorIs(t, c.ReportEvent(t.Context(), started()), context.DeadlineExceeded)
		assert.Equal(t, 10*time.Second, time.Since(began))
	})
}
