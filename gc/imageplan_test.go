package gc

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"pgregory.net/rapid"

	"github.com/edged-project/edged/cri"
)

func imageOf(id string, tags ...string) *runtimeapi.Image {
	return &runtimeapi.Image{Id: id, RepoTags: tags, Size: 1}
}

func imageIDs(images []*runtimeapi.Image) []string {
	ids := []string{}
	for _, image := range images {
		ids = append(ids, image.GetId())
	}
	return ids
}

func ago(minutes int) time.Time { return now.Add(-time.Duration(minutes) * time.Minute) }

func TestImagePlan(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	tests := map[string]struct {
		images []*runtimeapi.Image
		seen   map[string]sighting // those that are not in it were detected 10 minutes ago
		inUse  []string
		minAge time.Duration
		want   []string
	}{
		"nothing there": {},
		"never used first, then the least recently used": {
			images: []*runtimeapi.Image{imageOf("late"), imageOf("early"), imageOf("never")},
			seen: map[string]sighting{
				"late": {detected: ago(60), lastUsed: ago(5)}, "early": {detected: ago(30), lastUsed: ago(20)}, "never": {detected: ago(10)},
			},
			want: []string{"never", "early", "late"},
		},
		"the earliest detected first among equals": {
			images: []*runtimeapi.Image{imageOf("b"), imageOf("c"), imageOf("a")},
			seen:   map[string]sighting{"a": {detected: ago(20)}, "b": {detected: ago(20)}, "c": {detected: ago(30)}},
			want:   []string{"c", "a", "b"},
		},
		"a pinned one stays": {
			images: []*runtimeapi.Image{{Id: "pinned", Pinned: true}, imageOf("other")},
			want:   []string{"other"},
		},
		"one that is used by its ID stays": {
			images: []*runtimeapi.Image{imageOf("sha256:" + hex), imageOf("other")},
			inUse:  []string{hex},
			want:   []string{"other"},
		},
		"one that is used by a name in short stays": {
			images: []*runtimeapi.Image{imageOf("a", "docker.io/library/nginx:latest"), imageOf("b", "docker.io/library/nginx:1"), imageOf("c", "nginx:2")},
			inUse:  []string{"nginx", "docker.io/library/nginx:2"},
			want:   []string{"b"},
		},
		"one that is used by tag and digest stays": {
			images: []*runtimeapi.Image{{Id: "a", RepoDigests: []string{"quay.io/app@sha256:" + hex}}, imageOf("b", "quay.io/app:1")},
			inUse:  []string{"quay.io/app:2@sha256:" + hex},
			want:   []string{"b"},
		},
		"one that is young stays": {
			images: []*runtimeapi.Image{imageOf("young"), imageOf("old"), imageOf("just right")},
			seen: map[string]sighting{
				"young": {detected: ago(1)}, "old": {detected: ago(3)}, "just right": {detected: ago(2)},
			},
			minAge: 2 * time.Minute,
			want:   []string{"old", "just right"},
		},
		"one without an ID stays": {
			images: []*runtimeapi.Image{imageOf("", "nginx")},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			seen := map[string]sighting{}
			for _, image := range test.images {
				seen[image.GetId()] = sighting{detected: ago(10)}
			}
			maps.Copy(seen, test.seen)
			inUse := names{}
			inUse.add(test.inUse...)
			plan := planImages(test.images, seen, inUse, test.minAge, now)
			assert.Equal(t, append([]string{}, test.want...), imageIDs(plan))
		})
	}
}

func TestSightingsOfImages(t *testing.T) {
	inUse := names{}
	inUse.addContainers([]*runtimeapi.Container{{ImageRef: "used"}, {ImageId: "used too"}, {Image: &runtimeapi.ImageSpec{Image: "nginx"}}})
	seen := observe(map[string]sighting{
		"used": {detected: ago(20)}, "idle": {detected: ago(20), lastUsed: ago(10)}, "gone": {detected: ago(20)},
	}, []*runtimeapi.Image{imageOf("used"), imageOf("idle"), imageOf("new"), imageOf("used too"), imageOf("named", "nginx:latest")}, inUse, now)
	assert.Equal(t, map[string]sighting{
		"used":     {detected: ago(20), lastUsed: now},
		"idle":     {detected: ago(20), lastUsed: ago(10)},
		"new":      {detected: now},
		"used too": {detected: now, lastUsed: now},
		"named":    {detected: now, lastUsed: now},
	}, seen)
}

func TestIdleImages(t *testing.T) {
	plan := []*runtimeapi.Image{imageOf("never"), imageOf("new"), imageOf("early"), imageOf("late")}
	seen := map[string]sighting{
		"never": {detected: ago(61)}, "new": {detected: ago(60)},
		"early": {detected: ago(99), lastUsed: ago(61)}, "late": {detected: ago(99), lastUsed: ago(1)},
	}
	idle, others := splitIdle(plan, seen, time.Hour, now)
	assert.Equal(t, []string{"never", "early"}, imageIDs(idle))
	assert.Equal(t, []string{"new", "late"}, imageIDs(others))
	idle, others = splitIdle(plan, seen, 0, now)
	assert.Empty(t, idle)
	assert.Equal(t, plan, others)
}

func TestSandboxImagesAreKnownByTheirName(t *testing.T) {
	for name, want := range map[string]bool{
		"registry.k8s.io/pause:3.10": true, "rancher/mirrored-pause:3.6": true, "kubeedge/pause": true,
		"pause@sha256:" + strings.Repeat("0", 64): true, "pauser:1": false, "pause/app:1": false, "": false,
	} {
		assert.Equal(t, want, isSandboxImage(imageOf("id", name)), name)
	}
	assert.False(t, isSandboxImage(imageOf("pause")))
}

// What holds of any plan: nothing in it is in use, pinned or young, nothing that may
// go is missing, and the order is that of use.
func TestAnyImagePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		minutes := rapid.IntRange(0, 30)
		minAge := time.Duration(minutes.Draw(t, "minAge")) * time.Minute
		seen, inUse := map[string]sighting{}, names{}
		var images []*runtimeapi.Image
		for n := range rapid.IntRange(0, 20).Draw(t, "images") {
			image := imageOf(fmt.Sprintf("id-%d", n), fmt.Sprintf("app-%d", n), fmt.Sprintf("example.com/app-%d:1", n))
			image.Pinned = rapid.Bool().Draw(t, "pinned")
			sight := sighting{detected: ago(minutes.Draw(t, "detected"))}
			if rapid.Bool().Draw(t, "was used") {
				sight.lastUsed = ago(minutes.Draw(t, "used"))
			}
			seen[image.GetId()] = sight
			if used := rapid.IntRange(0, 5).Draw(t, "used by"); used < 3 {
				inUse.add(namesOf(image)[used])
			}
			images = append(images, image)
		}
		plan := planImages(images, seen, inUse, minAge, now)
		for _, image := range images {
			sight := seen[image.GetId()]
			stays := image.GetPinned() || inUse.have(image) || now.Sub(sight.detected) < minAge
			require.Equal(t, !stays, slices.Contains(plan, image), "%v", image)
		}
		require.True(t, slices.IsSortedFunc(plan, func(a, b *runtimeapi.Image) int {
			return seen[a.GetId()].lastUsed.Compare(seen[b.GetId()].lastUsed)
		}))
	})
}

// What holds of any plan of sandboxes, and the same with every second pod gone.
func TestAnySandboxPlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sandboxes []*runtimeapi.PodSandbox
		var containers []*runtimeapi.Container
		newest, occupied := map[string]*runtimeapi.PodSandbox{}, map[string]bool{}
		for n := range rapid.IntRange(0, 20).Draw(t, "sandboxes") {
			pod := rapid.SampledFrom([]string{"live", "gone", "other", ""}).Draw(t, "pod")
			sandbox := &runtimeapi.PodSandbox{
				Id: fmt.Sprint(n), State: runtimeapi.PodSandboxState(rapid.IntRange(0, 1).Draw(t, "state")),
				CreatedAt: int64(rapid.IntRange(0, 9).Draw(t, "created")),
				Metadata:  &runtimeapi.PodSandboxMetadata{Attempt: uint32(rapid.IntRange(0, 9).Draw(t, "attempt"))},
				Labels:    instance(pod, "", "", 0, exited).Labels,
			}
			sandboxes = append(sandboxes, sandbox)
			if newest[pod] == nil || cri.NewestFirst(sandbox, newest[pod]) < 0 {
				newest[pod] = sandbox
			}
			if rapid.Bool().Draw(t, "occupied") {
				occupied[sandbox.Id] = true
				containers = append(containers, &runtimeapi.Container{PodSandboxId: sandbox.Id, State: exited})
			}
		}
		plan := planSandboxes(sandboxes, containers, goneIs("gone"))
		for _, sandbox := range sandboxes {
			pod := string(podUID(sandbox.Labels))
			stays := pod == "" || sandbox.State == ready || occupied[sandbox.Id] || pod != "gone" && newest[pod] == sandbox
			require.Equal(t, !stays, slices.Contains(plan, sandbox), "%v", sandbox)
		}
	})
}

func FuzzFullName(f *testing.F) {
	for _, name := range []string{"", "nginx", "nginx:1", "a/b@sha256:" + strings.Repeat("0", 64), "sha256:" + strings.Repeat("f", 64), "http://x", "A B"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		full := fullName(name)
		require.Equal(t, full, fullName(full), "a full name stays as it is")
		inUse := names{}
		inUse.add(name)
		if name != "" {
			require.True(t, inUse.have(imageOf("", name)))
		}
		isSandboxImage(imageOf("", name))
	})
}

func TestDiskInPercent(t *testing.T) {
	tests := map[string]struct {
		disk     Disk
		used     int
		shortage uint64 // for no more than 80 % to be used
	}{
		"empty":                   {Disk{1000, 1000}, 0, 0},
		"at the mark":             {Disk{1000, 200}, 80, 0},
		"just above":              {Disk{1000, 199}, 81, 1}, // what is begun counts
		"full":                    {Disk{1000, 0}, 100, 200},
		"of more than fits times": {Disk{math.MaxUint64, math.MaxUint64 / 2}, 51, 0},
		"very large and full":     {Disk{math.MaxUint64, 0}, 100, math.MaxUint64 / 5},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.used, test.disk.used())
			assert.Equal(t, test.shortage, test.disk.shortage(80))
		})
	}
}

func FuzzDisk(f *testing.F) {
	f.Add(uint64(1000), uint64(199), 80)
	f.Add(uint64(1), uint64(math.MaxUint64), 0)
	f.Fuzz(func(t *testing.T, capacity, available uint64, percent int) {
		percent = ((percent % 101) + 101) % 101
		systems := []*runtimeapi.FilesystemUsage{{}}
		disk, err := fullest(systems, func(string) (Disk, error) { return Disk{capacity, available}, nil })
		require.Equal(t, capacity == 0, err != nil)
		if err != nil {
			return
		}
		require.LessOrEqual(t, disk.Available, disk.Capacity)
		require.GreaterOrEqual(t, disk.used(), 0)
		require.LessOrEqual(t, disk.used(), 100)
		if short := disk.shortage(percent); short > 0 {
			require.GreaterOrEqual(t, disk.used(), percent)
			require.Zero(t, Disk{disk.Capacity, disk.Available + short}.shortage(percent), "as much as is asked for is enough")
		}
	})
}

func BenchmarkPlanOfAThousandImages(b *testing.B) {
	var images []*runtimeapi.Image
	var containers []*runtimeapi.Container
	for n := range 1000 {
		id := fmt.Sprintf("sha256:%064x", n)
		images = append(images, &runtimeapi.Image{
			Id: id, RepoTags: []string{fmt.Sprintf("registry.example.com/team/app-%d:v1", n)},
			RepoDigests: []string{fmt.Sprintf("registry.example.com/team/app-%d@sha256:%064x", n, n)},
		})
		if n%10 == 0 {
			containers = append(containers, &runtimeapi.Container{ImageRef: id, Image: &runtimeapi.ImageSpec{Image: id}})
		}
	}
	seen := map[string]sighting{}
	b.ReportAllocs()
	for b.Loop() {
		inUse := names{}
		inUse.addContainers(containers)
		seen = observe(seen, images, inUse, now)
		if plan := planImages(images, seen, inUse, 0, now.Add(time.Hour)); len(plan) != 900 {
			b.Fatal(len(plan))
		}
	}
}
