package gc

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// Policy says which dead containers are kept. Containers are counted by the pod
// and the name that they have in it. The newest dead one of a pod that is not
// gone always stays, so that its log and its end can be looked up; hence 0,
// which the kubelet reads as "keep none", stands for the default here.
type Policy struct {
	// MinAge is the age from its creation below which no container is removed.
	// 0 means no limit; a negative one is not valid. One that was made later than it
	// is now, as the clock was set back, is of no age that is known, and may go.
	MinAge time.Duration
	// MaxPerPodContainer is how many dead containers of one name a pod keeps.
	// 0 means the default, 1; negative means no limit.
	MaxPerPodContainer int
	// MaxContainers is how many dead containers there may be altogether. When
	// there are more, each name in each pod is cut to an equal share, oldest
	// first, but to no less than one. 0 or negative means no limit.
	MaxContainers int
}

// Validate returns an error that says what is wrong with the policy, nil if
// nothing is.
func (p Policy) Validate() error {
	if p.MinAge < 0 {
		return fmt.Errorf("container policy: MinAge is %v, it must not be negative", p.MinAge)
	}
	return nil
}

// keepPerUnit is how many dead containers of n a unit keeps.
func (p Policy) keepPerUnit(n int) int {
	switch {
	case p.MaxPerPodContainer < 0:
		return n
	case p.MaxPerPodContainer == 0:
		return min(n, 1)
	default:
		return min(n, p.MaxPerPodContainer)
	}
}

// unit is what a limit on dead containers is about: the instances, one after
// the other, of one container of one pod.
type unit struct {
	pod  types.UID
	name string
}

// planContainers returns the containers to remove, oldest first.
func planContainers(all []*runtimeapi.Container, removed func(types.UID) bool, policy Policy, now time.Time) []*runtimeapi.Container {
	var doomed []*runtimeapi.Container
	var kept [][]*runtimeapi.Container
	for u, instances := range unitsOf(all) {
		gone := removed(u.pod)
		dead, stillborn := collectable(instances, gone, policy.MinAge, now)
		doomed = append(doomed, stillborn...)
		keep := 0
		if !gone {
			keep = policy.keepPerUnit(len(dead))
		}
		doomed = append(doomed, dead[keep:]...)
		if keep > 0 {
			kept = append(kept, dead[:keep])
		}
	}
	doomed = append(doomed, overTotal(kept, policy.MaxContainers)...)
	slices.SortFunc(doomed, func(a, b *runtimeapi.Container) int { return cri.NewestFirst(b, a) })
	return doomed
}

// unitsOf groups containers, newest first, and leaves out those of nobody's pod.
func unitsOf(all []*runtimeapi.Container) map[unit][]*runtimeapi.Container {
	units := make(map[unit][]*runtimeapi.Container)
	for _, container := range all {
		u := unit{pod: podUID(container.GetLabels()), name: container.GetLabels()[cri.LabelContainerName]}
		if u.pod != "" {
			units[u] = append(units[u], container)
		}
	}
	for _, instances := range units {
		slices.SortFunc(instances, cri.NewestFirst)
	}
	return units
}

// collectable picks from the instances of a unit, newest first, those that
// limits apply to (dead) and those that go in any case (stillborn): a container
// that was created and never started is about to be started when it is the
// newest, and of no use to anybody when it is not.
func collectable(instances []*runtimeapi.Container, gone bool, minAge time.Duration, now time.Time) (dead, stillborn []*runtimeapi.Container) {
	for i, container := range instances {
		created := container.GetState() == runtimeapi.ContainerState_CONTAINER_CREATED
		switch {
		case container.GetState() == runtimeapi.ContainerState_CONTAINER_RUNNING:
		case isYoung(now.Sub(time.Unix(0, container.GetCreatedAt())), minAge):
		case created && !gone && i == 0:
		case created && !gone:
			stillborn = append(stillborn, container)
		default:
			dead = append(dead, container)
		}
	}
	return dead, stillborn
}

// isYoung is false of what is from the future: the clock was set back, by years perhaps.
func isYoung(age, minAge time.Duration) bool { return age >= 0 && age < minAge }

// overTotal returns what goes of the dead containers that the units would keep,
// so that there are no more than limit where that leaves each unit one.
func overTotal(units [][]*runtimeapi.Container, limit int) []*runtimeapi.Container {
	total := 0
	for _, dead := range units {
		total += len(dead)
	}
	if limit <= 0 || total <= limit {
		return nil
	}
	var doomed []*runtimeapi.Container
	share := max(1, limit/len(units))
	for _, dead := range units {
		doomed = append(doomed, dead[min(share, len(dead)):]...)
	}
	return doomed
}

// planSandboxes returns the sandboxes to remove, oldest first: those that are
// not ready and hold no container, but not the newest of a pod that is not gone.
func planSandboxes(all []*runtimeapi.PodSandbox, containers []*runtimeapi.Container, removed func(types.UID) bool) []*runtimeapi.PodSandbox {
	occupied := make(map[string]bool)
	for _, container := range containers {
		occupied[container.GetPodSandboxId()] = true
	}
	pods := make(map[types.UID][]*runtimeapi.PodSandbox)
	for _, sandbox := range all {
		if uid := podUID(sandbox.GetLabels()); uid != "" {
			pods[uid] = append(pods[uid], sandbox)
		}
	}
	var doomed []*runtimeapi.PodSandbox
	for uid, sandboxes := range pods {
		slices.SortFunc(sandboxes, cri.NewestFirst)
		gone := removed(uid)
		for i, sandbox := range sandboxes {
			ready := sandbox.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY
			if !ready && !occupied[sandbox.GetId()] && (gone || i > 0) {
				doomed = append(doomed, sandbox)
			}
		}
	}
	slices.SortFunc(doomed, func(a, b *runtimeapi.PodSandbox) int {
		return cmp.Or(cmp.Compare(a.GetCreatedAt(), b.GetCreatedAt()), cmp.Compare(a.GetId(), b.GetId()))
	})
	return doomed
}
