package pleg

import (
	"context"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

// Eventer is an optional ability of a Runtime: it tells of what happens to containers
// as it happens. The signature is that of k8s.io/cri-api's RuntimeService.
type Eventer interface {
	// GetContainerEvents sends events until the stream breaks or ctx ends. It calls
	// established once the stream is open; that the runtime has no events may be told
	// after that.
	GetContainerEvents(ctx context.Context, events chan *runtimeapi.ContainerEventResponse,
		established func(runtimeapi.RuntimeService_GetContainerEventsClient)) error
}

// How long it takes until a stream that broke is opened again: longer and longer, and
// long where the runtime says that it has no events.
const (
	firstReopen = 100 * time.Millisecond
	lastReopen  = 30 * time.Second
	noEvents    = 10 * time.Minute
)

// eventBuffer is how many events may wait. Who takes them only notes what they are of.
const eventBuffer = 128

// stream follows the runtime's events until ctx ends.
func (g *Generator) stream(ctx context.Context) {
	unable := false
	for pause := firstReopen; ctx.Err() == nil; {
		opened, err := g.streamOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		wasUnable := unable
		unable = status.Code(err) == codes.Unimplemented
		switch {
		case unable:
			if !wasUnable {
				g.log.Info("the runtime has no container events: its pods are listed each period")
			}
			pause = noEvents
		case opened > lastReopen:
			g.log.Warn("the stream of container events broke", zap.Error(err))
			pause = firstReopen
		default:
			pause = min(2*pause, lastReopen)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause/2+1)):
		}
	}
}

// streamOnce follows one stream, and returns how long it was open.
func (g *Generator) streamOnce(ctx context.Context) (opened time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan *runtimeapi.ContainerEventResponse, eventBuffer)
	ended := make(chan error, 1)
	began := time.Now()
	go func() {
		ended <- g.eventer.GetContainerEvents(ctx, events, func(runtimeapi.RuntimeService_GetContainerEventsClient) {
			g.cache.streamOpened()
		})
	}()
	for {
		select {
		case event := <-events:
			if g.cache.announce(podOf(event)) {
				g.poke()
			}
		case err := <-ended:
			g.cache.streamBroke()
			g.reconsider()
			return time.Since(began), err
		}
	}
}

// podOf is the pod that an event is of, empty if the event does not tell. What else
// it says is of no account: it may be late, and tell of what is no more.
func podOf(event *runtimeapi.ContainerEventResponse) types.UID {
	if uid := event.GetPodSandboxStatus().GetMetadata().GetUid(); uid != "" {
		return types.UID(uid)
	}
	for _, c := range event.GetContainersStatuses() {
		if uid := c.GetLabels()[cri.LabelPodUID]; uid != "" {
			return types.UID(uid)
		}
	}
	return ""
}

// reconsider has it thought over how soon all pods are to be listed. It does not block.
func (g *Generator) reconsider() {
	select {
	case g.doubt <- struct{}{}:
	default:
	}
}
