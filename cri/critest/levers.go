package critest

import "time"

// ContainerID returns the ID of the newest container of that name in a pod of
// that name, "" if there is none.
func (r *Runtime) ContainerID(pod, container string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var id string
	var newest int64
	for _, c := range r.containers {
		if c.createdAt > newest && c.sandbox.config.GetMetadata().GetName() == pod && c.config.GetMetadata().GetName() == container {
			id, newest = c.id, c.createdAt
		}
	}
	return id
}

// SandboxID returns the ID of the sandbox with the highest attempt of a pod of
// that name, "" if there is none.
func (r *Runtime) SandboxID(pod string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var newest *sandbox
	for _, sb := range r.sandboxes {
		metadata := sb.config.GetMetadata()
		if metadata.GetName() == pod && (newest == nil || metadata.GetAttempt() > newest.config.GetMetadata().GetAttempt()) {
			newest = sb
		}
	}
	if newest == nil {
		return ""
	}
	return newest.id
}

// Exit ends a running container with a code, as if its process had. The error
// is NotFound, or says that it does not run.
func (r *Runtime) Exit(containerID string, code int32) error {
	return r.endRunning(containerID, code, "")
}

// OOMKill ends a running container for want of memory: code 137, reason
// OOMKilled. Errors as Exit.
func (r *Runtime) OOMKill(containerID string) error {
	return r.endRunning(containerID, exitKilled, reasonOOMKilled)
}

func (r *Runtime) endRunning(id string, code int32, reason string) error {
	return r.withContainer(id, func(c *container) error {
		if !c.running() {
			return failed("container %q does not run: it is in %s state", c.id, c.state())
		}
		r.exit(c, code, reason)
		return nil
	})
}

// SetUnknown loses track of a container: its state is UNKNOWN until it is
// stopped or removed. The error is NotFound.
func (r *Runtime) SetUnknown(containerID string) error {
	return r.withContainer(containerID, func(c *container) error {
		c.halt()
		c.unknown = true
		return nil
	})
}

// Vanish removes a container, whatever its state, without an event, as when
// somebody else cleaned up. The error is NotFound.
func (r *Runtime) Vanish(containerID string) error {
	return r.withContainer(containerID, func(c *container) error {
		r.vanish(c)
		return nil
	})
}

func (r *Runtime) vanish(c *container) {
	r.dropContainer(c)
	c.unknown = false
	c.finishedAt = max(c.finishedAt, time.Now().UnixNano())
	c.releaseWaiters()
}

// KillSandbox ends a sandbox's own process: it is NOTREADY, and its containers
// go on. The error is NotFound.
func (r *Runtime) KillSandbox(sandboxID string) error {
	return r.withSandbox(sandboxID, r.sandboxDied)
}

// VanishSandbox removes a sandbox and its containers, whatever their state,
// without an event. The error is NotFound.
func (r *Runtime) VanishSandbox(sandboxID string) error {
	return r.withSandbox(sandboxID, func(sb *sandbox) {
		for len(sb.containers) > 0 {
			r.vanish(sb.containers[0])
		}
		r.dropSandbox(sb)
	})
}

// SetSandboxIPs sets the addresses that a sandbox reports, the primary one
// first; none is a sandbox whose network is broken. The error is NotFound.
func (r *Runtime) SetSandboxIPs(sandboxID string, ips ...string) error {
	return r.withSandbox(sandboxID, func(sb *sandbox) { sb.ips = ips })
}

func (r *Runtime) withContainer(id string, do func(*container) error) error {
	r.mu.Lock()
	defer r.unlock()
	c, err := find(r.containers, id)
	if err != nil {
		return wrap(err, "container %q", id)
	}
	return do(c)
}

func (r *Runtime) withSandbox(id string, do func(*sandbox)) error {
	r.mu.Lock()
	defer r.unlock()
	sb, err := find(r.sandboxes, id)
	if err != nil {
		return wrap(err, "sandbox %q", id)
	}
	do(sb)
	return nil
}
