package gc

import (
	"cmp"
	_ "crypto/sha256" // digests in names are checked with it
	_ "crypto/sha512"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sighting is what is known of the past of an image. The times have the monotonic
// clock's reading, so that a clock that is set does not age images.
type sighting struct {
	detected time.Time // when it was first seen
	lastUsed time.Time // when it was last seen in use, zero for never
}

// idleSince is when the image is known to have been used, or come, last.
func (s sighting) idleSince() time.Time {
	if s.lastUsed.IsZero() {
		return s.detected
	}
	return s.lastUsed
}

// observe returns the sightings of the images that there are: known ones have
// their past, those in use are used now, and those that are gone are forgotten.
func observe(past map[string]sighting, images []*runtimeapi.Image, inUse names, now time.Time) map[string]sighting {
	seen := make(map[string]sighting, len(images))
	for _, image := range images {
		sight, known := past[image.GetId()]
		if !known {
			sight.detected = now
		}
		if inUse.have(image) {
			sight.lastUsed = now
		}
		seen[image.GetId()] = sight
	}
	return seen
}

// planImages returns the images that may be removed, in the order in which they
// go: those that were never seen in use, then the least recently used, the
// earliest detected first among equals. Images that are in use, pinned, or younger
// than minAge are not among them.
func planImages(images []*runtimeapi.Image, seen map[string]sighting, inUse names, minAge time.Duration, now time.Time) []*runtimeapi.Image {
	var plan []*runtimeapi.Image
	for _, image := range images {
		young := now.Sub(seen[image.GetId()].detected) < minAge
		if image.GetId() != "" && !image.GetPinned() && !young && !inUse.have(image) {
			plan = append(plan, image)
		}
	}
	slices.SortFunc(plan, func(a, b *runtimeapi.Image) int {
		left, right := seen[a.GetId()], seen[b.GetId()]
		return cmp.Or(
			left.lastUsed.Compare(right.lastUsed),
			left.detected.Compare(right.detected),
			cmp.Compare(a.GetId(), b.GetId()),
		)
	})
	return plan
}

// splitIdle divides the plan into the images that have been idle for longer than
// maxAge, none when it is 0, and the others.
func splitIdle(plan []*runtimeapi.Image, seen map[string]sighting, maxAge time.Duration, now time.Time) (idle, others []*runtimeapi.Image) {
	for _, image := range plan {
		if maxAge > 0 && now.Sub(seen[image.GetId()].idleSince()) > maxAge {
			idle = append(idle, image)
		} else {
			others = append(others, image)
		}
	}
	return idle, others
}

// names are names of images, in full, and their IDs.
type names map[string]bool

func (n names) add(all ...string) {
	for _, name := range all {
		if name != "" {
			n[fullName(name)] = true
		}
	}
}

// addContainers adds the images of containers, whatever state they are in, by
// what they were created from and by what that was.
func (n names) addContainers(containers []*runtimeapi.Container) {
	for _, container := range containers {
		n.add(container.GetImageId(), container.GetImageRef(), container.GetImage().GetImage(),
			container.GetImage().GetUserSpecifiedImage())
	}
}

func (n names) have(image *runtimeapi.Image) bool {
	return slices.ContainsFunc(namesOf(image), func(name string) bool { return n[fullName(name)] })
}

// namesOf returns the image's ID, tags and digests.
func namesOf(image *runtimeapi.Image) []string {
	return slices.Concat([]string{image.GetId()}, image.GetRepoTags(), image.GetRepoDigests())
}

// fullName is the form in which names are compared: with registry and tag, or
// with digest and without tag. IDs lose their algorithm, which runtimes tell or
// do not. What is neither is left as it is.
func fullName(name string) string {
	if id := strings.TrimPrefix(name, "sha256:"); len(id) == 64 && strings.Trim(id, "0123456789abcdef") == "" {
		return id
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	if digested, ok := named.(reference.Digested); ok {
		return named.Name() + "@" + digested.Digest().String()
	}
	return reference.TagNameOnly(named).String()
}

// isSandboxImage reports whether the image is by its name one that runtimes make
// sandboxes of, all of which are called pause, or end so.
func isSandboxImage(image *runtimeapi.Image) bool {
	return slices.ContainsFunc(slices.Concat(image.GetRepoTags(), image.GetRepoDigests()), func(name string) bool {
		named, err := reference.ParseNormalizedNamed(name)
		return err == nil && strings.HasSuffix(named.Name(), "pause")
	})
}
