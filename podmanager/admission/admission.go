package admission

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/podmanager"
	"github.com/edged-project/edged/podmanager/podspec"
)

// The reasons of a Rejection, as the kubelet spells them. One for want of a
// resource is "OutOf" and the resource's name: OutOfcpu, OutOfmemory,
// OutOfephemeral-storage, OutOfpods.
const (
	ReasonSysctlForbidden = podspec.ReasonSysctlForbidden
	ReasonOSLabel         = "PodOSSelectorNodeLabelDoesNotMatch"
	ReasonOS              = "PodOSNotSupported"
	ReasonNodeAffinity    = "NodeAffinity"
	ReasonNodeName        = "NodeName"
	ReasonNodePorts       = "NodePorts"
	ReasonTaintToleration = "TaintToleration"
)

// Node is what is known of the node. The zero value takes every pod, except for
// one with an unsafe sysctl.
type Node struct {
	// Name as in spec.nodeName. Empty: not known, and not asked for.
	Name string
	// Labels that selectors are held against. With neither Name nor Labels,
	// selectors are not asked.
	Labels map[string]string
	// Taints of the node. Only those with the effect NoExecute concern it;
	// the others are the scheduler's.
	Taints []corev1.Taint
	// Allocatable is what all pods together may request. A resource that it does
	// not name has no known limit; one that the node lacks is named with 0.
	Allocatable corev1.ResourceList
	// OS as runtime.GOOS spells it. Empty: not known, and not asked for.
	OS string
	// AllowedUnsafeSysctls that pods may set beside the safe ones, as in
	// podspec.SandboxOptions.
	AllowedUnsafeSysctls []string
}

// Check returns the first reason for which the node does not take the pod, in the
// order of the kubelet, or nil if it takes it. admitted are the pods that it has
// taken and of which something may run, whatever their phase is: an upstream may
// fail a pod that runs. An earlier version of pod among them does not count. Nothing
// is changed or kept.
//
// The pods have been through podspec.Complete or an API server: requests are not
// derived from limits here, nor host ports from the host's network.
func Check(pod *corev1.Pod, node Node, admitted []*corev1.Pod) *podmanager.Rejection {
	others := without(pod, admitted)
	return cmp.Or(
		checkSysctls(pod, node.AllowedUnsafeSysctls),
		checkOS(pod, node.OS),
		checkResources(pod, node.Allocatable, others),
		checkAffinity(pod, node),
		checkName(pod, node.Name),
		checkPorts(pod, others),
		checkTaints(pod, node.Taints),
	)
}

// without returns those of admitted that are not pod itself.
func without(pod *corev1.Pod, admitted []*corev1.Pod) []*corev1.Pod {
	return slices.DeleteFunc(slices.Clone(admitted), func(other *corev1.Pod) bool { return other.UID == pod.UID })
}

func checkSysctls(pod *corev1.Pod, allowed []string) *podmanager.Rejection {
	if err := podspec.CheckSysctls(pod, allowed); err != nil {
		return &podmanager.Rejection{Reason: ReasonSysctlForbidden, Message: err.Error()}
	}
	return nil
}

// checkOS looks at the pod's own label, as the kubelet does, and at its field.
// A node selector is held against the node's labels, with the others.
func checkOS(pod *corev1.Pod, os string) *podmanager.Rejection {
	label, labelled := pod.Labels[corev1.LabelOSStable]
	switch {
	case os == "":
	case labelled && label != os:
		return &podmanager.Rejection{
			Reason:  ReasonOSLabel,
			Message: "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
		}
	case pod.Spec.OS != nil && string(pod.Spec.OS.Name) != os:
		return &podmanager.Rejection{
			Reason:  ReasonOS,
			Message: "Failed to admit pod as the OS field doesn't match node OS",
		}
	}
	return nil
}

func checkName(pod *corev1.Pod, name string) *podmanager.Rejection {
	if name == "" || pod.Spec.NodeName == "" || pod.Spec.NodeName == name {
		return nil
	}
	return failed(ReasonNodeName, "node(s) didn't match the requested node name")
}

// failed is the rejection by what the scheduler calls a predicate.
func failed(reason, why string) *podmanager.Rejection {
	return &podmanager.Rejection{Reason: reason, Message: "Predicate " + reason + " failed: " + why}
}
