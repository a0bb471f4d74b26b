package metatest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/metaclient"
)

// Cloud is a control plane in memory. It implements metaclient.Upstream and all its
// optional abilities. Make one with New; its methods may be called from several
// goroutines.
type Cloud struct {
	mu       sync.Mutex // guards the rest
	version  int
	pods     map[types.UID]*corev1.Pod
	objects  map[metaclient.Ref]metav1.Object
	changes  []change // not yet delivered to the Watch that runs
	history  []change // of this Watch
	pending  bool     // the set of pods is not yet delivered
	watching bool
	changed  chan struct{} // closed at the next change of anything

	cut   bool
	hang  bool
	delay time.Duration
	rand  *rand.Rand // not nil: unruly

	asked    map[metaclient.Ref]int
	tokens   int
	followed []metaclient.Ref
	statuses map[types.UID]corev1.PodStatus
	nodes    map[string]*corev1.Node
	events   map[string]*corev1.Event
	reports  int
}

// change is an object that was put, or a ref that is gone.
type change struct {
	ref     metaclient.Ref
	object  metav1.Object // nil when it is gone
	version string
}

// New returns an empty control plane that can be reached.
func New() *Cloud {
	return &Cloud{
		pods: map[types.UID]*corev1.Pod{}, objects: map[metaclient.Ref]metav1.Object{},
		changed: make(chan struct{}), asked: map[metaclient.Ref]int{},
		statuses: map[types.UID]corev1.PodStatus{}, nodes: map[string]*corev1.Node{}, events: map[string]*corev1.Event{},
	}
}

// set changes the cloud, and wakes who waits for a change.
func (c *Cloud) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

// Put adds or replaces objects, pods among them, and gives each a new
// resourceVersion. It keeps copies.
func (c *Cloud) Put(objects ...metav1.Object) {
	c.set(func() {
		for _, o := range objects {
			c.version++
			if pod, ok := o.(*corev1.Pod); ok {
				pod = pod.DeepCopy()
				pod.ResourceVersion = strconv.Itoa(c.version)
				c.pods[pod.UID], c.pending = pod, true
				continue
			}
			o = copyOf(o)
			o.SetResourceVersion(strconv.Itoa(c.version))
			c.objects[refOf(o)] = o
			c.note(change{ref: refOf(o), object: o, version: o.GetResourceVersion()})
		}
	})
}

// DeletePods removes pods at once.
func (c *Cloud) DeletePods(uids ...types.UID) {
	c.set(func() {
		for _, uid := range uids {
			delete(c.pods, uid)
		}
		c.pending = true
	})
}

// Delete removes objects.
func (c *Cloud) Delete(refs ...metaclient.Ref) {
	c.set(func() {
		for _, ref := range refs {
			c.version++
			delete(c.objects, ref)
			c.note(change{ref: ref, version: strconv.Itoa(c.version)})
		}
	})
}

func (c *Cloud) note(ch change) {
	if c.watching {
		c.changes = append(c.changes, ch)
	}
}

// Cut takes the network away: Watch fails, and whatever is asked or reported is
// ErrOffline.
func (c *Cloud) Cut() { c.set(func() { c.cut = true }) }

// Heal gives the network back, and ends Hang.
func (c *Cloud) Heal() { c.set(func() { c.cut, c.hang = false, false }) }

// Hang leaves questions and reports without an answer until Heal, as a half-open
// link does. Watch stays silent.
func (c *Cloud) Hang() { c.set(func() { c.hang = true }) }

// Delay makes each answer and delivery take so long.
func (c *Cloud) Delay(d time.Duration) { c.set(func() { c.delay = d }) }

// Unruly delivers changes of objects in any order and some of them again, at
// random; nil ends it. The random numbers are the Cloud's from then on.
func (c *Cloud) Unruly(random *rand.Rand) { c.set(func() { c.rand = random }) }

// Watch implements metaclient.Upstream.
func (c *Cloud) Watch(ctx context.Context, sink metaclient.Sink) error {
	c.set(func() { c.watching, c.pending, c.changes, c.history = true, true, nil, nil })
	defer c.set(func() { c.watching = false })
	for {
		if err := c.pass(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		pods, ch, changed := c.next()
		var err error
		switch {
		case pods != nil:
			err = sink.Pods(ctx, pods)
		case ch != nil && ch.object != nil:
			err = sink.Object(ctx, copyOf(ch.object))
		case ch != nil:
			err = sink.Gone(ctx, ch.ref, ch.version)
		default:
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
		}
		if err != nil {
			return err
		}
	}
}

// next returns what is to be delivered next: the set, or a change.
func (c *Cloud) next() (pods []*corev1.Pod, ch *change, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending {
		c.pending = false
		return c.podSet(), nil, c.changed
	}
	if len(c.changes) == 0 {
		return nil, nil, c.changed
	}
	i := 0
	if c.rand != nil {
		i = c.rand.IntN(len(c.changes))
	}
	next := c.changes[i]
	c.changes = slices.Delete(c.changes, i, i+1)
	c.history = append(c.history, next)
	if c.rand != nil && c.rand.IntN(3) == 0 {
		c.changes = append(c.changes, c.history[c.rand.IntN(len(c.history))])
	}
	return nil, &next, c.changed
}

// podSet is the set of pods, never nil.
func (c *Cloud) podSet() []*corev1.Pod {
	pods := []*corev1.Pod{}
	for _, pod := range c.pods {
		pods = append(pods, pod.DeepCopy())
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.UID, b.UID) })
	return pods
}

// pass is the way through the network: it takes its time and may fail.
func (c *Cloud) pass(ctx context.Context) error {
	c.mu.Lock()
	delay := c.delay
	c.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
	}
	for {
		c.mu.Lock()
		cut, hang, changed := c.cut, c.hang, c.changed
		c.mu.Unlock()
		switch {
		case cut:
			return fmt.Errorf("no network: %w", metaclient.ErrOffline)
		case !hang:
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Get implements metaclient.Getter.
func (c *Cloud) Get(ctx context.Context, ref metaclient.Ref) (metav1.Object, error) {
	c.mu.Lock()
	c.asked[ref]++
	c.mu.Unlock()
	if err := c.pass(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if o, ok := c.objects[ref]; ok {
		return copyOf(o), nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: string(ref.Kind)}, ref.Name)
}

// RequestToken implements metaclient.TokenRequester. The tokens are token-1, token-2
// and so on.
func (c *Cloud) RequestToken(ctx context.Context, _, _ string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	if err := c.pass(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens++
	answer := request.DeepCopy()
	life := time.Duration(*request.Spec.ExpirationSeconds) * time.Second
	answer.Status = authenticationv1.TokenRequestStatus{
		Token: fmt.Sprintf("token-%d", c.tokens), ExpirationTimestamp: metav1.NewTime(time.Now().Add(life)),
	}
	return answer, nil
}

// Follow implements metaclient.Follower.
func (c *Cloud) Follow(refs []metaclient.Ref) { c.set(func() { c.followed = slices.Clone(refs) }) }

// ReportPodStatus implements metaclient.PodStatusReporter.
func (c *Cloud) ReportPodStatus(ctx context.Context, pod *corev1.Pod) error {
	return c.report(ctx, func() { c.statuses[pod.UID] = *pod.Status.DeepCopy() })
}

// ReportNode implements metaclient.NodeReporter.
func (c *Cloud) ReportNode(ctx context.Context, node *corev1.Node) error {
	return c.report(ctx, func() { c.nodes[node.Name] = node.DeepCopy() })
}

// ReportEvent implements metaclient.EventReporter.
func (c *Cloud) ReportEvent(ctx context.Context, event *corev1.Event) error {
	return c.report(ctx, func() { c.events[event.Namespace+"/"+event.Name] = event.DeepCopy() })
}

func (c *Cloud) report(ctx context.Context, take func()) error {
	if err := c.pass(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reports++
	take()
	return nil
}
