package podsync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/podmanager"
)

// blindRetry is how soon Sync is to be tried again while the runtime cannot be
// observed: the longest pause of the kubelet's sync loop.
const blindRetry = 5 * time.Second

// Sync observes the pod, publishes its status and does what brings its
// containers closer to its spec, as far as the node has the resources. It blocks
// for as long as an image pull takes; when ctx ends it stops between two steps. It
// is idempotent. While the observer is not healthy it does nothing.
//
// The result says when a back-off ends, and whether the pod has run to its end.
// An error means that something could not be done now; the status tells why.
func (s *Syncer) Sync(ctx context.Context, pod *corev1.Pod) (podmanager.Result, error) {
	rec := s.record(pod.UID)
	state, err := s.rooms.Observer.State(ctx, pod.UID, rec.acted)
	if err != nil {
		return podmanager.Result{}, fmt.Errorf("observe pod: %w", err)
	}
	if err := s.rooms.Observer.Healthy(); err != nil {
		s.logger.Debug("pod is left alone, as nobody knows what runs", podFields(pod, zap.Error(err))...)
		return podmanager.Result{RetryAt: time.Now().Add(blindRetry)}, nil
	}
	if state, err = s.bury(ctx, pod, state, rec); err != nil {
		return podmanager.Result{}, err
	}
	rec.dropGone(state)
	s.linkLogs(pod, state, rec)
	now := time.Now()
	given := s.allocate(ctx, pod, rec)
	todo := s.next(given, state, rec, now)
	rec.messages = messages(state, rec.messages)
	if passed(deadline(given, rec.published), now) {
		s.fail(ctx, given, rec, deadlineExceeded)
	}
	s.publish(pod, state, rec, todo)
	if rec.failure != nil || terminal(rec.published.Phase) {
		return podmanager.Result{Finished: true}, nil
	}
	todo.retryAt = earliest(earliest(todo.retryAt, deadline(given, rec.published)), rec.resize.retryAt(now))
	s.warnOfBackOff(ctx, given, todo.waiting)
	if todo.finished {
		return podmanager.Result{Finished: true, RetryAt: todo.retryAt}, nil
	}
	if lost, err := s.lostCgroup(ctx, given, state, rec); lost {
		return podmanager.Result{RetryAt: todo.retryAt}, err
	}
	if todo.idle() {
		return podmanager.Result{RetryAt: todo.retryAt}, s.keep(ctx, given, rec)
	}
	failed, trouble := maps.Clone(rec.failed), rec.resize.Error
	err = s.act(ctx, given, state, todo, rec)
	s.done(given, rec)
	if ctx.Err() == nil && (!maps.Equal(failed, rec.failed) || trouble != rec.resize.Error) {
		s.publish(pod, state, rec, todo)
	}
	return outcome(todo, err)
}

// next plans what is to be done for the pod, and drops from its record what the plan has
// settled.
func (s *Syncer) next(pod *corev1.Pod, state *cri.PodState, rec *record, now time.Time) actions {
	before := lastStatus(pod, rec)
	if rec.published.Phase == "" {
		rec.noteSick(state, pod.Status)
	}
	todo := plan(pod, recall(state, before), known{
		crashes: rec.crashes, health: s.health(pod, state, before), now: now,
		sick: rec.sick, restartingAll: wasRestartingAll(before),
	})
	todo.planResizes(pod, state, s.wantedResources(pod), rec.resized)
	rec.noteResize(todo)
	maps.DeleteFunc(rec.failed, func(name string, _ corev1.ContainerStateWaiting) bool { return !todo.starts(name) })
	return todo
}

// outcome is the result of a Sync that has acted, with the error of that. To wait for a
// known time is no error.
func outcome(todo actions, err error) (podmanager.Result, error) {
	retryAt := todo.retryAt
	if err == nil && (todo.restartedBy != nil && len(todo.remove) > 0 || todo.resizing) {
		retryAt = time.Now() // what was removed or resized wakes nobody
	}
	retryAt = earliest(retryAt, retryTime(err))
	if onlyWaiting(err) {
		err = nil
	}
	return podmanager.Result{RetryAt: retryAt}, err
}

// bury removes the containers of a life of the pod that is over, and returns what is
// left: how they ended says nothing of the next, which has the same UID when a manifest
// was put back. An orphan that turns out to be wanted goes on, and what an agent before
// this one has killed is not known as such.
func (s *Syncer) bury(ctx context.Context, pod *corev1.Pod, state *cri.PodState, rec *record) (*cri.PodState, error) {
	s.mu.Lock()
	over := s.over[pod.UID]
	s.mu.Unlock()
	if over && len(state.Containers) > 0 {
		for _, c := range state.Containers {
			if err := s.remove(ctx, pod, c); err != nil {
				return nil, err
			}
		}
		s.done(pod, rec)
		var err error
		if state, err = s.rooms.Observer.State(ctx, pod.UID, rec.acted); err != nil {
			return nil, fmt.Errorf("observe pod: %w", err)
		}
	}
	s.mu.Lock()
	delete(s.over, pod.UID)
	s.mu.Unlock()
	return state, nil
}

// keep keeps what a pod has of which nothing else is to be done: the content of its
// volumes is brought up to date, and its cgroup is there.
func (s *Syncer) keep(ctx context.Context, pod *corev1.Pod, rec *record) error {
	_, err := s.rooms.Volumes.Mount(ctx, pod)
	if err != nil {
		err = fmt.Errorf("bring volumes up to date: %w", err)
	}
	return errors.Join(err, s.keepCgroup(ctx, pod, rec))
}

// terminal reports whether the pod's status says that it has ended. It may know
// more than the runtime, which has forgotten the containers of a pod that is not
// to be restarted; and it was published, so that nothing may start again.
func terminal(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// fail has the pod ended by a decision of the node, unless it is for another.
func (s *Syncer) fail(ctx context.Context, pod *corev1.Pod, rec *record, failure Failure) {
	if rec.failure != nil {
		return
	}
	s.warn(ctx, pod, nil, failure.Reason, failure.Message)
	rec.failure = &failure
}

// publish hands on what was observed. A back-off says more of a container than
// the error of an earlier start.
func (s *Syncer) publish(pod *corev1.Pod, state *cri.PodState, rec *record, todo actions) {
	waiting := maps.Clone(rec.failed)
	maps.Copy(waiting, todo.waiting)
	rec.published = s.rooms.Status(pod, Observation{
		State: state, Waiting: waiting, Messages: rec.messages, Resize: rec.resize, Failure: rec.failure,
		Restarting: maps.Clone(rec.sick), RestartingAll: restartingAll(pod, state, todo, lastStatus(pod, rec)),
	})
}
