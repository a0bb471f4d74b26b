package podsync_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

// fresh is an observer that has listed the pods and inspected none yet.
type fresh struct {
	*observer
	hangs bool
}

func (f fresh) Pods(ctx context.Context, notBefore time.Time) ([]*cri.PodState, error) {
	states, err := f.observer.Pods(ctx, notBefore)
	for i, state := range states {
		states[i] = &cri.PodState{UID: state.UID, Namespace: state.Namespace, Name: state.Name}
	}
	return states, err
}

func (f fresh) State(ctx context.Context, uid types.UID, notBefore time.Time) (*cri.PodState, error) {
	if f.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return f.observer.State(ctx, uid, notBefore)
}

func TestWhatRunsIsListedBeforeAnybodyHasInspectedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		ended, runs := podOf("a"), podOf("a")
		ended.UID, ended.Name = "uid-2", "ended"
		grace := int64(11)
		runs.Spec.TerminationGracePeriodSeconds = &grace
		syncer := s.syncer()
		_, err := syncer.Sync(t.Context(), runs)
		require.NoError(t, err)
		_, err = syncer.Sync(t.Context(), ended)
		require.NoError(t, err)
		require.NoError(t, syncer.Kill(t.Context(), ended, time.Second))

		pods, err := s.syncerThatSees(fresh{observer: s.observe}).List(t.Context())
		require.NoError(t, err)
		require.Len(t, pods, 1, "what has ended is not listed")
		assert.Equal(t, runs.UID, pods[0].UID)
		assert.Equal(t, grace, *pods[0].Spec.TerminationGracePeriodSeconds)
	})
}

func TestAPodThatCannotBeInspectedMayRunAndHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, critest.Config{})
		pod := podOf("a")
		_, err := s.syncer().Sync(t.Context(), pod)
		require.NoError(t, err)

		began := time.Now()
		pods, err := s.syncerThatSees(fresh{observer: s.observe, hangs: true}).List(t.Context())
		require.NoError(t, err)
		require.Len(t, pods, 1)
		assert.Equal(t, "shop/web uid-1", pods[0].Namespace+"/"+pods[0].Name+" "+string(pods[0].UID))
		assert.LessOrEqual(t, time.Since(began), 10*time.Second)
	})
}
