package volume

import (
	"context"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// refreshers is how many pods have their contents brought up to date at once.
	refreshers = 8
	// refreshRetry is when content that could not be brought up to date is tried
	// again, if nothing calls for it sooner.
	refreshRetry = 30 * time.Second
)

// record is what is remembered of a pod from its Mount to its Unmount. Its loss
// costs a request for each of the pod's tokens.
type record struct {
	// pod as it was last mounted.
	pod *corev1.Pod
	// stale names the volumes whose objects have changed, due those that are to be
	// renewed at a time, groups the groups that volumes need. These and pod are the
	// Manager's to guard; what follows belongs to who holds the claim.
	stale  map[string]bool
	due    map[string]time.Time
	groups map[string]int64
	tokens map[tokenKey]*token
	// failed tells why the content of a volume is not up to date.
	failed map[string]string
	// grouped names the volumes that are known to have been given to the pod's group.
	grouped map[string]bool
	// checks are those of paths of the host, in progress or, if closed, passed.
	checks map[checkKey]chan error
	// bound are the persistent volumes that are mounted, by the name of the volume.
	bound map[string]*corev1.PersistentVolume
}

// remember makes or renews the record of a pod, before the source of objects is
// asked for anything: a change that is told from now on is noted. The caller holds the
// claim.
func (m *Manager) remember(pod *corev1.Pod) *record {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[pod.UID]
	if r == nil {
		r = &record{
			stale: map[string]bool{}, due: map[string]time.Time{}, groups: map[string]int64{}, tokens: map[tokenKey]*token{},
			failed: map[string]string{}, grouped: map[string]bool{}, checks: map[checkKey]chan error{},
			bound: map[string]*corev1.PersistentVolume{},
		}
		m.records[pod.UID] = r
	}
	r.pod = pod
	return r
}

// reading takes a volume for up to date, before the source is asked: a change that is
// told from now on is not missed.
func (m *Manager) reading(r *record, volume string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(r.stale, volume)
}

func (m *Manager) mark(r *record, volume string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.stale[volume] = true
}

func (m *Manager) forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.records, uid)
}

// Changed tells that there is news of an object, of KindConfigMap or KindSecret:
// Run renews at once the volumes that show it. Others are not touched. It does not
// block, and may be called from anywhere, in any number, before Run too.
func (m *Manager) Changed(kind, namespace, name string) {
	changed := ref{kind, namespace, name}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.records {
		if r.pod.Namespace != namespace {
			continue
		}
		for i := range r.pod.Spec.Volumes {
			volume := &r.pod.Spec.Volumes[i]
			if slices.Contains(refsOf(namespace, volume), changed) {
				r.stale[volume.Name] = true
				m.poke()
			}
		}
	}
}

func (m *Manager) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// refreshAll renews what is stale or due, until ctx ends.
func (m *Manager) refreshAll(ctx context.Context) {
	var group sync.WaitGroup
	defer group.Wait()
	ended, free := make(chan struct{}, refreshers), refreshers
	for {
		jobs, next := m.takeStale(time.Now(), free)
		free -= len(jobs)
		for _, job := range jobs {
			group.Go(func() {
				m.refresh(ctx, job)
				m.release(job.record.pod.UID)
				ended <- struct{}{}
			})
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
		case <-m.wake:
		case <-timer.C:
		case <-ended:
			free++
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// job is the volumes of a pod that are to be renewed.
type job struct {
	record  *record
	volumes map[string]bool
}

// takeStale claims pods that have something to renew, as many as can be served now:
// one that waits is nobody's. One that is claimed is left, as its release wakes Run. It
// also returns when the next renewal is due.
func (m *Manager) takeStale(now time.Time, free int) (jobs []job, next time.Time) {
	next = now.Add(time.Hour)
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid, r := range m.records {
		for volume, due := range r.due {
			switch {
			case isDue(due, now):
				r.stale[volume] = true
			case due.Before(next):
				next = due
			}
		}
		if len(r.stale) == 0 || m.busy[uid] != nil || len(jobs) == free {
			continue
		}
		m.busy[uid] = &claim{done: make(chan struct{}), renewal: true}
		jobs = append(jobs, job{record: r, volumes: r.stale})
		r.stale = map[string]bool{}
		for volume := range jobs[len(jobs)-1].volumes {
			delete(r.due, volume)
		}
	}
	return jobs, next
}

func (m *Manager) refresh(ctx context.Context, job job) {
	wanted := mounted(job.record.pod)
	for i := range job.record.pod.Spec.Volumes {
		volume := &job.record.pod.Spec.Volumes[i]
		if !job.volumes[volume.Name] || !wanted[volume.Name] || ctx.Err() != nil {
			continue
		}
		if kind, err := kindOf(volume); err == nil && contentDirs[kind] != "" {
			// Without content there is a Mount to come, which tells what is wrong.
			_, _ = m.mountContent(ctx, job.record, volume, kind)
		}
	}
}
