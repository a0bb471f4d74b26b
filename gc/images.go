package gc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// patience is how long Run waits at most with the next round when there was not
// enough to remove: a disk that is full of something else is no reason to list all
// images every few seconds.
const patience = time.Minute

// The reasons of events, as the kubelet spells them.
const (
	eventNoCapacity = "InvalidDiskCapacity"
	eventNotEnough  = "FreeDiskSpaceFailed"
)

// ErrNotEnough is the error of a round that removed all images that may be removed
// and left the disk fuller than the low mark.
var ErrNotEnough = errors.New("not enough images may be removed")

// errHeld is the error of a round in which images should go and ImagesConfig.Hold
// keeps them.
var errHeld = errors.New("images are held")

// ImageRuntime is what Images asks of a container runtime; a *cri.Client is one.
// Its methods bound their own time. RemoveImage by the ID removes all names of
// the image and is idempotent, as CRI has it.
type ImageRuntime interface {
	ImageFsInfo(ctx context.Context) (*runtimeapi.ImageFsInfoResponse, error)
	ListImages(ctx context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error)
	ImageStatus(ctx context.Context, image *runtimeapi.ImageSpec, verbose bool) (*runtimeapi.ImageStatusResponse, error)
	ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error)
	RemoveImage(ctx context.Context, image *runtimeapi.ImageSpec) error
}

// Images removes images that nobody needs when their disk gets full.
type Images struct {
	rt  ImageRuntime
	cfg ImagesConfig
	log *zap.Logger

	turn chan struct{} // whoever has put something in may use what follows

	seen     map[string]sighting // by ID
	looked   time.Time           // when seen was made
	draining bool                // the high mark was reached, and the low one not since
	trouble  string              // what was told last, "" for none
}

// NewImages returns a collector for the images that rt holds.
func NewImages(rt ImageRuntime, cfg ImagesConfig) *Images {
	cfg = cfg.withDefaults()
	return &Images{rt: rt, cfg: cfg, log: cfg.Logger.Named("gc"), turn: make(chan struct{}, 1)}
}

// Run does a round at once and then each period, until ctx ends. It returns nil
// then, and an error only for a configuration that is not valid. Trouble is logged
// when it begins, changes and ends. After a round with ErrNotEnough the next
// one comes a minute later, or sooner when MinAge is less. With HighThresholdPercent
// 100 and no MaxAge it removes nothing, and only sees how old images are, which
// CollectUnused asks for.
func (i *Images) Run(ctx context.Context) error {
	if err := i.cfg.Validate(); err != nil {
		return err
	}
	for {
		pause := i.cfg.Period
		if errors.Is(i.Collect(ctx), ErrNotEnough) {
			pause = max(pause, i.patience())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func (i *Images) patience() time.Duration {
	if i.cfg.MinAge > 0 {
		return min(patience, i.cfg.MinAge) // those that were too young are not any more
	}
	return patience
}

// Collect does one round: it measures the disk, and with the high mark reached
// removes as many images, by their sizes, as it takes to come down to the low
// mark. Images share layers, so that this may free less: the next round measures
// again and goes on until the low mark is reached. Images older than MaxAge go too,
// at times.
//
// It blocks for as long as the runtime takes, and returns the joined errors of
// what failed, with ErrNotEnough among them when nothing was left to remove. It
// may be called while Run runs.
func (i *Images) Collect(ctx context.Context) error {
	return i.inTurn(ctx, func() error {
		err := i.round(ctx)
		if ctx.Err() == nil {
			i.tell(err)
		}
		return err
	})
}

// CollectUnused removes all images that may be removed, whatever the disk says:
// for a node that otherwise had to evict pods. MinAge, Ready and Hold apply. It
// blocks for as long as the runtime takes, and returns the joined errors of what
// could not be removed. It is idempotent and may be called while Run runs.
func (i *Images) CollectUnused(ctx context.Context) error {
	return i.inTurn(ctx, func() error {
		if !i.cfg.Ready() || i.cfg.Hold() {
			return nil
		}
		plan, err := i.look(ctx)
		if err != nil {
			return err
		}
		_, err = i.remove(ctx, plan, unlimited, "unused")
		return err
	})
}

func (i *Images) inTurn(ctx context.Context, do func() error) error {
	if err := i.cfg.Validate(); err != nil {
		return err
	}
	select {
	case i.turn <- struct{}{}:
		defer func() { <-i.turn }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return do()
}

// round is Collect. Below the mark it costs one call, and the two lists now and then.
func (i *Images) round(ctx context.Context) error {
	if !i.cfg.Ready() {
		return nil
	}
	shortage, failed := i.mind(ctx)
	held := i.draining && i.cfg.Hold()
	if held {
		failed = errHeld
	}
	if (!i.draining || held) && time.Since(i.looked) < i.cfg.LookPeriod {
		return failed
	}
	plan, err := i.look(ctx)
	if err != nil || i.cfg.Hold() {
		return errors.Join(failed, err)
	}
	idle, others := splitIdle(plan, i.seen, i.cfg.MaxAge, i.looked)
	freed, err := i.remove(ctx, idle, unlimited, "not used for long")
	if !i.draining || freed >= shortage {
		return errors.Join(failed, err)
	}
	more, removal := i.remove(ctx, others, shortage-freed, "disk is full")
	err = errors.Join(err, removal)
	switch {
	case freed+more >= shortage || ctx.Err() != nil:
		return err
	case i.cfg.Hold():
		return errors.Join(errHeld, err)
	default:
		return errors.Join(i.exhausted(ctx), err)
	}
}

// measure returns the fullest of the images' file systems.
func (i *Images) measure(ctx context.Context) (Disk, error) {
	info, err := i.rt.ImageFsInfo(ctx)
	if err != nil {
		return Disk{}, fmt.Errorf("collect images: %w", err)
	}
	disk, err := fullest(info.GetImageFilesystems(), i.cfg.DiskOf)
	if err != nil {
		return Disk{}, fmt.Errorf("collect images: %w", err)
	}
	return disk, nil
}

// mind measures the disk, unless it is of no account, and returns how many bytes are to
// be freed if draining.
func (i *Images) mind(ctx context.Context) (shortage uint64, err error) {
	if i.cfg.HighThresholdPercent == 100 {
		return 0, nil
	}
	disk, err := i.measure(ctx)
	if err != nil {
		i.draining = false
		return 0, err
	}
	shortage = disk.shortage(i.cfg.LowThresholdPercent)
	i.draining = shortage > 0 && (i.draining || disk.used() >= i.cfg.HighThresholdPercent)
	return shortage, nil
}

// look takes stock of images and their users, and returns the images that may be
// removed, in the order in which they go. The users are listed last: a container
// made meanwhile is among them.
func (i *Images) look(ctx context.Context) ([]*runtimeapi.Image, error) {
	images, err := i.rt.ListImages(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("collect images: %w", err)
	}
	inUse, err := i.users(ctx)
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		if isSandboxImage(image) {
			inUse.add(image.GetId())
		}
	}
	i.looked = time.Now()
	i.seen = observe(i.seen, images, inUse, i.looked)
	return planImages(images, i.seen, inUse, i.cfg.MinAge, i.looked), nil
}

// users returns the names of the images that are needed: of all containers, also
// of dead ones, of the pods to run, and those to keep.
func (i *Images) users(ctx context.Context) (names, error) {
	containers, err := i.rt.ListContainers(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("collect images: %w", err)
	}
	inUse := make(names)
	inUse.addContainers(containers)
	inUse.add(i.cfg.Wanted()...)
	inUse.add(i.cfg.Keep...)
	return inUse, nil
}

// unlimited is more than there can be to free.
const unlimited = 1<<64 - 1

// remove removes images of the plan, in order, until wanted bytes are freed by
// the images' sizes, which it returns, or images are held. One that fails does not hold
// up the others.
func (i *Images) remove(ctx context.Context, plan []*runtimeapi.Image, wanted uint64, why string) (freed uint64, err error) {
	for _, image := range plan {
		if ctx.Err() != nil {
			return freed, errors.Join(err, ctx.Err())
		}
		if freed >= wanted || i.cfg.Hold() {
			break
		}
		removed, failed := i.removeUnleased(ctx, image)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("remove image %q: %w", image.GetId(), failed))
			continue
		}
		if removed {
			freed += image.GetSize()
			i.log.Info("image removed", zap.String("image", image.GetId()), zap.Strings("tags", image.GetRepoTags()),
				zap.Uint64("bytes", image.GetSize()), zap.String("why", why))
		}
	}
	return freed, err
}

// removeUnleased removes the image unless somebody needs it by now. Who needs it may
// know it by a name that it did not have when it was planned: so it is looked at again.
// Who leased it has a container when the lease has ended: so the containers are listed
// again while nobody can begin a lease.
func (i *Images) removeUnleased(ctx context.Context, planned *runtimeapi.Image) (removed bool, err error) {
	status, err := i.rt.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: planned.GetId()}, false)
	if err != nil {
		return false, err
	}
	image := status.GetImage()
	if image == nil || image.GetPinned() {
		return false, nil
	}
	_, err = i.cfg.Unleased(namesOf(image), func() error {
		inUse, err := i.users(ctx)
		if err != nil || inUse.have(image) {
			return err
		}
		if err := i.rt.RemoveImage(ctx, &runtimeapi.ImageSpec{Image: image.GetId()}); err != nil {
			return err
		}
		removed = true
		return nil
	})
	return removed, err
}

// exhausted is for when there is nothing more to remove: it measures what came of
// it, and lets the disk be if that is not enough.
func (i *Images) exhausted(ctx context.Context) error {
	disk, err := i.measure(ctx)
	if err != nil {
		return err
	}
	short := disk.shortage(i.cfg.LowThresholdPercent)
	i.draining = false
	if short == 0 {
		return nil
	}
	return fmt.Errorf("collect images: %w: %d%% of the disk is used, %d bytes more should be freed", ErrNotEnough, disk.used(), short)
}

// tell logs and reports trouble that is new, and its end.
func (i *Images) tell(err error) {
	trouble, reason := "", ""
	switch {
	case err == nil:
	case errors.Is(err, ErrNotEnough):
		trouble, reason = "disk of images is full, and no more of them may go for now", eventNotEnough
	case errors.Is(err, errNoCapacity):
		trouble, reason = "disk of images has no size", eventNoCapacity
	case errors.Is(err, errHeld):
		trouble = "disk of images is full, and they are held"
	default:
		trouble = "images not collected"
	}
	if trouble == i.trouble {
		return
	}
	i.trouble = trouble
	if trouble == "" {
		i.log.Info("images are collected again")
		return
	}
	i.log.Warn(trouble, zap.Error(err))
	if reason != "" {
		i.cfg.Recorder.Event(&corev1.ObjectReference{Kind: "Node", Name: i.cfg.NodeName, UID: types.UID(i.cfg.NodeName)},
			corev1.EventTypeWarning, reason, err.Error())
	}
}
