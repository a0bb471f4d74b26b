package critest

import (
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Restart restarts the runtime's daemon: connections drop, calls under way fail
// with Unavailable, events are lost, and containers go on. It is away for the
// given time, during which nobody can connect; of a container that ends
// meanwhile it knows only that it did, and reports code 255 and reason Unknown,
// unless it is Containerd16. It blocks until the calls under way have ended,
// not while the daemon is away.
func (r *Runtime) Restart(down time.Duration) {
	r.front.restart(down, func() { r.leave(false) }, func() { r.comeBack(false, false) })
}

// RebootOptions say how a host reboots.
type RebootOptions struct {
	// Down is how long the runtime is away.
	Down time.Duration
	// Wipe loses sandboxes, containers and the images that are not in
	// Config.Images too, as a host whose disk is memory does.
	Wipe bool
}

// Reboot cuts the host's power: every container stops that moment, the runtime
// is away for options.Down, and then reports every container that had not ended
// as EXITED with code 255 and reason Unknown, finished when the runtime came
// back, and every sandbox as NOTREADY and without an address. It blocks as
// Restart does.
func (r *Runtime) Reboot(options RebootOptions) {
	r.front.restart(options.Down, func() { r.leave(true) }, func() { r.comeBack(true, options.Wipe) })
}

// leave is the end of the daemon and, at a power cut, of everything that runs.
func (r *Runtime) leave(powerCut bool) {
	r.mu.Lock()
	defer r.unlock()
	r.away = true
	if !powerCut {
		return
	}
	for _, c := range r.containers {
		if c.state() != runtimeapi.ContainerState_CONTAINER_EXITED {
			c.lost = true
			c.usage.stop(time.Now())
			c.halt()
		}
	}
}

// comeBack is what the daemon finds when it starts.
func (r *Runtime) comeBack(rebooted, wipe bool) {
	defer r.events.reset() // not under mu: who scripts events may look at the runtime
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = false
	if wipe {
		r.wipe()
	}
	for _, c := range r.containers {
		if c.lost {
			r.endLost(c)
		}
	}
	for _, sb := range r.sandboxes {
		if rebooted {
			sb.ready, sb.ips = false, nil
		}
	}
}

func (r *Runtime) wipe() {
	r.sandboxes, r.containers, r.names = map[string]*sandbox{}, map[string]*container{}, map[string]string{}
	r.addresses = newAddressPool(r.cfg.PodCIDR)
	r.images.reset(r.cfg.Images)
}
