package critest

import "google.golang.org/grpc/codes"

// Profile names a runtime whose behaviour is imitated where runtimes differ.
type Profile int

const (
	// Newest has every call of the newest CRI that is no checkpoint: container
	// events and streaming lists among them.
	Newest Profile = iota
	// Containerd21 has container events but no streaming lists, metrics or
	// changes of a sandbox's resources.
	Containerd21
	// Containerd16 has, in addition, no container events and no RuntimeConfig,
	// and answers NotFound to a stop of what does not exist and to a container
	// for a sandbox that is not ready. It knows how containers ended while it
	// was away, which later ones do not.
	Containerd16
)

// lacks reports whether the runtime does not know the call.
func (p Profile) lacks(method string) bool {
	switch method {
	case "StreamPodSandboxes", "StreamContainers", "StreamImages",
		"StreamContainerStats", "StreamPodSandboxStats", "StreamPodSandboxMetrics",
		"ListMetricDescriptors", "ListPodSandboxMetrics", "UpdatePodSandboxResources":
		return p != Newest
	case "GetContainerEvents", "RuntimeConfig":
		return p == Containerd16
	}
	return false
}

// stopsUnknown reports whether a stop of what does not exist succeeds.
func (p Profile) stopsUnknown() bool { return p != Containerd16 }

// forgetsEnds reports whether the end of a container that ends while the
// runtime is away is lost.
func (p Profile) forgetsEnds() bool { return p != Containerd16 }

// fillsStopped reports whether a container can be created in a sandbox that is
// not ready.
func (p Profile) fillsStopped() bool { return p != Containerd16 }

// listsStatsOfAll reports whether containers that do not run are listed among
// the statistics, without numbers.
func (p Profile) listsStatsOfAll() bool { return p != Containerd16 }

// nameTaken is the code of an attempt to make what exists.
func (p Profile) nameTaken() codes.Code {
	if p == Containerd16 {
		return codes.Unknown
	}
	return codes.FailedPrecondition
}

// execInExited is the code of a command for a container that has ended.
func (p Profile) execInExited() codes.Code {
	if p == Containerd16 {
		return codes.NotFound
	}
	return codes.Unknown
}
