package conformance

import (
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

func imageExpectations() []expectation {
	return []expectation{
		{"present images are listed with names and sizes", imageListed},
		{"an image is found by name and by ID", imageFound},
		{"a missing image has no status and no error", imageMissing},
		{"an empty image name is an error", imageUnnamed},
		{"an image that cannot be pulled is an error that names it", imagePullFails},
		{"a malformed image name cannot be pulled", imagePullMalformed},
		{"image file systems are told", imageFileSystems},
		{"an image in use is removed, and its container goes on", imageRemoved},
	}
}

func imageListed(s *subject) {
	images, err := s.images.ListImages(s.ctx, nil)
	require.NoError(s.t, err)
	var tags []string
	for _, image := range images {
		assert.Regexp(s.t, "^sha256:[0-9a-f]{64}$", image.GetId())
		assert.Positive(s.t, image.GetSize())
		tags = append(tags, image.GetRepoTags()...)
	}
	assert.Contains(s.t, tags, s.target.Image)
	assert.NotContains(s.t, tags, s.target.MissingImage)
}

// image is nil for one that is not there.
func (s *subject) image(name string) *runtimeapi.Image {
	s.t.Helper()
	answer, err := s.images.ImageStatus(s.ctx, &runtimeapi.ImageSpec{Image: name}, false)
	require.NoError(s.t, err)
	return answer.GetImage()
}

func imageFound(s *subject) {
	image := s.image(s.target.Image)
	require.NotNil(s.t, image)
	assert.Contains(s.t, image.GetRepoTags(), s.target.Image)
	assert.Positive(s.t, image.GetSize())
	for _, name := range []string{image.GetId(), strings.TrimPrefix(image.GetId(), "sha256:")} {
		assert.Equal(s.t, image.String(), s.image(name).String())
	}
}

func imageMissing(s *subject) {
	unknown := "sha256:" + strings.Repeat("ed", 32)
	for _, name := range []string{s.target.MissingImage, unknown, "Not An Image", "http://example.org/image"} {
		assert.Nil(s.t, s.image(name), name)
	}
}

func imageUnnamed(s *subject) {
	_, err := s.images.ImageStatus(s.ctx, &runtimeapi.ImageSpec{}, false)
	require.Error(s.t, err)
	require.Error(s.t, s.images.RemoveImage(s.ctx, &runtimeapi.ImageSpec{}))
}

func imagePullFails(s *subject) {
	_, err := s.images.PullImage(s.ctx, &runtimeapi.ImageSpec{Image: s.target.MissingImage}, nil, s.podConfig("pull"))
	require.ErrorContains(s.t, err, s.target.MissingImage)
	assert.Nil(s.t, s.image(s.target.MissingImage))
}

func imagePullMalformed(s *subject) {
	for _, name := range []string{"", "Not An Image", "http://example.org/image"} {
		_, err := s.images.PullImage(s.ctx, &runtimeapi.ImageSpec{Image: name}, nil, nil)
		require.ErrorContains(s.t, err, "invalid reference format", name)
	}
}

func imageFileSystems(s *subject) {
	answer, err := s.images.ImageFsInfo(s.ctx)
	require.NoError(s.t, err)
	require.NotEmpty(s.t, answer.GetImageFilesystems())
	for _, fs := range answer.GetImageFilesystems() {
		assert.NotEmpty(s.t, fs.GetFsId().GetMountpoint())
		assert.NotNil(s.t, fs.GetUsedBytes())
		assert.NotNil(s.t, fs.GetInodesUsed())
		assert.Positive(s.t, fs.GetTimestamp())
	}
}

// Whoever collects images has to know which are in use: the runtime does not keep them.
func imageRemoved(s *subject) {
	name := s.target.DisposableImage
	p := s.runPod("user")
	config := s.containerConfig("app", Program{Lasts: Forever})
	config.Image = &runtimeapi.ImageSpec{Image: name}
	app := s.createFrom(p, config)
	require.NoError(s.t, s.rt.StartContainer(s.ctx, app))
	before := s.status(app)
	require.Equal(s.t, name, before.GetImage().GetImage())

	for range 2 {
		require.NoError(s.t, s.images.RemoveImage(s.ctx, &runtimeapi.ImageSpec{Image: name}))
		assert.Nil(s.t, s.image(name))
		status := s.status(app)
		assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_RUNNING, status.GetState())
		assert.Equal(s.t, name, status.GetImage().GetImage())
		assert.Equal(s.t, before.GetImageRef(), status.GetImageRef())
	}
	next := s.containerConfig("next", Program{})
	next.Image = config.Image
	_, err := s.rt.CreateContainer(s.ctx, p.id, next, p.config)
	assert.True(s.t, cri.IsNotFound(err), "%v", err)
	assert.NotNil(s.t, s.image(s.target.Image), "the other image stays")
}
