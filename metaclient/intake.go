package metaclient

import (
	"context"
	"fmt"
	"reflect"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/metaclient/internal/quantity"
)

// intake takes the upstream's sets in. Run's goroutine owns it.
type intake struct {
	client   *Client
	rejected map[rejection]bool // as last reported
}

// rejection is a pod that is set aside, and why.
type rejection struct {
	namespace, name string
	uid             types.UID
	reason          string
}

// take stores a complete set and then, only then, hands it on.
func (in *intake) take(ctx context.Context, pods []*corev1.Pod) error {
	set, rejected := accept(pods)
	in.report(rejected)
	err := in.client.store.update(func(r reader) []change { return planSet(r, set) })
	if err != nil {
		return fmt.Errorf("store a set of %d pods: %w", len(set), err)
	}
	return in.client.handOn(ctx, true)
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
		name := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
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
		rejected = append(rejected, rejection{pod.Namespace, pod.Name, pod.UID, reason})
	}
	return set, rejected
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
		if part.value == "" {
			return part.field + " is empty"
		}
		if bad := content.IsPathSegmentName(part.value); len(bad) > 0 {
			return part.field + " " + bad[0]
		}
	}
	return ""
}

// storedSet is a complete set as it will be stored.
type storedSet map[types.UID]storedPod

type storedPod struct {
	pod         []byte
	status      corev1.PodStatus // as the upstream knows it
	statusValue []byte
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
	return storedPod{pod: value, status: pod.Status, statusValue: statusValue}, nil
}

// planSet makes the store hold exactly set. A pod that left takes its status
// along: should the same UID come back, it is to start afresh.
func planSet(r reader, set storedSet) []change {
	var changes []change
	for _, bucket := range []string{bucketPods, bucketStatuses} {
		r.each(bucket, func(key string, _ []byte) {
			if _, ok := set[types.UID(key)]; !ok {
				changes = append(changes, change{bucket: bucket, key: key})
			}
		})
	}
	for uid, p := range set {
		changes = append(changes, change{bucket: bucketPods, key: string(uid), value: p.pod})
		if p.statusValue != nil && upstreamWins(storedStatus(r, uid), p.status) {
			changes = append(changes, change{bucket: bucketStatuses, key: string(uid), value: p.statusValue})
		}
	}
	return changes
}
