package admission_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/podmanager"
	"github.com/edged-project/edged/podmanager/admission"
)

func TestAResizeFitsOrWaitsOrNeverFits(t *testing.T) {
	node := admission.Node{Allocatable: resources("cpu", "4", "memory", "4Gi", "pods", "2")}
	before, other := pod("a", requests("1", "1Gi")), pod("b", requests("2", "2Gi"))
	tests := map[string]struct {
		after    *corev1.Pod
		admitted []*corev1.Pod
		want     *podmanager.Rejection
	}{
		"there is room":     {pod("a", requests("2", "2Gi")), []*corev1.Pod{before, other}, nil},
		"the others ended":  {pod("a", requests("4", "4Gi")), []*corev1.Pod{before}, nil},
		"others have it":    {pod("a", requests("3", "1Gi")), []*corev1.Pod{before, other}, &podmanager.Rejection{Reason: "Deferred", Message: "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000"}},
		"nobody has it":     {pod("a", requests("1", "5Gi")), []*corev1.Pod{before, other}, &podmanager.Rejection{Reason: "Infeasible", Message: "Node didn't have enough resource: memory, requested: 5368709120, used: 0, capacity: 4294967296"}},
		"it did not before": {pod("a", requests("3", "1Gi")), []*corev1.Pod{other}, &podmanager.Rejection{Reason: "Deferred", Message: "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, admission.CheckResize(test.after, node, test.admitted))
		})
	}
}

// The node has less than what was admitted: its memory is smaller since it was
// repaired.
func TestLessAlwaysFits(t *testing.T) {
	node := admission.Node{Allocatable: resources("cpu", "4", "memory", "1Gi")}
	before, other := pod("a", requests("2", "2Gi")), pod("b", requests("1", "2Gi"))
	admitted := []*corev1.Pod{before, other}
	assert.Nil(t, admission.CheckResize(pod("a", requests("1", "1500Mi")), node, admitted))
	assert.Nil(t, admission.CheckResize(pod("a", requests("3", "2Gi")), node, admitted), "more of what there is")
	assert.Equal(t, "Infeasible", admission.CheckResize(pod("a", requests("2", "3Gi")), node, admitted).Reason)
}
