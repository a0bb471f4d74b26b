package metaclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/metaclient/internal/quantity"
	"github.com/edged-project/edged/metaclient/internal/store"
)

// intake takes the upstream's sets in. Run's goroutine owns it.
type intake struct {
	client   *Client
	rejected map[rejection]bool // as last reported
	reminder reminder
	// What was asked for since the upstream is there.
	since       time.Time
	tried       map[Ref]bool
	triedTokens map[string]bool
}

// rejection is a pod that is set aside, and why.
type rejection struct {
	namespace, name string
	uid             types.UID
	reason          string
	deleted         bool // it has a deletion timestamp
}

// take stores a set, with all that its pods refer to, and then, only then, hands it
// on. The whole set waits for what is missing, and is handed on without what cannot
// be had in time: a pod waits for that by itself from then on. That wait is made
// once for an object, until the upstream was lost and is there again.
func (in *intake) take(ctx context.Context, d delivery) error {
	c := in.client
	set, rejected := accept(d.pods)
	c.outbox.hear(set) // before anything is sent that contradicts it
	c.arrived()
	if since := c.link.health().Since; in.tried == nil || since != in.since {
		in.since = since
		in.tried, in.triedTokens = map[Ref]bool{}, map[string]bool{}
		in.reminder = reminder{c, map[types.UID]said{}}
	}
	in.report(rejected)
	behind := in.gather(ctx, set)
	if err := ctx.Err(); err != nil {
		return err // its objects may be missing, and what is stored has them
	}
	var whole storedSet
	_, err := c.update(func(r store.Reader) []store.Change {
		whole = withKept(r, set, func(uid types.UID) bool {
			return !d.complete && !d.from.delivered[uid] || stays(uid, rejected)
		})
		return planSet(r, whole, behind, c.outbox.statuses(), d.from.force)
	})
	if err != nil {
		in.forget(behind)
		return fmt.Errorf("store a set of %d pods: %w", len(set), err)
	}
	for uid := range set {
		d.from.delivered[uid] = true
	}
	c.outbox.forgetOthers(whole)
	if err := c.want(); err != nil {
		return err
	}
	if err := c.handOn(ctx, true); err != nil {
		return err
	}
	if waited := d.from.force && c.link.took(); d.from.again && !waited {
		hint(c.wanted.doubt)
	}
	d.from.force, d.from.again = false, false
	return in.reminder.check(whole)
}

// behind is what the upstream said of what a set of pods refers to.
type behind struct {
	objects map[Ref]answer
	tokens  map[string][]byte
}

func (in *intake) gather(ctx context.Context, set storedSet) behind {
	ctx, cancel := context.WithTimeoutCause(ctx, in.client.cfg.ClosureWait, ErrTimeout)
	defer cancel()
	var tokens map[string][]byte
	var others sync.WaitGroup
	others.Go(func() { tokens = in.client.gatherTokens(ctx, set.tokens(), in.triedTokens) })
	objects := in.client.gather(ctx, set.refs(), in.tried)
	others.Wait()
	return behind{objects, tokens}
}

// forget has asked for again what was had and could not be stored.
func (in *intake) forget(b behind) {
	for ref := range b.objects {
		delete(in.tried, ref)
	}
	for key := range b.tokens {
		delete(in.triedTokens, key)
	}
}

// report logs what is set aside, once for as long as it stays so.
func (in *intake) report(rejected []rejection) {
	now := make(map[rejection]bool, len(rejected))
	for _, r := range rejected {
		if !in.rejected[r] && !now[r] {
			in.client.log.Warn("pod from upstream is set aside", zap.String("reason", r.reason),
				zap.String("namespace", r.namespace), zap.String("pod", r.name), zap.String("uid", string(r.uid)))
		}
		now[r] = true
	}
	in.rejected = now
}

// accept sorts out what cannot be run or must not be: pods without an identity,
// a second pod under a name or UID that is taken (the first wins, as in the
// kubelet), pods that could not be read back, and mirror pods, which only show a
// static pod to the API and would start it twice.
func accept(pods []*corev1.Pod) (set storedSet, rejected []rejection) {
	set = make(storedSet, len(pods))
	names := make(map[types.NamespacedName]bool, len(pods))
	for _, pod := range pods {
		if pod == nil || isMirror(pod) {
			continue
		}
		name := nameOf(pod)
		reason := badIdentity(pod)
		_, uidTaken := set[pod.UID]
		switch {
		case reason != "":
		case names[name]:
			reason = "another pod of the same set has this namespace and name"
		case uidTaken:
			reason = "another pod of the same set has this uid"
		default:
			stored, err := encode(pod)
			if err == nil {
				names[name], set[pod.UID] = true, stored
				continue
			}
			reason = err.Error()
		}
		rejected = append(rejected, rejection{pod.Namespace, pod.Name, pod.UID, reason, pod.DeletionTimestamp != nil})
	}
	return set, rejected
}

// stays reports whether the pod that is stored goes on as it was since its new version
// is set aside. One that is being deleted does not: it would never end.
func stays(uid types.UID, rejected []rejection) bool {
	return slices.ContainsFunc(rejected, func(r rejection) bool { return r.uid == uid && !r.deleted })
}

func isMirror(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

// badIdentity says what is wrong with a pod's uid, namespace or name. All three
// become names of folders on the node.
func badIdentity(pod *corev1.Pod) string {
	for _, part := range []struct{ field, value string }{
		{"metadata.uid", string(pod.UID)},
		{"metadata.namespace", pod.Namespace},
		{"metadata.name", pod.Name},
	} {
		if bad := badName(part.field, part.value); bad != "" {
			return bad
		}
	}
	return ""
}

// maxName is the longest name that the API knows.
const maxName = 253

func badName(field, value string) string {
	if value == "" {
		return field + " is empty"
	}
	if len(value) > maxName {
		return fmt.Sprintf("%s has %d characters, at most %d are allowed", field, len(value), maxName)
	}
	if bad := content.IsPathSegmentName(value); len(bad) > 0 {
		return field + " " + bad[0]
	}
	return ""
}

// storedSet is a complete set as it will be stored.
type storedSet map[types.UID]storedPod

type storedPod struct {
	name      types.NamespacedName
	pod       []byte
	version   string
	wanted    bool // it is not being deleted
	refs      []Ref
	tokens    []tokenRef
	account   string           // namespace and name of its service account
	status    corev1.PodStatus // as the upstream knows it
	hasStatus bool             // it says something
}

// encode renders a pod for the store. It refuses huge quantities, on behalf of all
// who will calculate with them: the rest of the node only ever sees what was read
// back from the store.
func encode(pod *corev1.Pod) (storedPod, error) {
	value, err := encodePod(pod)
	if err != nil {
		return storedPod{}, err
	}
	statusValue, err := encodeStatus(pod.Status)
	if err != nil {
		return storedPod{}, err
	}
	if bad := quantity.Check(value, reflect.TypeFor[corev1.Pod]()); bad != nil {
		return storedPod{}, bad
	}
	if bad := quantity.Check(statusValue, reflect.TypeFor[corev1.PodStatus]()); bad != nil {
		return storedPod{}, fmt.Errorf("status.%w", bad)
	}
	if size := len(value) + len(statusValue); size > maxObject {
		return storedPod{}, fmt.Errorf("pod has %d bytes, at most %d are taken", size, maxObject)
	}
	stored := behindOf(pod)
	stored.pod, stored.version = value, pod.ResourceVersion
	stored.status, stored.hasStatus = pod.Status, statusValue != nil
	return stored, nil
}

func behindOf(pod *corev1.Pod) storedPod {
	return storedPod{
		name: nameOf(pod), wanted: pod.DeletionTimestamp == nil,
		refs: refsOf(pod), tokens: tokensOf(pod), account: pod.Namespace + "/" + accountOf(pod),
	}
}

func nameOf(pod *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
}

func (s storedSet) refs() (refs []Ref) {
	for _, p := range s {
		refs = append(refs, p.refs...)
	}
	return refs
}

func (s storedSet) tokens() (tokens []tokenRef) {
	for _, p := range s {
		tokens = append(tokens, p.tokens...)
	}
	return tokens
}

// withKept adds to a set, as they are stored, the pods of which keeps says that they
// have not gone: the upstream could not tell of them, or their new version is set
// aside. A pod whose name another has now has gone.
func withKept(r store.Reader, set storedSet, keeps func(uid types.UID) bool) storedSet {
	whole, names := maps.Clone(set), map[types.NamespacedName]bool{}
	for _, p := range set {
		names[p.name] = true
	}
	r.Each(bucketPods, func(key string, value []byte) {
		uid := types.UID(key)
		if _, given := set[uid]; given || !keeps(uid) {
			return
		}
		pod, err := decodePod(key, value)
		if err != nil || names[nameOf(pod)] {
			return
		}
		kept := behindOf(pod)
		kept.pod, kept.version = bytes.Clone(value), pod.ResourceVersion
		whole[uid] = kept
	})
	return whole
}

// planSet makes the store hold exactly set and what is behind it. A pod that left
// takes its status along: should the same UID come back, it is to start afresh.
// statuses are what the node reported and has not stored yet. force is to believe
// pods even if their versions are older.
func planSet(r store.Reader, set storedSet, behind behind, statuses map[types.UID]corev1.PodStatus, force bool) []store.Change {
	var changes []store.Change
	for _, bucket := range []string{bucketPods, bucketStatuses} {
		r.Each(bucket, func(key string, _ []byte) {
			if _, ok := set[types.UID(key)]; !ok {
				changes = append(changes, store.Change{Bucket: bucket, Key: key})
			}
		})
	}
	for uid, p := range set {
		if !samePod(r.Get(bucketPods, string(uid)), p, force) {
			changes = append(changes, store.Change{Bucket: bucketPods, Key: string(uid), Value: p.pod})
		}
		if !p.hasStatus {
			continue
		}
		known := storedStatus(r, uid)
		if status, ok := statuses[uid]; ok {
			known = &status
		}
		if agreed := agree(known, p.status); known == nil || !sameStatus(*known, agreed) {
			value, _ := encodeStatus(agreed) // it cannot fail: both were encoded before
			changes = append(changes, store.Change{Bucket: bucketStatuses, Key: string(uid), Value: value})
		}
	}
	for ref, a := range behind.objects {
		changes = append(changes, planAnswer(r, ref, a)...)
	}
	for key, value := range behind.tokens {
		changes = append(changes, store.Change{Bucket: bucketTokens, Key: key, Value: value})
	}
	return append(changes, planSweep(r, set, behind)...)
}

// samePod reports whether what is stored may stay: it is the same but for its
// version, which rises with each status that the node itself reports, or it is
// newer and force does not want what is older.
func samePod(stored []byte, p storedPod, force bool) bool {
	if stored == nil {
		return false
	}
	if bytes.Equal(stored, p.pod) {
		return true
	}
	var known, given corev1.Pod
	if json.Unmarshal(stored, &known) != nil || json.Unmarshal(p.pod, &given) != nil {
		return false
	}
	if older(p.version, known.ResourceVersion) {
		return !force
	}
	given.ResourceVersion = known.ResourceVersion
	same, err := encodePod(&given)
	return err == nil && bytes.Equal(stored, same)
}

// planSweep drops the objects and tokens that no pod of the set refers to. Nodes
// stay: no pod refers to them.
func planSweep(r store.Reader, set storedSet, behind behind) []store.Change {
	var changes []store.Change
	wanted := knownTo(r, behind.objects).closure(set.refs())
	for _, kind := range allKinds() {
		if kind == KindNode {
			continue
		}
		r.Each(kind.resource(), func(key string, _ []byte) {
			if !wanted[refOfKey(kind, key)] {
				changes = append(changes, store.Change{Bucket: kind.resource(), Key: key})
			}
		})
	}
	return append(changes, planTokenSweep(r, set)...)
}
