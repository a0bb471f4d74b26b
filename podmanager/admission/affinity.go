package admission

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/edged-project/edged/podmanager"
)

var operators = map[corev1.NodeSelectorOperator]selection.Operator{
	corev1.NodeSelectorOpIn:           selection.In,
	corev1.NodeSelectorOpNotIn:        selection.NotIn,
	corev1.NodeSelectorOpExists:       selection.Exists,
	corev1.NodeSelectorOpDoesNotExist: selection.DoesNotExist,
	corev1.NodeSelectorOpGt:           selection.GreaterThan,
	corev1.NodeSelectorOpLt:           selection.LessThan,
}

// checkAffinity asks for the node selector and for the required node affinity.
func checkAffinity(pod *corev1.Pod, node Node) *podmanager.Rejection {
	if node.Name == "" && len(node.Labels) == 0 {
		return nil
	}
	if labels.SelectorFromSet(pod.Spec.NodeSelector).Matches(labels.Set(node.Labels)) && matchesRequired(pod.Spec.Affinity, node) {
		return nil
	}
	return failed(ReasonNodeAffinity, "node(s) didn't match Pod's node affinity/selector")
}

// matchesRequired reports whether one of the required terms matches. Where terms
// are required and none is given, none matches.
func matchesRequired(affinity *corev1.Affinity, node Node) bool {
	if affinity == nil || affinity.NodeAffinity == nil {
		return true
	}
	required := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return true
	}
	return slices.ContainsFunc(required.NodeSelectorTerms, func(term corev1.NodeSelectorTerm) bool {
		return matchesTerm(term, node)
	})
}

// matchesTerm reports whether all of the term matches. An empty one matches no
// node, nor does one that is malformed.
func matchesTerm(term corev1.NodeSelectorTerm, node Node) bool {
	if len(term.MatchExpressions)+len(term.MatchFields) == 0 {
		return false
	}
	for _, e := range term.MatchExpressions {
		if !matchesLabels(e, node.Labels) {
			return false
		}
	}
	for _, f := range term.MatchFields {
		if !matchesField(f, node.Name) {
			return false
		}
	}
	return true
}

func matchesLabels(e corev1.NodeSelectorRequirement, set labels.Set) bool {
	requirement, err := labels.NewRequirement(e.Key, operators[e.Operator], e.Values)
	return err == nil && requirement.Matches(set)
}

// matchesField knows the one field that nodes are selected by, their name.
func matchesField(f corev1.NodeSelectorRequirement, name string) bool {
	if f.Key != metav1.ObjectNameField || len(f.Values) != 1 {
		return false
	}
	switch f.Operator {
	case corev1.NodeSelectorOpIn:
		return f.Values[0] == name
	case corev1.NodeSelectorOpNotIn:
		return f.Values[0] != name
	}
	return false
}
