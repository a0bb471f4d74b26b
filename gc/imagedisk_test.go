package gc_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/gc"
)

// imageDisk is a runtime with images on a disk of 1,000 bytes.
type imageDisk struct {
	mu         sync.Mutex // guards all below
	images     []*runtimeapi.Image
	own        map[string]uint64 // what the image has for itself, by ID: less than its size where it shares layers
	containers []*runtimeapi.Container
	other      uint64 // used by something else
	capacity   uint64
	errs       map[string]error
	calls      []string
	onRemove   func(id string)
}

func newImageDisk() *imageDisk {
	return &imageDisk{own: map[string]uint64{}, errs: map[string]error{}, capacity: 1000}
}

// add puts an image with the tag <id>:1 on the disk, of which own bytes are its own.
func (d *imageDisk) add(id string, size, own uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.images = append(d.images, &runtimeapi.Image{Id: id, RepoTags: []string{"docker.io/library/" + id + ":1"}, Size: size})
	d.own[id] = own
}

func (d *imageDisk) use(id, image string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.containers = append(d.containers, &runtimeapi.Container{Id: id, State: exited, ImageRef: image})
}

func (d *imageDisk) unuse(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.containers = slices.DeleteFunc(d.containers, func(c *runtimeapi.Container) bool { return c.Id == id })
}

func (d *imageDisk) fill(other uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.other = other
}

func (d *imageDisk) fail(call string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.errs[call] = err
}

// left returns the IDs of the images, in the order in which they came.
func (d *imageDisk) left() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ids []string
	for _, image := range d.images {
		ids = append(ids, image.Id)
	}
	return strings.Join(ids, " ")
}

// since returns the calls since the last one.
func (d *imageDisk) since() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	calls := strings.Join(d.calls, "; ")
	d.calls = nil
	return calls
}

func (d *imageDisk) call(what string) error {
	d.calls = append(d.calls, what)
	return d.errs[what]
}

func (d *imageDisk) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: []*runtimeapi.FilesystemUsage{
		{FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: "/images"}},
	}}, d.call("ImageFsInfo")
}

func (d *imageDisk) disk(string) (gc.Disk, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	used := d.other
	for _, image := range d.images {
		used += d.own[image.Id]
	}
	return gc.Disk{Capacity: d.capacity, Available: d.capacity - min(used, d.capacity)}, nil
}

func (d *imageDisk) ListImages(context.Context, *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.images), d.call("ListImages")
}

func (d *imageDisk) ImageStatus(_ context.Context, image *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	status := &runtimeapi.ImageStatusResponse{}
	for _, there := range d.images {
		if there.Id == image.GetImage() {
			status.Image = there
		}
	}
	return status, d.call("ImageStatus")
}

func (d *imageDisk) ListContainers(context.Context, *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.containers), d.call("ListContainers")
}

func (d *imageDisk) RemoveImage(_ context.Context, image *runtimeapi.ImageSpec) error {
	if d.onRemove != nil {
		d.onRemove(image.GetImage())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.call("RemoveImage " + image.GetImage()); err != nil {
		return err
	}
	d.images = slices.DeleteFunc(d.images, func(i *runtimeapi.Image) bool { return i.Id == image.GetImage() })
	return nil
}

// events are the reasons that were reported.
type events struct {
	mu      sync.Mutex // guards reasons
	reasons []string
}

func (e *events) Event(about *corev1.ObjectReference, eventType, reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reasons = append(e.reasons, fmt.Sprintf("%s %s %s %s: %s", about.Kind, about.Name, eventType, reason, message))
}

func (e *events) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.reasons)
}

// collector returns one for the disk, which takes images of any age.
func (d *imageDisk) collector(cfg gc.ImagesConfig) *gc.Images {
	cfg.DiskOf = d.disk
	if cfg.MinAge == 0 {
		cfg.MinAge = -1
	}
	return gc.NewImages(d, cfg)
}

// background runs the collector until the returned function is called.
func background(t *testing.T, images *gc.Images) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- images.Run(ctx) }()
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}

func settleFor(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
