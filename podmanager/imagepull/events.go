package imagepull

import (
	"fmt"
	"strings"
	"time"

	"github.com/edged-project/edged/podmanager/podspec"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Recorder takes the events. It must not block.
type Recorder interface {
	Event(about *corev1.ObjectReference, eventType, reason, message string)
}

// nobody hears no events.
type nobody struct{}

func (nobody) Event(*corev1.ObjectReference, string, string, string) {}

// The reasons of events, as the kubelet spells them.
const (
	eventPulling       = "Pulling"
	eventPulled        = "Pulled"
	eventFailed        = "Failed"
	eventInspectFailed = "InspectFailed"
	eventBackOff       = "BackOff"
	eventMissingSecret = "FailedToRetrieveImagePullSecret"
)

func (p *Puller) reportPresent(r *request) {
	p.event(r, corev1.EventTypeNormal, eventPulled, fmt.Sprintf("Container image %q already present on machine", r.container.Image))
}

func (p *Puller) reportPulling(r *request) {
	p.event(r, corev1.EventTypeNormal, eventPulling, fmt.Sprintf("Pulling image %q", r.container.Image))
}

// reportPulled tells how long the pull took, and how long with the wait for it.
func (p *Puller) reportPulled(r *request, image *runtimeapi.Image, took, waited time.Duration) {
	p.event(r, corev1.EventTypeNormal, eventPulled,
		fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.",
			r.container.Image, took.Truncate(time.Millisecond), waited.Truncate(time.Millisecond), image.GetSize()))
}

func (p *Puller) reportError(r *request, err *Error) {
	switch err.reason {
	case ReasonInvalidName, ReasonInspect:
		p.event(r, corev1.EventTypeWarning, eventInspectFailed, err.message)
	case ReasonNeverPull:
		p.event(r, corev1.EventTypeWarning, ReasonNeverPull, err.message)
	case ReasonBackOff:
		p.event(r, corev1.EventTypeNormal, eventBackOff, backOffMessage(r.container.Image))
	default:
		p.event(r, corev1.EventTypeWarning, eventFailed, fmt.Sprintf("Failed to pull image %q: %v", r.container.Image, err.cause))
		p.reportMissing(r)
	}
}

// reportMissing names the secrets that may be why a pull failed.
func (p *Puller) reportMissing(r *request) {
	if len(r.missing) == 0 {
		return
	}
	p.recorder.Event(podspec.Reference(r.pod, nil), corev1.EventTypeWarning, eventMissingSecret,
		fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(r.missing, ", ")))
}

func (p *Puller) event(r *request, eventType, reason, message string) {
	p.recorder.Event(podspec.Reference(r.pod, r.container), eventType, reason, message)
}
