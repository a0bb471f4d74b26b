package eviction

import corev1 "k8s.io/api/core/v1"

// Signal is something of which a node may have too little left, as the kubelet
// spells it.
type Signal string

// The signals. imagefs is where the runtime keeps images and the containers' writable
// layers, nodefs where the agent keeps volumes, often the same file system.
const (
	MemoryAvailable   Signal = "memory.available"
	NodeFsAvailable   Signal = "nodefs.available"
	NodeFsInodesFree  Signal = "nodefs.inodesFree"
	ImageFsAvailable  Signal = "imagefs.available"
	ImageFsInodesFree Signal = "imagefs.inodesFree"
	PIDAvailable      Signal = "pid.available"
)

// signals are all of them, in the order in which they are acted upon: memory first,
// as a node that is out of it does nothing any more.
var signals = []Signal{
	MemoryAvailable, NodeFsAvailable, NodeFsInodesFree, ImageFsAvailable, ImageFsInodesFree, PIDAvailable,
}

// The reasons of the node's conditions, as the kubelet spells them.
const (
	reasonMemoryLow = "KubeletHasInsufficientMemory"
	reasonMemoryOK  = "KubeletHasSufficientMemory"
	reasonDiskLow   = "KubeletHasDiskPressure"
	reasonDiskOK    = "KubeletHasNoDiskPressure"
	reasonPIDLow    = "KubeletHasInsufficientPID"
	reasonPIDOK     = "KubeletHasSufficientPID"
)

// condition is a condition of the node and how it is worded.
type condition struct {
	kind              corev1.NodeConditionType
	low, ok           string
	messageLow, allOK string
}

// conditions of the node in the order in which the kubelet reports them.
var conditions = []condition{
	{corev1.NodeMemoryPressure, reasonMemoryLow, reasonMemoryOK, "the node is short of memory", "the node has sufficient memory"},
	{corev1.NodeDiskPressure, reasonDiskLow, reasonDiskOK, "the node is short of disk", "the node has sufficient disk"},
	{corev1.NodePIDPressure, reasonPIDLow, reasonPIDOK, "the node is short of processes", "the node has sufficient processes"},
}

// condition is the condition that the node has when too little is left.
func (s Signal) condition() corev1.NodeConditionType {
	switch s {
	case MemoryAvailable:
		return corev1.NodeMemoryPressure
	case PIDAvailable:
		return corev1.NodePIDPressure
	default:
		return corev1.NodeDiskPressure
	}
}

// resource is what pods have of it, as messages name it.
func (s Signal) resource() corev1.ResourceName {
	switch s {
	case MemoryAvailable:
		return corev1.ResourceMemory
	case PIDAvailable:
		return "pids"
	case NodeFsInodesFree, ImageFsInodesFree:
		return "inodes"
	default:
		return corev1.ResourceEphemeralStorage
	}
}

// isDisk reports whether removing files helps.
func (s Signal) isDisk() bool { return s.condition() == corev1.NodeDiskPressure }

// inBytes reports whether the signal is an amount of bytes.
func (s Signal) inBytes() bool {
	return s == MemoryAvailable || s == NodeFsAvailable || s == ImageFsAvailable
}
