package eviction

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
)

// Usage is what a pod uses of the node.
type Usage struct {
	// Processes of all containers, 0 if the runtime does not tell.
	Processes int64
	// Containers by name.
	Containers map[string]ContainerUsage
	// Volumes are the emptyDirs on disk, by name.
	Volumes map[string]Disk
	// Files are those of the agent that containers mount and may write to without end:
	// the hosts file and the termination messages (CVE-2020-8557).
	Files Disk
}

// ContainerUsage is what a container uses.
type ContainerUsage struct {
	// Memory is the working set in bytes, which the kernel cannot take back.
	Memory int64
	// Layer is what it has written to its root file system, Logs what is in its log
	// files.
	Layer, Logs Disk
	// Earlier is what its dead runs have written to theirs: it takes disk until they are
	// removed, and counts against no limit.
	Earlier Disk
}

// Disk is what files take.
type Disk struct {
	Bytes, Inodes int64
}

func (d Disk) plus(other Disk) Disk { return Disk{d.Bytes + other.Bytes, d.Inodes + other.Inodes} }

// memory is the working set of all containers.
func (u Usage) memory() int64 {
	var total int64
	for _, c := range u.Containers {
		total += c.Memory
	}
	return total
}

// layers, earlier, logs and volumes are what the pod has on disk.
func (u Usage) layers() (total Disk) {
	for _, c := range u.Containers {
		total = total.plus(c.Layer)
	}
	return total
}

func (u Usage) earlier() (total Disk) {
	for _, c := range u.Containers {
		total = total.plus(c.Earlier)
	}
	return total
}

func (u Usage) logs() (total Disk) {
	for _, c := range u.Containers {
		total = total.plus(c.Logs)
	}
	return total
}

func (u Usage) volumes() (total Disk) {
	for _, v := range u.Volumes {
		total = total.plus(v)
	}
	return total
}

// total is all that counts against the limits of ephemeral storage.
func (u Usage) total() Disk { return u.layers().plus(u.logs()).plus(u.volumes()).plus(u.Files) }

// of is what the pod uses of what the signal tells. ownImageFs: images and layers
// have a file system of their own.
func (u Usage) of(signal Signal, ownImageFs bool) int64 {
	switch signal {
	case MemoryAvailable:
		return u.memory()
	case PIDAvailable:
		return u.Processes
	}
	disk := u.total().plus(u.earlier())
	switch {
	case ownImageFs && (signal == ImageFsAvailable || signal == ImageFsInodesFree):
		disk = u.layers().plus(u.earlier())
	case ownImageFs:
		disk = u.logs().plus(u.volumes()).plus(u.Files)
	}
	if signal.inBytes() {
		return disk.Bytes
	}
	return disk.Inodes
}

// candidate is a pod that may be evicted.
type candidate struct {
	pod      *corev1.Pod
	usage    int64
	request  int64
	priority int32
	ending   bool // it was evicted before
}

func (c candidate) excess() int64 { return c.usage - c.request }

// rank orders the pods for eviction, the first to go first: those that use more than
// they have requested; then those of lower priority; then those that exceed their
// request by more. Processes are never requested. Those that were evicted before and
// have not ended yet come last.
func rank(signal Signal, candidates []*candidate) []*candidate {
	ranked := slices.Clone(candidates) // of pointers: to sort them is code that others use, too
	slices.SortStableFunc(ranked, func(a, b *candidate) int {
		exceeds := 0
		if signal != PIDAvailable {
			exceeds = compareBool(b.excess() > 0, a.excess() > 0)
		}
		return cmp.Or(compareBool(a.ending, b.ending), exceeds, cmp.Compare(a.priority, b.priority), cmp.Compare(b.excess(), a.excess()))
	})
	return ranked
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// The priority classes that every cluster has, and from which priority on a pod is
// critical (Kubernetes docs, "Pod Priority and Preemption").
const (
	nodeCritical     = "system-node-critical"
	clusterCritical  = "system-cluster-critical"
	criticalPriority = 2_000_000_000
)

// Critical reports whether the kubelet never evicts the pod: it is static, stands for
// a static one, or has a critical priority.
func Critical(pod *corev1.Pod) bool {
	_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return mirror || cri.IsStatic(pod) || CriticalPriority(pod)
}

// CriticalPriority reports whether the pod has a critical priority. It is for nodes
// on which all pods are static, and one of them has to go.
func CriticalPriority(pod *corev1.Pod) bool { return priorityOf(pod) >= criticalPriority }

func priorityOf(pod *corev1.Pod) int32 {
	switch {
	case pod.Spec.Priority != nil:
		return *pod.Spec.Priority
	case pod.Spec.PriorityClassName == nodeCritical || pod.Spec.PriorityClassName == clusterCritical:
		return criticalPriority
	default:
		return 0
	}
}
