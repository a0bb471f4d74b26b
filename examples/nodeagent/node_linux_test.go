package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

func TestWhatTheNodeHasIsMeasured(t *testing.T) {
	node := thisNode("n", t.TempDir())
	for _, resource := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourcePods} {
		quantity := node.Allocatable[resource]
		assert.Positive(t, quantity.Value(), resource)
	}
}
