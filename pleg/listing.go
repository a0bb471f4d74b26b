package pleg

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// phase is the state of a sandbox or a container in the same words: for the
// question whether something changed they are alike.
type phase int8

const (
	unknown phase = iota
	created
	running
	exited
)

func sandboxPhase(state runtimeapi.PodSandboxState) phase {
	if state == runtimeapi.PodSandboxState_SANDBOX_READY {
		return running
	}
	return exited
}

func containerPhase(state runtimeapi.ContainerState) phase {
	switch state {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		return created
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return running
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return exited
	default:
		return unknown
	}
}

// record is all that is kept of a listed sandbox or container to see whether it
// changed.
type record struct {
	id        string
	sandboxID string // of a container
	sandbox   bool
	phase     phase
}

// compare orders the records of one pod: sandboxes first, then by ID.
func (r record) compare(other record) int {
	if r.sandbox != other.sandbox {
		if r.sandbox {
			return -1
		}
		return 1
	}
	return cmp.Compare(r.id, other.id)
}

// listed is a record with what tells whose it is.
type listed struct {
	record
	uid    types.UID
	labels map[string]string
}

// listing is what the runtime listed, ordered by pod, each ID of a pod once.
type listing []listed

// newListing drops what belongs to no pod: a sandbox or container without the
// UID label is somebody else's.
func newListing(sandboxes []*runtimeapi.PodSandbox, containers []*runtimeapi.Container) listing {
	all := make(listing, 0, len(sandboxes)+len(containers))
	for _, s := range sandboxes {
		all = append(all, listed{
			record: record{id: s.GetId(), sandbox: true, phase: sandboxPhase(s.GetState())},
			labels: s.GetLabels(),
		})
	}
	for _, c := range containers {
		all = append(all, listed{
			record: record{id: c.GetId(), sandboxID: c.GetPodSandboxId(), phase: containerPhase(c.GetState())},
			labels: c.GetLabels(),
		})
	}
	for i := range all {
		all[i].uid = types.UID(all[i].labels[cri.LabelPodUID])
	}
	all = slices.DeleteFunc(all, func(l listed) bool { return l.uid == "" })
	slices.SortFunc(all, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.uid, b.uid), a.compare(b.record))
	})
	return slices.CompactFunc(all, func(a, b listed) bool {
		return a.uid == b.uid && a.compare(b.record) == 0
	})
}

// byPod yields the part of the listing that belongs to each pod.
func (l listing) byPod() iter.Seq2[types.UID, listing] {
	return func(yield func(types.UID, listing) bool) {
		for rest := l; len(rest) > 0; {
			uid := rest[0].uid
			end := slices.IndexFunc(rest, func(other listed) bool { return other.uid != uid })
			if end < 0 {
				end = len(rest)
			}
			if !yield(uid, rest[:end]) {
				return
			}
			rest = rest[end:]
		}
	}
}

// pod returns the part of the listing that belongs to the pod.
func (l listing) pod(uid types.UID) listing {
	for found, part := range l.byPod() {
		if found == uid {
			return part
		}
	}
	return nil
}

// podName returns the name of the pod that a listing of one pod is of, empty if
// nothing was listed.
func (l listing) podName() (namespace, name string) {
	if len(l) == 0 {
		return "", ""
	}
	return l[0].labels[cri.LabelPodNamespace], l[0].labels[cri.LabelPodName]
}

// matches reports whether the listing of a pod says what the records say.
func (l listing) matches(records []record) bool {
	return slices.EqualFunc(l, records, func(a listed, b record) bool { return a.record == b })
}

func (l listing) records() []record {
	records := make([]record, len(l))
	for i := range l {
		records[i] = l[i].record
	}
	return records
}

// isNews reports whether somebody has to look at a pod whose records went from
// before to after, both in order.
func isNews(before, after []record) bool {
	if len(before) == 0 && len(after) > 0 {
		return true
	}
	for len(before) > 0 || len(after) > 0 {
		switch order := compareFirst(before, after); {
		case order < 0:
			if before[0].phase != exited {
				return true
			}
			before = before[1:]
		case order > 0:
			// Whoever created a container is about to start it.
			if after[0].phase != created {
				return true
			}
			after = after[1:]
		default:
			if before[0].phase != after[0].phase {
				return true
			}
			before, after = before[1:], after[1:]
		}
	}
	return false
}

// compareFirst compares the first records, where the end comes after any.
func compareFirst(a, b []record) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	default:
		return a[0].compare(b[0])
	}
}

// list asks the runtime for all sandboxes and containers, or for those of one
// pod if uid is not empty.
func (g *Generator) list(ctx context.Context, uid types.UID) (listing, error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.ListTimeout)
	defer cancel()

	var selector map[string]string
	if uid != "" {
		selector = map[string]string{cri.LabelPodUID: string(uid)}
	}
	sandboxes, err := g.runtime.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list pod sandboxes: %w", err)
	}
	containers, err := g.runtime.ListContainers(ctx, &runtimeapi.ContainerFilter{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	return newListing(sandboxes, containers), nil
}
