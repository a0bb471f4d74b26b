package podcgroup

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/podmanager/podspec"
)

// Driver is who makes cgroups.
type Driver string

// The drivers that runtimes have.
const (
	Cgroupfs Driver = "cgroupfs"
	Systemd  Driver = "systemd"
)

// The cgroups above those of pods, as the kubelet names them.
const (
	allPods    = "kubepods"
	burstable  = "burstable"
	bestEffort = "besteffort"
	podPrefix  = "pod"
)

// name is a cgroup by the names of it and of those above it.
type name []string

// classes are the cgroups that hold pods.
func classes(root string) []name {
	return []name{classOf(root, corev1.PodQOSGuaranteed), classOf(root, corev1.PodQOSBurstable), classOf(root, corev1.PodQOSBestEffort)}
}

func classOf(root string, class corev1.PodQOSClass) name {
	var parents name
	for part := range strings.SplitSeq(path.Clean("/"+root), "/") {
		if part != "" {
			parents = append(parents, part)
		}
	}
	parents = append(parents, allPods)
	switch class {
	case corev1.PodQOSGuaranteed:
		return parents
	case corev1.PodQOSBurstable:
		return parents.child(burstable)
	default:
		return parents.child(bestEffort)
	}
}

func nameOf(root string, pod *corev1.Pod) (name, error) {
	if err := checkUID(pod.UID); err != nil {
		return nil, err
	}
	return classOf(root, podspec.QOSClass(pod)).child(podPrefix + string(pod.UID)), nil
}

// checkUID refuses what would name another directory.
func checkUID(uid types.UID) error {
	if uid == "" || strings.ContainsAny(string(uid), "/\x00") {
		return fmt.Errorf("metadata.uid %q names no cgroup", uid)
	}
	return nil
}

func (n name) child(last string) name { return append(n[:len(n):len(n)], last) }

// cgroupfs is the cgroup's path below where cgroups are mounted.
func (n name) cgroupfs() string { return "/" + path.Join(n...) }

// systemd is the name of the slice, which tells those above it: each dash
// separates two of them (systemd.slice(5)).
func (n name) systemd() string {
	parts := make([]string, len(n))
	for i, part := range n {
		parts[i] = strings.ReplaceAll(part, "-", "_")
	}
	return strings.Join(parts, "-") + ".slice"
}
