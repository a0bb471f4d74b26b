package gc

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
)

// Recorder takes events about the node. It must not block.
type Recorder interface {
	Event(about *corev1.ObjectReference, eventType, reason, message string)
}

// ImagesConfig configures NewImages. The zero value collects by the kubelet's
// defaults and knows images to be needed by their containers only.
type ImagesConfig struct {
	// HighThresholdPercent is how much of the images' file system may be used
	// before images are removed, 85 by default. With 100 none is for want of space.
	HighThresholdPercent int
	// LowThresholdPercent is how much of it is to be used at most when that is
	// done: by default 80, or 5 below a high mark that is lower than 85.
	LowThresholdPercent int
	// MinAge is the time after an image was first seen in which it is not
	// removed, 2 minutes by default; negative means none. After a restart of the
	// agent all images are first seen.
	MinAge time.Duration
	// MaxAge is the time after its last use, or else after it was first seen, for
	// which an image is kept even with space to spare. 0 means no limit.
	MaxAge time.Duration
	// Period is the time from the end of a round to the next, 5 seconds by default.
	Period time.Duration
	// LookPeriod is how often one looks which images there are and which are in
	// use, to know later which were used least recently; 5 minutes by default.
	LookPeriod time.Duration

	// Ready reports whether Wanted knows the pods of the node; until then nothing
	// is removed. An agent that starts without network is ready with the pods that
	// it remembers. Nil means that it is so from the start.
	Ready func() bool
	// Wanted returns the images of the pods that the node is to run, as their specs
	// name them: of init containers, containers, ephemeral containers and image
	// volumes. They count as in use, also while no container has them yet. It must
	// not block. Nil means none.
	Wanted func() []string
	// Hold reports whether unused images stay too, for now: while the upstream or
	// the registry cannot be reached, what is removed cannot be had again. It must
	// not block. Nil means never.
	Hold func() bool
	// Keep names images that are never removed. What runtimes pin, and images whose
	// name ends in "pause", of which runtimes that pin nothing make sandboxes, need
	// not be named.
	Keep []string
	// Unleased runs remove, unless the start of a container is about to use the
	// image by one of the names (ID, tags, digests), and reports whether it did,
	// with the error of remove. A start that begins meanwhile must look for the image
	// only after remove has returned. Nil means that nobody else starts containers
	// while images are removed.
	Unleased func(names []string, remove func() error) (bool, error)

	// DiskOf measures the file system at a mountpoint that the runtime reported.
	// By default the kernel is asked; an agent that sees the node's files elsewhere
	// translates the path.
	DiskOf func(mountpoint string) (Disk, error)
	// Recorder gets the events InvalidDiskCapacity and FreeDiskSpaceFailed about
	// the node NodeName, once each time that it comes to that. Nil means no events.
	Recorder Recorder
	NodeName string
	// Logger gets what was removed, and the troubles when they change. Nil means
	// no log.
	Logger *zap.Logger
}

func (c ImagesConfig) withDefaults() ImagesConfig {
	if c.HighThresholdPercent == 0 {
		c.HighThresholdPercent = 85
	}
	if c.LowThresholdPercent == 0 {
		c.LowThresholdPercent = max(0, min(80, c.HighThresholdPercent-5))
	}
	if c.MinAge == 0 {
		c.MinAge = 2 * time.Minute
	}
	if c.Period <= 0 {
		c.Period = 5 * time.Second
	}
	if c.LookPeriod <= 0 {
		c.LookPeriod = 5 * time.Minute
	}
	if c.Ready == nil {
		c.Ready = func() bool { return true }
	}
	if c.Wanted == nil {
		c.Wanted = func() []string { return nil }
	}
	if c.Hold == nil {
		c.Hold = func() bool { return false }
	}
	if c.Unleased == nil {
		c.Unleased = func(_ []string, remove func() error) (bool, error) { return true, remove() }
	}
	if c.DiskOf == nil {
		c.DiskOf = diskOf
	}
	if c.Recorder == nil {
		c.Recorder = nobody{}
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Validate returns an error that says what is wrong with the configuration, nil
// if nothing is.
func (c ImagesConfig) Validate() error {
	c = c.withDefaults()
	switch high, low := c.HighThresholdPercent, c.LowThresholdPercent; {
	case high < 0 || high > 100:
		return fmt.Errorf("image policy: HighThresholdPercent is %d, it must be within 0 and 100", high)
	case low < 0 || low > 100:
		return fmt.Errorf("image policy: LowThresholdPercent is %d, it must be within 0 and 100", low)
	case low > high:
		return fmt.Errorf("image policy: LowThresholdPercent is %d, it must not be above HighThresholdPercent, %d", low, high)
	case c.MaxAge < 0 || c.MaxAge > 0 && c.MaxAge <= c.MinAge:
		return fmt.Errorf("image policy: MaxAge is %v, it must be 0 or above MinAge, %v", c.MaxAge, c.MinAge)
	}
	return nil
}

// nobody hears no events.
type nobody struct{}

func (nobody) Event(*corev1.ObjectReference, string, string, string) {}
