package podsync

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/podmanager/podspec"
)

// The reasons of events, as the kubelet words them.
const (
	eventCreated         = "Created"
	eventStarted         = "Started"
	eventFailed          = "Failed"
	eventKilling         = "Killing"
	eventBackOff         = "BackOff"
	eventSandboxChanged  = "SandboxChanged"
	eventFailedSandbox   = "FailedCreatePodSandBox"
	eventFailedCgroup    = "FailedCreatePodContainer"
	eventFailedMount     = "FailedMount"
	eventNetworkNotReady = "NetworkNotReady"
	eventFailedKill      = "FailedKillPod"
	eventResized         = "ResizeCompleted"
	eventResizeError     = "ResizeError"
	eventFailedPostStart = "FailedPostStartHook"
	eventFailedPreStop   = "FailedPreStopHook"
)

type noRecorder struct{}

func (noRecorder) Event(*corev1.ObjectReference, string, string, string) {}

// tell records that something happened as it should; container is nil when it
// happened to the pod as a whole.
func (s *Syncer) tell(pod *corev1.Pod, container *corev1.Container, reason, message string) {
	s.cfg.Recorder.Event(podspec.Reference(pod, container), corev1.EventTypeNormal, reason, message)
}

// warn records that something went wrong. When ctx has ended nothing did: somebody
// wanted an end of what was being done.
func (s *Syncer) warn(ctx context.Context, pod *corev1.Pod, container *corev1.Container, reason, message string) {
	if ctx.Err() != nil {
		return
	}
	s.cfg.Recorder.Event(podspec.Reference(pod, container), corev1.EventTypeWarning, reason, message)
}

// warnOfBackOff records the containers that wait for the end of a back-off.
func (s *Syncer) warnOfBackOff(ctx context.Context, pod *corev1.Pod, waiting map[string]corev1.ContainerStateWaiting) {
	for name := range waiting {
		s.warn(ctx, pod, specOf(pod, name), eventBackOff, fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)",
			name, pod.Name, pod.Namespace, pod.UID))
	}
}

// specOf finds a container of the pod by its name. One that is not in the spec,
// as in that of an orphan, has a spec of its name alone.
func specOf(pod *corev1.Pod, name string) *corev1.Container {
	for _, spec := range longLived(pod) {
		if spec.Name == name {
			return spec
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		}
	}
	return &corev1.Container{Name: name}
}
