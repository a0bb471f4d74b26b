package cri

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PodState is one pod as a runtime reported it: an observation, not a wish.
// It is a snapshot that its readers share and must not change.
type PodState struct {
	UID       types.UID
	Namespace string
	Name      string

	// Sandboxes holds every sandbox of the pod, newest first (see Sort).
	Sandboxes []*runtimeapi.PodSandboxStatus
	// Containers holds every container of the pod in any state, of each name the
	// newest first (see Sort).
	Containers []*Container
	// IPs are the pod's addresses, the primary one first. They are those of the
	// newest ready sandbox, or the last known ones when no sandbox is ready;
	// empty for pods on the host network.
	IPs []string

	// ObservedAt is the time at which the observation began: everything that
	// the runtime had done by then is in it.
	ObservedAt time.Time
}

// Container is the observed state of one container and the sandbox it is in.
type Container struct {
	SandboxID string
	*runtimeapi.ContainerStatus
}

// Name is the name of the container in the pod's spec. The label decides, as
// the label is what list filters and other tools see; the metadata is asked
// when the label is missing.
func (c *Container) Name() string {
	if name := c.GetLabels()[LabelContainerName]; name != "" {
		return name
	}
	return c.GetMetadata().GetName()
}

// BareID is the runtime's ID of a container, which a pod's status has behind the
// runtime's name: "containerd://0123". An ID without a name is returned as it is.
func BareID(id string) string {
	if _, bare, found := strings.Cut(id, "://"); found {
		return bare
	}
	return id
}

// Running reports whether the container is in the state RUNNING.
func (c *Container) Running() bool {
	return c.GetState() == runtimeapi.ContainerState_CONTAINER_RUNNING
}

// Exited reports whether the container is in the state EXITED.
func (c *Container) Exited() bool {
	return c.GetState() == runtimeapi.ContainerState_CONTAINER_EXITED
}

// FinishedTime is when the container ended, the zero time if it did not.
func (c *Container) FinishedTime() time.Time { return unixNano(c.GetFinishedAt()) }

// StartedTime is when the container started, the zero time if it did not.
func (c *Container) StartedTime() time.Time { return unixNano(c.GetStartedAt()) }

func unixNano(ns int64) time.Time {
	if ns <= 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// Sort puts the newest sandbox, and of each name the newest container, first, in the
// order of NewestFirst.
func (s *PodState) Sort() {
	slices.SortFunc(s.Sandboxes, NewestFirst)
	slices.SortFunc(s.Containers, NewestFirst)
}

// NewestFirst compares two sandboxes of a pod, or two containers of one name, in any of
// the forms in which CRI tells of them: it is negative if a is the newer one. They go by
// attempt, as that does not depend on the node's clock, which may be years off after a
// power cut; then by creation time; then by ID, so that the order is total and all who
// look for the newest find the same one.
func NewestFirst[M interface{ GetAttempt() uint32 }, T interface {
	GetMetadata() M
	GetCreatedAt() int64
	GetId() string
}](a, b T) int {
	return cmp.Or(
		cmp.Compare(b.GetMetadata().GetAttempt(), a.GetMetadata().GetAttempt()),
		cmp.Compare(b.GetCreatedAt(), a.GetCreatedAt()),
		cmp.Compare(a.GetId(), b.GetId()),
	)
}

// ReadySandboxes returns the sandboxes in the state READY, newest first.
func (s *PodState) ReadySandboxes() []*runtimeapi.PodSandboxStatus {
	var ready []*runtimeapi.PodSandboxStatus
	for _, sandbox := range s.Sandboxes {
		if sandbox.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY {
			ready = append(ready, sandbox)
		}
	}
	return ready
}

// ContainersNamed returns every container of that name, newest first.
func (s *PodState) ContainersNamed(name string) []*Container {
	var named []*Container
	for _, c := range s.Containers {
		if c.Name() == name {
			named = append(named, c)
		}
	}
	return named
}

// Newest returns the newest container of that name, nil if there is none.
func (s *PodState) Newest(name string) *Container {
	for _, c := range s.Containers {
		if c.Name() == name {
			return c
		}
	}
	return nil
}

// Running returns the running containers, newest first.
func (s *PodState) Running() []*Container {
	var running []*Container
	for _, c := range s.Containers {
		if c.Running() {
			running = append(running, c)
		}
	}
	return running
}

// SandboxIPs returns the addresses of a sandbox, the primary one first. It is
// empty for a sandbox on the host network.
func SandboxIPs(sandbox *runtimeapi.PodSandboxStatus) []string {
	network := sandbox.GetNetwork()
	if network.GetIp() == "" {
		return nil
	}
	ips := []string{network.GetIp()}
	for _, extra := range network.GetAdditionalIps() {
		ips = append(ips, extra.GetIp())
	}
	return ips
}

// NetworkFits reports whether the sandbox has the kind of network, the node's or
// one of its own, that a pod wants. A runtime that does not tell is trusted: what
// cannot be seen cannot be put right.
func NetworkFits(sandbox *runtimeapi.PodSandboxStatus, hostNetwork bool) bool {
	options := sandbox.GetLinux().GetNamespaces().GetOptions()
	return options == nil || (options.GetNetwork() == runtimeapi.NamespaceMode_NODE) == hostNetwork
}
