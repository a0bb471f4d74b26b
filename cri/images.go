package cri

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ListImages returns the images that match the filter, all when it is nil.
func (c *Client) ListImages(ctx context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	return list(ctx, c, listImages, c.images.StreamImages,
		&runtimeapi.StreamImagesRequest{Filter: filter},
		(*runtimeapi.StreamImagesResponse).GetImages,
		func() ([]*runtimeapi.Image, error) {
			response, err := call(ctx, c.timeout, "list images", c.images.ListImages, &runtimeapi.ListImagesRequest{Filter: filter})
			return response.GetImages(), err
		})
}

// ImageStatus returns the status of the image. An image that is not there has
// a response without Image, and no error. An image without ID or size is an error.
func (c *Client) ImageStatus(ctx context.Context, image *runtimeapi.ImageSpec, verbose bool) (*runtimeapi.ImageStatusResponse, error) {
	what := fmt.Sprintf("get status of image %q", image.GetImage())
	response, err := call(ctx, c.timeout, what, c.images.ImageStatus, &runtimeapi.ImageStatusRequest{Image: image, Verbose: verbose})
	if err != nil {
		return nil, err
	}
	if found := response.GetImage(); found != nil && (found.GetId() == "" || found.GetSize() == 0) {
		return nil, fmt.Errorf("%s: runtime returned an image without ID or size", what)
	}
	return response, nil
}

// PullImage pulls the image and returns its ID. It has no deadline: only the
// context ends it. An error without a gRPC code is the runtime's bare message.
func (c *Client) PullImage(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, podSandboxConfig *runtimeapi.PodSandboxConfig) (string, error) {
	what := fmt.Sprintf("pull image %q", image.GetImage())
	response, err := call(ctx, 0, what, c.images.PullImage,
		&runtimeapi.PullImageRequest{Image: image, Auth: auth, SandboxConfig: podSandboxConfig})
	if status.Code(err) == codes.Unknown {
		return "", errors.New(Message(err))
	}
	if err != nil {
		return "", err
	}
	return notEmpty(response.GetImageRef(), what, "image reference")
}

// RemoveImage removes the image and all its tags. It is idempotent.
func (c *Client) RemoveImage(ctx context.Context, image *runtimeapi.ImageSpec) error {
	_, err := call(ctx, c.timeout, fmt.Sprintf("remove image %q", image.GetImage()), c.images.RemoveImage,
		&runtimeapi.RemoveImageRequest{Image: image})
	return err
}

// ImageFsInfo returns the usage of the file systems of images and containers.
func (c *Client) ImageFsInfo(ctx context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	return call(ctx, c.timeout, "get image file systems", c.images.ImageFsInfo, &runtimeapi.ImageFsInfoRequest{})
}
