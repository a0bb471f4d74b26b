package critest

import (
	"cmp"
	"context"
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// streamPart is how many items one message of a streaming list holds.
const streamPart = 100

// selector is a filter of a list call; what is empty selects all.
type selector struct {
	id, sandboxID string
	labels        map[string]string
}

// selectedSandboxes returns the sandboxes that match, in an order that stays the
// same but means nothing, as with a real runtime.
func (r *Runtime) selectedSandboxes(filter selector) []*sandbox {
	if sb, err := find(r.sandboxes, filter.id); err == nil {
		filter.id = sb.id
	}
	var selected []*sandbox
	for _, sb := range r.sandboxes {
		if (filter.id == "" || filter.id == sb.id) && hasLabels(sb.config.GetLabels(), filter.labels) {
			selected = append(selected, sb)
		}
	}
	slices.SortFunc(selected, func(a, b *sandbox) int { return cmp.Compare(a.id, b.id) })
	return selected
}

// selectedContainers is the same for containers.
func (r *Runtime) selectedContainers(filter selector) []*container {
	if c, err := find(r.containers, filter.id); err == nil {
		filter.id = c.id
	}
	if sb, err := find(r.sandboxes, filter.sandboxID); err == nil {
		filter.sandboxID = sb.id
	}
	var selected []*container
	for _, c := range r.containers {
		if (filter.id == "" || filter.id == c.id) &&
			(filter.sandboxID == "" || filter.sandboxID == c.sandbox.id) &&
			hasLabels(c.config.GetLabels(), filter.labels) {
			selected = append(selected, c)
		}
	}
	slices.SortFunc(selected, func(a, b *container) int { return cmp.Compare(a.id, b.id) })
	return selected
}

func hasLabels(labels, wanted map[string]string) bool {
	for key, value := range wanted {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	return true
}

func (r *Runtime) listSandboxes(filter *runtimeapi.PodSandboxFilter) []*runtimeapi.PodSandbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	var items []*runtimeapi.PodSandbox
	for _, sb := range r.selectedSandboxes(selector{id: filter.GetId(), labels: filter.GetLabelSelector()}) {
		if filter.GetState() == nil || filter.GetState().GetState() == sb.state() {
			items = append(items, sb.item())
		}
	}
	return items
}

func (r *Runtime) listContainers(filter *runtimeapi.ContainerFilter) []*runtimeapi.Container {
	r.mu.Lock()
	defer r.mu.Unlock()
	var items []*runtimeapi.Container
	for _, c := range r.selectedContainers(selector{id: filter.GetId(), sandboxID: filter.GetPodSandboxId(), labels: filter.GetLabelSelector()}) {
		if filter.GetState() == nil || filter.GetState().GetState() == c.state() {
			items = append(items, r.containerItem(c))
		}
	}
	return items
}

// listImages lists all: containerd ignores the filter.
func (r *Runtime) listImages() []*runtimeapi.Image {
	r.mu.Lock()
	defer r.mu.Unlock()
	var items []*runtimeapi.Image
	for _, image := range r.images.byID {
		items = append(items, image.message())
	}
	slices.SortFunc(items, func(a, b *runtimeapi.Image) int { return cmp.Compare(a.GetId(), b.GetId()) })
	return items
}

func (s *service) ListPodSandbox(_ context.Context, req *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	return &runtimeapi.ListPodSandboxResponse{Items: s.r.listSandboxes(req.GetFilter())}, nil
}

func (s *service) ListContainers(_ context.Context, req *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	return &runtimeapi.ListContainersResponse{Containers: s.r.listContainers(req.GetFilter())}, nil
}

func (s *service) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return &runtimeapi.ListImagesResponse{Images: s.r.listImages()}, nil
}

func (s *service) StreamPodSandboxes(req *runtimeapi.StreamPodSandboxesRequest, stream runtimeapi.RuntimeService_StreamPodSandboxesServer) error {
	return inParts(s.r.listSandboxes(req.GetFilter()), func(part []*runtimeapi.PodSandbox) error {
		return stream.Send(&runtimeapi.StreamPodSandboxesResponse{PodSandboxes: part})
	})
}

func (s *service) StreamContainers(req *runtimeapi.StreamContainersRequest, stream runtimeapi.RuntimeService_StreamContainersServer) error {
	return inParts(s.r.listContainers(req.GetFilter()), func(part []*runtimeapi.Container) error {
		return stream.Send(&runtimeapi.StreamContainersResponse{Containers: part})
	})
}

func (s *service) StreamImages(_ *runtimeapi.StreamImagesRequest, stream runtimeapi.ImageService_StreamImagesServer) error {
	return inParts(s.r.listImages(), func(part []*runtimeapi.Image) error {
		return stream.Send(&runtimeapi.StreamImagesResponse{Images: part})
	})
}

// inParts sends a list in messages that each hold a part of it.
func inParts[Item any](items []Item, send func([]Item) error) error {
	for part := range slices.Chunk(items, streamPart) {
		if err := send(part); err != nil {
			return err
		}
	}
	return nil
}
