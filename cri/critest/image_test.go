package critest_test

import (
	"context"
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

func (w *world) pull(name string, auth *runtimeapi.AuthConfig) (string, error) {
	return w.client.PullImage(context.Background(), &runtimeapi.ImageSpec{Image: name}, auth, nil)
}

// image is the image of a name, nil if there is none.
func (w *world) image(name string) *runtimeapi.Image {
	w.t.Helper()
	response, err := w.client.ImageStatus(context.Background(), &runtimeapi.ImageSpec{Image: name}, false)
	require.NoError(w.t, err)
	return response.Image
}

func TestAnyImageCanBePulled(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		require.Nil(t, w.image("nginx"))
		ref, err := w.pull("nginx", nil)
		require.NoError(t, err)
		for _, name := range []string{"nginx", "nginx:latest", "docker.io/library/nginx:latest", ref, ref[:20], ref[len("sha256:"):], w.image(ref).RepoDigests[0]} {
			image := w.image(name)
			require.NotNil(t, image, name)
			require.Equal(t, ref, image.Id)
		}
		image := w.image(ref)
		require.Equal(t, []string{"docker.io/library/nginx:latest"}, image.RepoTags)
		require.Regexp(t, "^docker.io/library/nginx@sha256:[0-9a-f]{64}$", image.RepoDigests[0])
		require.Positive(t, image.Size)
	})
}

func TestImageThatWasLoadedHasNoDigest(t *testing.T) {
	cfg := critest.Config{Images: []critest.Image{{Name: "app:v1", Size: 42, User: "1000:1000", Pinned: true}, {Name: "other", User: "nobody"}}}
	inBubble(t, cfg, func(t *testing.T, w *world) {
		image := w.image("app:v1")
		require.Empty(t, image.RepoDigests)
		require.Equal(t, uint64(42), image.Size)
		require.Equal(t, int64(1000), image.Uid.Value)
		require.True(t, image.Pinned)
		require.Nil(t, w.image("other").Uid)
		require.Equal(t, "nobody", w.image("other").Username)
	})
}

func TestImageByDigestHasNoTag(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		name := "registry.test/app:v1@sha256:0123456789012345678901234567890123456789012345678901234567890123"
		_, err := w.pull(name, nil)
		require.NoError(t, err)
		require.Empty(t, w.image(name).RepoTags)
		require.Len(t, w.image(name).RepoDigests, 1)
		require.Nil(t, w.image("registry.test/app:v1"))
	})
}

func TestRegistryOnlyHasWhatWasPublished(t *testing.T) {
	cfg := critest.Config{RegistryOnly: true, Registry: []critest.RemoteImage{{Image: critest.Image{Name: "app", Size: 7}}}}
	inBubble(t, cfg, func(t *testing.T, w *world) {
		_, err := w.pull("nginx", nil)
		require.True(t, cri.IsNotFound(err), err)
		require.ErrorContains(t, err, `failed to resolve reference "docker.io/library/nginx:latest"`)
		w.Publish(critest.RemoteImage{Image: critest.Image{Name: "nginx"}})
		_, err = w.pull("nginx", nil)
		require.NoError(t, err)
		_, err = w.pull("app:latest", nil)
		require.NoError(t, err)
		require.Equal(t, uint64(7), w.image("app").Size)
	})
}

func TestPullTakesItsTimeUnlessTheCallerGivesUp(t *testing.T) {
	cfg := critest.Config{Registry: []critest.RemoteImage{{Image: critest.Image{Name: "big"}, PullTime: time.Hour}}}
	inBubble(t, cfg, func(t *testing.T, w *world) {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := w.client.PullImage(ctx, &runtimeapi.ImageSpec{Image: "big"}, nil, nil)
		require.Equal(t, codes.DeadlineExceeded, status.Code(err))
		require.Nil(t, w.image("big"))
		_, err = w.pull("big", nil)
		require.NoError(t, err)
		require.Equal(t, time.Hour+time.Minute, time.Since(begin))
	})
}

func TestPullAsksForCredentials(t *testing.T) {
	cfg := critest.Config{Registry: []critest.RemoteImage{{Image: critest.Image{Name: "private"}, Username: "me", Password: "secret"}}}
	for name, test := range map[string]struct {
		auth *runtimeapi.AuthConfig
		fail string
	}{
		"none":     {nil, "no basic auth credentials"},
		"wrong":    {&runtimeapi.AuthConfig{Username: "me", Password: "guess"}, "401 Unauthorized"},
		"no auth":  {&runtimeapi.AuthConfig{Auth: "not base64!"}, "no basic auth credentials"},
		"right":    {&runtimeapi.AuthConfig{Username: "me", Password: "secret"}, ""},
		"in auth":  {&runtimeapi.AuthConfig{Auth: base64.StdEncoding.EncodeToString([]byte("me:secret"))}, ""},
		"is token": {&runtimeapi.AuthConfig{IdentityToken: "secret"}, "401 Unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, cfg, func(t *testing.T, w *world) {
				_, err := w.pull("private", test.auth)
				if test.fail == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, test.fail)
					require.Nil(t, w.image("private"))
				}
			})
		})
	}
}

func TestTagThatMovesIsTakenFromTheOldImage(t *testing.T) {
	inBubble(t, critest.Config{}, func(t *testing.T, w *world) {
		old, err := w.pull("app", nil)
		require.NoError(t, err)
		w.Publish(critest.RemoteImage{Image: critest.Image{Name: "app", ID: "sha256:newer"}})
		require.Equal(t, old, w.image("app").Id, "the node does not know yet")
		ref, err := w.pull("app", nil)
		require.NoError(t, err)
		require.Equal(t, "sha256:newer", ref)
		require.Equal(t, "sha256:newer", w.image("app").Id)
		require.Empty(t, w.image(old).RepoTags)
	})
}

func TestAddImageNeedsNoRegistry(t *testing.T) {
	inBubble(t, critest.Config{RegistryOnly: true}, func(t *testing.T, w *world) {
		w.AddImage(critest.Image{Name: "app:v1"})
		w.AddImage(critest.Image{Name: "app:v1", ID: "sha256:newer"})
		require.Equal(t, "sha256:newer", w.image("app:v1").Id)
	})
}

func TestRemoveImageRemovesAllOfItsNames(t *testing.T) {
	cfg := critest.Config{Images: []critest.Image{{Name: "app:v1", ID: "sha256:one"}, {Name: "app:v2", ID: "sha256:one"}, {Name: "other"}}}
	inBubble(t, cfg, func(t *testing.T, w *world) {
		require.Len(t, w.image("app:v1").RepoTags, 2)
		require.NoError(t, w.client.RemoveImage(context.Background(), &runtimeapi.ImageSpec{Image: "app:v1"}))
		require.NoError(t, w.client.RemoveImage(context.Background(), &runtimeapi.ImageSpec{Image: "app:v1"}), "again")
		require.Nil(t, w.image("app:v2"))
		listed, err := w.client.ListImages(context.Background(), nil)
		require.NoError(t, err)
		require.Len(t, listed, 1)
	})
}

func TestImageFsInfoCountsTheImages(t *testing.T) {
	cfg := critest.Config{Images: []critest.Image{{Name: "one", Size: 100}, {Name: "two", Size: 20}}}
	inBubble(t, cfg, func(t *testing.T, w *world) {
		w.SetImageFs("/data", 3)
		info, err := w.client.ImageFsInfo(context.Background())
		require.NoError(t, err)
		require.Equal(t, uint64(123), info.ImageFilesystems[0].UsedBytes.Value)
		require.Equal(t, "/data", info.ImageFilesystems[0].FsId.Mountpoint)
	})
}

func TestListImagesInManyParts(t *testing.T) {
	var cfg critest.Config
	for i := range 250 {
		cfg.Images = append(cfg.Images, critest.Image{Name: "app:v" + string(rune('a'+i%26)) + string(rune('a'+i/26))})
	}
	for _, profile := range []critest.Profile{critest.Newest, critest.Containerd21} {
		cfg.Profile = profile
		inBubble(t, cfg, func(t *testing.T, w *world) {
			listed, err := w.client.ListImages(context.Background(), nil)
			require.NoError(t, err)
			require.Len(t, listed, 250)
			require.Equal(t, profile == critest.Containerd21, w.Count("ListImages") == 1)
		})
	}
}
