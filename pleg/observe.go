package pleg

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri"
)

// relist lists all pods and has those inspected that need it.
func (g *Generator) relist(ctx context.Context) {
	began := g.cache.begin()
	g.cache.relisting(began.at)
	all, err := g.list(ctx, "")
	g.cache.relisting(time.Time{})
	if ctx.Err() != nil {
		return
	}
	g.logRelist(err)
	if err != nil {
		g.cache.relistFailed(err)
		return
	}
	vanished := g.cache.relist(all, began)
	g.logTrust()
	g.poke()
	for _, uid := range vanished {
		g.cfg.OnChange(uid)
	}
}

// logRelist logs a failure once, until it has another text or is over.
func (g *Generator) logRelist(err error) {
	switch _, last := g.cache.health(); {
	case err == nil && last != nil:
		g.log.Info("the runtime lists its pods again")
	case isNewError(last, err):
		g.log.Warn("the runtime cannot list its pods", zap.Error(err))
	}
}

// logTrust logs when the trust in events is lost or regained.
func (g *Generator) logTrust() {
	doubted := g.cache.doubted()
	switch {
	case doubted && !g.distrust:
		g.log.Warn("container events get lost: the runtime's pods are listed each period")
	case !doubted && g.distrust:
		g.log.Info("container events tell of all changes again")
	}
	g.distrust = doubted
}

// isNewError reports whether err is worth a line in a log that has last.
func isNewError(last, err error) bool {
	return err != nil && (last == nil || last.Error() != err.Error())
}

// poke says that the queue may hold pods to look at. It does not block.
func (g *Generator) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// dispatch has the queued pods looked at, until ctx ends.
func (g *Generator) dispatch(ctx context.Context, running *sync.WaitGroup) {
	slots := make(chan struct{}, g.cfg.Inspectors)
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		}
		for uid, ok := g.cache.pop(); ok; uid, ok = g.cache.pop() {
			select {
			case <-ctx.Done():
				return
			case slots <- struct{}{}:
			}
			running.Go(func() {
				release := sync.OnceFunc(func() { <-slots })
				defer release()
				defer time.AfterFunc(slowAfter, release).Stop()
				g.look(ctx, uid)
			})
		}
	}
}

// look finds out what there is to find out about a pod from the queue.
func (g *Generator) look(ctx context.Context, uid types.UID) {
	for ctx.Err() == nil {
		switch todo, task := g.cache.next(uid); todo {
		case toList:
			if !g.listPod(ctx, uid) {
				g.cache.disown(uid)
				g.reconsider()
				return
			}
		case toInspect:
			g.inspectPod(ctx, task)
		case nothing:
			return
		}
	}
}

// listPod lists one pod, and reports whether that succeeded. A failure is the
// runtime's, not the pod's, and the next listing of all pods words it.
func (g *Generator) listPod(ctx context.Context, uid types.UID) bool {
	began := g.cache.begin()
	found, err := g.list(ctx, uid)
	if err != nil {
		return false
	}
	if g.cache.observe(uid, found.pod(uid), began) {
		g.cfg.OnChange(uid)
	}
	return true
}

// inspectPod asks for the status of a pod and takes over the result.
func (g *Generator) inspectPod(ctx context.Context, task inspection) {
	state, err := g.inspect(ctx, task)
	if ctx.Err() != nil {
		return
	}
	if isNewError(task.lastErr, err) {
		g.log.Warn("the runtime cannot tell the status of a pod",
			zap.String("pod", task.namespace+"/"+task.name), zap.String("uid", string(task.uid)), zap.Error(err))
	}
	if g.cache.endInspection(task, state, err) {
		g.cfg.OnChange(task.uid)
	}
	if err != nil {
		g.reconsider()
	}
}

// inspect asks for the status of each record. What was removed since it was
// listed is left out.
func (g *Generator) inspect(ctx context.Context, task inspection) (*cri.PodState, error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.InspectTimeout)
	defer cancel()

	state := &cri.PodState{UID: task.uid}
	for _, r := range task.records {
		ask := g.addContainer
		if r.sandbox {
			ask = g.addSandbox
		}
		if err := ask(ctx, state, r); err != nil && !cri.IsNotFound(err) {
			return nil, err
		}
	}
	state.Sort()
	state.IPs = podIPs(state, task.knownIPs)
	return state, nil
}

var errNoStatus = errors.New("the runtime answered without a status")

func (g *Generator) addSandbox(ctx context.Context, state *cri.PodState, r record) error {
	resp, err := g.runtime.PodSandboxStatus(ctx, r.id, false)
	if err == nil && resp.GetStatus() == nil {
		err = errNoStatus
	}
	if err != nil {
		return fmt.Errorf("status of pod sandbox %q: %w", r.id, err)
	}
	state.Sandboxes = append(state.Sandboxes, resp.GetStatus())
	return nil
}

func (g *Generator) addContainer(ctx context.Context, state *cri.PodState, r record) error {
	resp, err := g.runtime.ContainerStatus(ctx, r.id, false)
	if err == nil && resp.GetStatus() == nil {
		err = errNoStatus
	}
	if err != nil {
		return fmt.Errorf("status of container %q: %w", r.id, err)
	}
	state.Containers = append(state.Containers, &cri.Container{SandboxID: r.sandboxID, ContainerStatus: resp.GetStatus()})
	return nil
}

// podIPs returns the addresses of the newest ready sandbox. If none is ready the
// pod keeps those that are known of it: its final status is to show them.
func podIPs(state *cri.PodState, known []string) []string {
	if ready := state.ReadySandboxes(); len(ready) > 0 {
		return cri.SandboxIPs(ready[0])
	}
	return known
}
