package critest

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

// Fault makes calls slow, hang or fail.
type Fault struct {
	// Method is the call as the CRI names it, "PullImage". Empty is every call.
	Method string
	// Match narrows it down; nil takes every call of the method. It may be
	// called from several goroutines, and may look at the runtime but not
	// change it.
	Match func(Call) bool
	// Times is how many calls it hits; 0 is all until it is removed.
	Times int

	// Delay holds the call up.
	Delay time.Duration
	// Hang holds it up until the caller gives up.
	Hang bool
	// Err, when not nil, is the answer: make it with status.Error. Without a
	// code it is Unknown.
	Err error
	// After lets the call do its work first: the caller cannot know that it
	// did. The default is to hit the call before it does anything.
	After bool
}

// Inject adds a fault and returns what removes it. Where several hit one call,
// delays add up and the error of the first counts.
func (r *Runtime) Inject(fault Fault) (remove func()) {
	return r.faults.add(fault)
}

// faults are the faults in force.
type faults struct {
	mu   sync.Mutex // guards list and what is left of each fault
	list []*activeFault
}

type activeFault struct {
	Fault
	left int // of Times
}

func (f *faults) add(fault Fault) (remove func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	active := &activeFault{Fault: fault, left: fault.Times}
	f.list = append(f.list, active)
	return func() { f.remove(active) }
}

func (f *faults) remove(fault *activeFault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = slices.DeleteFunc(f.list, func(other *activeFault) bool { return other == fault })
}

// hitting returns the faults that hit a call, and counts the hit.
func (f *faults) hitting(call Call) []*activeFault {
	f.mu.Lock()
	candidates := slices.Clone(f.list)
	f.mu.Unlock()
	return slices.DeleteFunc(candidates, func(fault *activeFault) bool {
		return fault.Method != "" && fault.Method != call.Method ||
			fault.Match != nil && !fault.Match(call) ||
			!f.use(fault)
	})
}

// use counts a hit, and tells whether there was one left.
func (f *faults) use(fault *activeFault) bool {
	if fault.Times == 0 {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault.left == 0 {
		return false
	}
	fault.left--
	return true
}

// strike has the faults of one moment, before or after the work, hit a call.
func strike(ctx context.Context, hits []*activeFault, after bool) error {
	for _, fault := range hits {
		if fault.After != after {
			continue
		}
		if err := wait(ctx, fault.Delay); err != nil {
			return err
		}
		if fault.Hang {
			<-ctx.Done()
			return status.FromContextError(ctx.Err()).Err()
		}
		if fault.Err != nil {
			return status.Convert(fault.Err).Err()
		}
	}
	return nil
}
