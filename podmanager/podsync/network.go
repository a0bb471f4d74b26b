package podsync

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// networkRetry is how soon the runtime is asked again whether its network is ready.
const networkRetry = time.Second

// networkError is why a pod with a network of its own waits.
type networkError struct {
	condition *runtimeapi.RuntimeCondition
	retryAt   time.Time
}

// Error words the condition as the kubelet does.
func (e *networkError) Error() string {
	return fmt.Sprintf("container runtime network not ready: NetworkReady=false reason:%s message:%s",
		e.condition.GetReason(), e.condition.GetMessage())
}

func (e *networkError) RetryAt() time.Time { return e.retryAt }

// networkReady returns an error as long as the runtime cannot give the pod a network.
func (s *Syncer) networkReady(ctx context.Context, pod *corev1.Pod) error {
	if pod.Spec.HostNetwork {
		return nil
	}
	response, err := s.rooms.Runtime.Status(ctx, false)
	if err != nil {
		return err
	}
	for _, condition := range response.GetStatus().GetConditions() {
		if condition.GetType() == runtimeapi.NetworkReady && !condition.GetStatus() {
			return &networkError{condition, time.Now().Add(networkRetry)}
		}
	}
	return nil
}
