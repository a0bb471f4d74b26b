package admission

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edged-project/edged/podmanager"
)

// CheckResize returns why a pod that runs cannot have the resources that its spec
// asks for by now, or nil if it can (KEP-1287). The reason is Infeasible when it
// asks for more than the node has, and Deferred when other pods have what it lacks.
// admitted are the pods that share the node, each with the resources that are set
// aside for it, as for Check. With the earlier version of pod among them, only a
// resource of which it asks for more than that is looked at: less always fits.
func CheckResize(pod *corev1.Pod, node Node, admitted []*corev1.Pod) *podmanager.Rejection {
	wanted := grown(pod, node.Allocatable, admitted)
	if why := checkResources(pod, wanted, nil); why != nil {
		return &podmanager.Rejection{Reason: corev1.PodReasonInfeasible, Message: why.Message}
	}
	if why := checkResources(pod, wanted, without(pod, admitted)); why != nil {
		return &podmanager.Rejection{Reason: corev1.PodReasonDeferred, Message: why.Message}
	}
	return nil
}

// grown returns what there is of the resources that pod asks for more of.
func grown(pod *corev1.Pod, allocatable corev1.ResourceList, admitted []*corev1.Pod) corev1.ResourceList {
	grown := maps.Clone(allocatable)
	for _, before := range admitted {
		if before.UID == pod.UID {
			maps.DeleteFunc(grown, func(name corev1.ResourceName, _ resource.Quantity) bool {
				return Request(pod, name) <= Request(before, name)
			})
		}
	}
	return grown
}
