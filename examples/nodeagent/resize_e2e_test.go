//go:build e2e && linux

package main

import (
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
)

func refusedResize(b *board) {
	edit := func(cpu, memory string) {
		b.write("resized.yaml", strings.NewReplacer("100m", cpu, "64Mi", memory).Replace(manifest(resizedPod, "resized")))
	}
	awaitReason := func(kind corev1.PodConditionType, reason string) {
		b.t.Helper()
		b.await(30*time.Second, "the resize is "+reason, func() bool { return len(b.pods()) == 1 && b.condition(kind).Reason == reason })
	}
	limit := func() string { return b.limitOf("uid-resized", "memory.limit_in_bytes", "memory.max") }
	edit("100m", "64Mi")
	agent := b.start()
	b.awaitLines(30*time.Second, "resized Running 1/1 0")
	before := b.started("resized")

	edit("1000", "96Mi")
	awaitReason(corev1.PodResizePending, "Infeasible")
	time.Sleep(6 * time.Second) // the store has written the status by then
	agent.kill()
	b.start()
	awaitReason(corev1.PodResizePending, "Infeasible")
	time.Sleep(2 * time.Second)
	status := b.pods()[0].Status.ContainerStatuses[0]
	assert.Equal(b.t, "100m", status.AllocatedResources.Cpu().String())
	assert.Equal(b.t, "64Mi", status.Resources.Limits.Memory().String())
	assert.Equal(b.t, "67108864", limit())

	edit("200m", "4Ki")
	awaitReason(corev1.PodResizeInProgress, corev1.PodReasonError)
	assert.Contains(b.t, b.condition(corev1.PodResizeInProgress).Message, "memory limit of 4096 bytes is not more than")
	assert.Equal(b.t, "67108864", limit())

	edit("200m", "32Mi")
	b.await(30*time.Second, "the resize is done", func() bool {
		pods := b.pods()
		if len(pods) != 1 || b.condition(corev1.PodResizeInProgress).Type != "" {
			return false
		}
		resources := pods[0].Status.ContainerStatuses[0].Resources
		return resources.Limits.Memory().String() == "32Mi" && limit() == "33554432"
	})
	assert.Equal(b.t, before, b.started("resized"), "nothing was restarted")
}
