package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
	"github.com/edged-project/edged/gc"
	"github.com/edged-project/edged/podmanager/imagepull"
)

// start is what an agent does to start a container, as far as its image goes.
type start struct {
	client  *cri.Client
	puller  *imagepull.Puller
	sandbox *runtimeapi.PodSandboxConfig
	id      string // of the sandbox
}

func newStart(t *testing.T, client *cri.Client) *start {
	t.Helper()
	sandbox := &runtimeapi.PodSandboxConfig{Metadata: &runtimeapi.PodSandboxMetadata{Name: "pod", Namespace: "default", Uid: "uid"}}
	id, err := client.RunPodSandbox(t.Context(), sandbox, "")
	require.NoError(t, err)
	return &start{client: client, puller: imagepull.New(client, imagepull.Config{}), sandbox: sandbox, id: id}
}

// container ensures that the image is there and makes a container of it. notThere is
// the error of an image that was neither there nor to be had.
func (s *start) container(ctx context.Context, attempt int, image string, policy corev1.PullPolicy) (id, imageID string, notThere, err error) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pod", UID: types.UID(fmt.Sprint("uid-", attempt))}}
	found, release, notThere := s.puller.Ensure(ctx, pod, &corev1.Container{Name: "app", Image: image, ImagePullPolicy: policy}, s.sandbox)
	if notThere != nil {
		return "", "", notThere, nil
	}
	defer release()
	id, err = s.client.CreateContainer(ctx, s.id, &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: "app", Attempt: uint32(attempt)},
		Image:    &runtimeapi.ImageSpec{Image: found.GetId()},
	}, s.sandbox)
	return id, found.GetId(), nil, err
}

// requireImage requires that the container's image is there.
func (s *start) requireImage(t *testing.T, imageID string, race int) {
	t.Helper()
	status, err := s.client.ImageStatus(t.Context(), &runtimeapi.ImageSpec{Image: imageID}, false)
	require.NoError(t, err)
	require.NotNil(t, status.GetImage(), "race %d: the container has lost its image", race)
}

// A container starts while image GC removes all that is unused, and each call
// takes as long as it likes.
func TestAContainerThatStartsWhileImagesAreCollectedKeepsItsImage(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { raceInVirtualTime(t, rand.New(rand.NewPCG(seed, 1)), 300) })
		})
	}
}

func raceInVirtualTime(t *testing.T, random *rand.Rand, races int) {
	// Two names for one image, as a collector that knows one name only must not
	// remove what is started by the other.
	runtime := critest.Start(t, critest.Config{Registry: []critest.RemoteImage{
		{Image: critest.Image{Name: "app:1", ID: "sha256:app"}, PullTime: 5 * time.Millisecond},
		{Image: critest.Image{Name: "app:2", ID: "sha256:app"}, PullTime: 5 * time.Millisecond},
	}})
	s := newStart(t, runtime.Client(t))
	images := gc.NewImages(s.client, gc.ImagesConfig{MinAge: -1, Unleased: s.puller.RemoveUnleased})
	removed := 0
	for race := range races {
		var faults []func()
		for _, method := range []string{"ImageStatus", "PullImage", "CreateContainer", "StreamImages", "StreamContainers", "RemoveImage"} {
			for _, after := range []bool{false, true} {
				faults = append(faults, runtime.Inject(critest.Fault{Method: method, After: after, Delay: delay(random)}))
			}
		}
		runtime.ResetCalls()
		collected := make(chan error, 1)
		wait := upTo(random, 100*time.Millisecond)
		go func() {
			time.Sleep(wait)
			collected <- images.CollectUnused(t.Context())
		}()
		time.Sleep(upTo(random, 100*time.Millisecond))
		policy := []corev1.PullPolicy{corev1.PullIfNotPresent, corev1.PullAlways}[random.IntN(2)]
		id, imageID, notThere, err := s.container(t.Context(), race, fmt.Sprintf("app:%d", 1+random.IntN(2)), policy)
		require.NoError(t, <-collected)
		for _, remove := range faults {
			remove()
		}
		require.NoError(t, err, "race %d", race)
		if notThere != nil {
			require.ErrorContains(t, notThere, "does not find it", "pulled by one name, removed by the other: tried again later")
		} else {
			s.requireImage(t, imageID, race)
			require.NoError(t, s.client.RemoveContainer(t.Context(), id))
		}
		removed += runtime.Count("RemoveImage")
	}
	require.Greater(t, removed, races/10, "the collector wins at times")
	require.Less(t, removed, races*9/10, "and loses at times")
}

// delay is none for most calls, so that one that is slow lets others pass.
func delay(random *rand.Rand) time.Duration {
	if random.IntN(3) > 0 {
		return 0
	}
	return upTo(random, 100*time.Millisecond)
}

func upTo(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most)))
}
