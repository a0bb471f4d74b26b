package admission

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/podmanager"
)

// checkTaints asks whether the pod tolerates the taints that would drive it out.
// Static pods are the node's own: nobody drives them out.
func checkTaints(pod *corev1.Pod, taints []corev1.Taint) *podmanager.Rejection {
	if cri.IsStatic(pod) {
		return nil
	}
	for _, taint := range taints {
		tolerated := func(t corev1.Toleration) bool { return tolerates(t, taint) }
		if taint.Effect == corev1.TaintEffectNoExecute && !slices.ContainsFunc(pod.Spec.Tolerations, tolerated) {
			return failed(ReasonTaintToleration, "node(s) had taints that the pod didn't tolerate")
		}
	}
	return nil
}

// tolerates follows the Kubernetes docs, "Taints and Tolerations". An empty effect
// or key stands for all.
func tolerates(toleration corev1.Toleration, taint corev1.Taint) bool {
	if toleration.Effect != "" && toleration.Effect != taint.Effect || toleration.Key != "" && toleration.Key != taint.Key {
		return false
	}
	switch toleration.Operator {
	case corev1.TolerationOpExists:
		return true
	case "", corev1.TolerationOpEqual:
		return toleration.Value == taint.Value
	}
	return false
}
