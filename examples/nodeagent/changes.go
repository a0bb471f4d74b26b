package main

import (
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/statusmgr"
)

// logChange tells of a change that a person would see in the table of pods.
func (a *agent) logChange(previous, current *corev1.Pod) {
	before, after := statusmgr.Summarize(previous), statusmgr.Summarize(current)
	if current == nil {
		a.logger.Info("pod is gone", zap.String("pod", fullName(previous)))
		return
	}
	if before == after {
		return
	}
	fields := []zap.Field{
		zap.String("pod", fullName(current)),
		zap.String("status", after.Status),
		zap.String("ready", fmt.Sprintf("%d/%d", after.Ready, after.Containers)),
		zap.Int("restarts", after.Restarts),
	}
	if why := waitingMessage(current); why != "" {
		fields = append(fields, zap.String("why", why))
	}
	a.logger.Info("pod changed", fields...)
}

func fullName(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }

// waitingMessage is the first message of a container that waits.
func waitingMessage(pod *corev1.Pod) string {
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, status := range statuses {
			if status.State.Waiting != nil && status.State.Waiting.Message != "" {
				return status.State.Waiting.Message
			}
		}
	}
	return ""
}
