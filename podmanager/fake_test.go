package podmanager_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/podmanager"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call is something that the Manager did, at a time since the fake began.
type call struct {
	at    time.Duration
	verb  string // ask, rejected, sync, kill, removed
	uid   types.UID
	grace time.Duration
	pod   *corev1.Pod
}

func (c call) String() string { return fmt.Sprintf("%v %s %s", c.at, c.verb, c.uid) }

// fake is a Syncer that records its calls and holds them against what the package
// guarantees; each test fails if one was broken.
type fake struct {
	start  time.Time
	onSync func(ctx context.Context, pod *corev1.Pod) (podmanager.Result, error) // nil: all is well
	onKill func(ctx context.Context, pod *corev1.Pod, grace time.Duration) error

	mu     sync.Mutex
	calls  []call
	broken []string
	busy   map[types.UID]bool
	killed map[types.UID]bool        // in this life
	asked  map[types.UID]bool        // Admit, in this life
	denied map[types.UID]bool        // by Admit, in this life
	runs   map[types.UID]*corev1.Pod // from the first Sync until Kill is done
}

func newFake() *fake {
	return &fake{
		start:  time.Now(),
		busy:   make(map[types.UID]bool),
		killed: make(map[types.UID]bool),
		asked:  make(map[types.UID]bool),
		denied: make(map[types.UID]bool),
		runs:   make(map[types.UID]*corev1.Pod),
	}
}

func (f *fake) Sync(ctx context.Context, pod *corev1.Pod) (podmanager.Result, error) {
	f.enter(call{verb: "sync", uid: pod.UID, pod: pod})
	defer f.leave(pod.UID)
	if f.onSync == nil {
		return podmanager.Result{}, nil
	}
	return f.onSync(ctx, pod)
}

func (f *fake) Kill(ctx context.Context, pod *corev1.Pod, grace time.Duration) error {
	f.enter(call{verb: "kill", uid: pod.UID, pod: pod, grace: grace})
	defer f.leave(pod.UID)
	if f.onKill != nil {
		if err := f.onKill(ctx, pod, grace); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.runs, pod.UID)
	return nil
}

func (f *fake) removed(pod *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call{at: time.Since(f.start), verb: "removed", uid: pod.UID, pod: pod})
	if f.runs[pod.UID] != nil || f.busy[pod.UID] || !f.killed[pod.UID] {
		f.broken = append(f.broken, fmt.Sprintf("%s removed while something of it may run", pod.UID))
	}
	delete(f.killed, pod.UID)
	delete(f.asked, pod.UID)
	delete(f.denied, pod.UID)
}

// admitting returns a Config in which check decides.
func (f *fake) admitting(check admitter) podmanager.Config {
	return podmanager.Config{
		Admit: func(pod *corev1.Pod, admitted []*corev1.Pod) *podmanager.Rejection {
			f.ask(pod)
			why := check(pod, admitted)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.denied[pod.UID] = why != nil
			return why
		},
		OnRejected: f.rejected,
		OnRemoved:  f.removed,
	}
}

type admitter func(pod *corev1.Pod, admitted []*corev1.Pod) *podmanager.Rejection

func (f *fake) ask(pod *corev1.Pod) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call{at: time.Since(f.start), verb: "ask", uid: pod.UID, pod: pod})
	if f.asked[pod.UID] || f.busy[pod.UID] || f.killed[pod.UID] {
		f.broken = append(f.broken, fmt.Sprintf("%s asked for again", pod.UID))
	}
	f.asked[pod.UID] = true
}

func (f *fake) rejected(pod *corev1.Pod, why podmanager.Rejection) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call{at: time.Since(f.start), verb: "rejected", uid: pod.UID, pod: pod})
	if !f.denied[pod.UID] || f.busy[pod.UID] || f.killed[pod.UID] || why.Reason == "" {
		f.broken = append(f.broken, fmt.Sprintf("%s rejected for nothing or too late", pod.UID))
	}
}

func (f *fake) enter(c call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.at = time.Since(f.start)
	f.calls = append(f.calls, c)
	if f.busy[c.uid] {
		f.broken = append(f.broken, fmt.Sprintf("%v: two calls at once", c))
	}
	f.busy[c.uid] = true
	if c.verb == "kill" {
		f.killed[c.uid] = true
		return
	}
	if f.killed[c.uid] {
		f.broken = append(f.broken, fmt.Sprintf("%v: after its kill", c))
	}
	if f.denied[c.uid] {
		f.broken = append(f.broken, fmt.Sprintf("%v: though it was refused", c))
	}
	for uid, other := range f.runs {
		if uid != c.uid && other.Namespace == c.pod.Namespace && other.Name == c.pod.Name {
			f.broken = append(f.broken, fmt.Sprintf("%v: while %s of the same name runs", c, uid))
		}
	}
	f.runs[c.uid] = c.pod
}

func (f *fake) leave(uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.busy, uid)
}

// of returns the calls so far that concern uid, or all if there is none.
func (f *fake) of(uids ...types.UID) []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.calls), func(c call) bool {
		return len(uids) > 0 && !slices.Contains(uids, c.uid)
	})
}

// verbs returns the calls so far as words, such as "sync a".
func (f *fake) verbs(uids ...types.UID) []string {
	var verbs []string
	for _, c := range f.of(uids...) {
		verbs = append(verbs, c.verb+" "+string(c.uid))
	}
	return verbs
}

func (f *fake) count(verb string, uid types.UID) int {
	n := 0
	for _, c := range f.of(uid) {
		if c.verb == verb {
			n++
		}
	}
	return n
}

// graces returns what the Kills of uid were given.
func (f *fake) graces(uid types.UID) []time.Duration {
	var graces []time.Duration
	for _, c := range f.of(uid) {
		if c.verb == "kill" {
			graces = append(graces, c.grace)
		}
	}
	return graces
}

// listing is a fake that can list what runs.
type listing struct {
	*fake
	onList func(ctx context.Context) error // guarded by mu, as is lists
	lists  int
}

func (l *listing) List(ctx context.Context) ([]*corev1.Pod, error) {
	l.mu.Lock()
	l.lists++
	onList := l.onList
	l.mu.Unlock()
	if onList != nil {
		if err := onList(ctx); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var pods []*corev1.Pod
	for uid, p := range l.runs {
		pods = append(pods, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: uid},
			Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: p.Spec.TerminationGracePeriodSeconds},
		})
	}
	return pods, nil
}

func (l *listing) whenListed(do func(ctx context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onList = do
}

func (l *listing) timesListed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lists
}

// running makes pods run that this Manager has not started.
func (l *listing) running(pods ...*corev1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range pods {
		l.runs[p.UID] = p
	}
}

// exited makes a pod end by itself.
func (l *listing) exited(uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.runs, uid)
}

// inBubble runs test in virtual time with a fake that is checked at the end.
func inBubble(t *testing.T, test func(t *testing.T, f *fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		test(t, f)
		synctest.Wait()
		f.mu.Lock()
		defer f.mu.Unlock()
		assert.Empty(t, f.broken)
	})
}

// run starts a Manager over s, in the background and until the end of the test.
func run(t *testing.T, s podmanager.Syncer, f *fake) *podmanager.Manager {
	m := podmanager.New(s, podmanager.Config{OnRemoved: f.removed})
	runUntilEnd(t, m)
	return m
}

func runUntilEnd(t *testing.T, m *podmanager.Manager) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
}

// after lets virtual time pass, and then everything that was due.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

type option func(*corev1.Pod)

// pod returns a pod that is named as its UID unless an option says otherwise.
func pod(uid types.UID, opts ...option) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: string(uid), UID: uid}}
	for _, opt := range opts {
		opt(p)
	}
	return p
}

func named(name string) option { return func(p *corev1.Pod) { p.Name = name } }

func labelled(value string) option {
	return func(p *corev1.Pod) { p.Labels = map[string]string{"version": value} }
}

func created(second int64) option {
	return func(p *corev1.Pod) { p.CreationTimestamp = metav1.Unix(second, 0) }
}

func phase(phase corev1.PodPhase) option {
	return func(p *corev1.Pod) { p.Status.Phase = phase }
}

func specGrace(seconds int64) option {
	return func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = &seconds }
}

// deleting marks a pod as deleted upstream, with a grace in seconds.
func deleting(grace int64) option {
	return func(p *corev1.Pod) {
		p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		p.DeletionGracePeriodSeconds = &grace
	}
}
