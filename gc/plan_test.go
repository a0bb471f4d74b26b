package gc

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

const (
	created = runtimeapi.ContainerState_CONTAINER_CREATED
	running = runtimeapi.ContainerState_CONTAINER_RUNNING
	exited  = runtimeapi.ContainerState_CONTAINER_EXITED
	unknown = runtimeapi.ContainerState_CONTAINER_UNKNOWN

	ready    = runtimeapi.PodSandboxState_SANDBOX_READY
	notReady = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// instance is a container of the unit "pod/name" that was made age minutes ago.
func instance(pod, name, id string, age int, state runtimeapi.ContainerState) *runtimeapi.Container {
	return &runtimeapi.Container{
		Id:        id,
		State:     state,
		CreatedAt: now.Add(-time.Duration(age) * time.Minute).UnixNano(),
		Labels:    map[string]string{cri.LabelPodUID: pod, cri.LabelContainerName: name},
	}
}

func goneIs(pod types.UID) func(types.UID) bool {
	return func(uid types.UID) bool { return uid == pod }
}

func containerIDs(containers []*runtimeapi.Container) []string {
	ids := []string{}
	for _, c := range containers {
		ids = append(ids, c.GetId())
	}
	return ids
}

func TestContainerPlan(t *testing.T) {
	threeDead := []*runtimeapi.Container{
		instance("live", "app", "old", 30, exited),
		instance("live", "app", "new", 10, exited),
		instance("live", "app", "mid", 20, exited),
	}
	tests := map[string]struct {
		containers []*runtimeapi.Container
		policy     Policy
		want       []string
	}{
		"nothing there": {},
		"the newest dead one is kept by default": {
			containers: threeDead,
			want:       []string{"old", "mid"},
		},
		"MaxPerPodContainer keeps as many": {
			containers: threeDead,
			policy:     Policy{MaxPerPodContainer: 2},
			want:       []string{"old"},
		},
		"MaxPerPodContainer above the number keeps all": {
			containers: threeDead,
			policy:     Policy{MaxPerPodContainer: 9},
		},
		"negative MaxPerPodContainer is no limit": {
			containers: threeDead,
			policy:     Policy{MaxPerPodContainer: -1},
		},
		"MinAge spares what is younger": {
			containers: threeDead,
			policy:     Policy{MinAge: 25 * time.Minute, MaxPerPodContainer: 1},
			want:       []string{},
		},
		"MinAge is counted from creation and inclusive": {
			containers: threeDead,
			policy:     Policy{MinAge: 20 * time.Minute},
			want:       []string{"old"},
		},
		"without MinAge a wrong clock does not matter": {
			containers: []*runtimeapi.Container{
				instance("live", "app", "ahead", -60, exited), instance("live", "app", "further ahead", -90, exited),
			},
			want: []string{"ahead"},
		},
		"MinAge does not wait until a clock that was set back by years has caught up": {
			containers: []*runtimeapi.Container{
				instance("live", "app", "new", 5, exited), instance("gone", "app", "ahead", -10*365*24*60, exited),
			},
			policy: Policy{MinAge: 10 * time.Minute},
			want:   []string{"ahead"},
		},
		"each name of each pod counts by itself": {
			containers: []*runtimeapi.Container{
				instance("live", "app", "a", 1, exited),
				instance("live", "log", "b", 1, exited),
				instance("other", "app", "c", 1, exited),
			},
		},
		"a running container is neither removed nor counted": {
			containers: []*runtimeapi.Container{
				instance("live", "app", "run", 30, running),
				instance("live", "app", "dead", 10, exited),
				instance("live", "app", "older", 20, exited),
			},
			want: []string{"older"},
		},
		"an unknown one counts as dead": {
			containers: []*runtimeapi.Container{
				instance("live", "app", "lost", 20, unknown), instance("live", "app", "dead", 10, exited),
			},
			want: []string{"lost"},
		},
		"a container that is being started is left alone, and so is the dead one before it": {
			containers: []*runtimeapi.Container{
				instance("live", "app", "starting", 0, created), instance("live", "app", "dead", 10, exited),
			},
		},
		"one that was never started and has a successor goes": {
			containers: []*runtimeapi.Container{
				instance("live", "app", "run", 0, running),
				instance("live", "app", "stillborn", 5, created),
				instance("live", "app", "dead", 10, exited),
			},
			want: []string{"stillborn"},
		},
		"of a pod that is gone all goes but what runs": {
			containers: []*runtimeapi.Container{
				instance("gone", "app", "run", 0, running),
				instance("gone", "app", "made", 5, created),
				instance("gone", "app", "dead", 10, exited),
				instance("gone", "log", "lost", 20, unknown),
			},
			policy: Policy{MaxPerPodContainer: -1},
			want:   []string{"lost", "dead", "made"},
		},
		"MinAge holds for a pod that is gone": {
			containers: []*runtimeapi.Container{
				instance("gone", "app", "young", 5, exited), instance("gone", "app", "old", 15, exited),
			},
			policy: Policy{MinAge: 10 * time.Minute},
			want:   []string{"old"},
		},
		"MaxContainers cuts to equal shares": {
			containers: append(slices.Clone(threeDead), instance("other", "app", "one", 60, exited)),
			policy:     Policy{MaxPerPodContainer: -1, MaxContainers: 3},
			want:       []string{"old", "mid"},
		},
		"MaxContainers does nothing while it holds": {
			containers: threeDead,
			policy:     Policy{MaxPerPodContainer: -1, MaxContainers: 3},
		},
		"MaxContainers leaves each unit one": {
			containers: append(slices.Clone(threeDead), instance("other", "app", "one", 60, exited)),
			policy:     Policy{MaxPerPodContainer: -1, MaxContainers: 1},
			want:       []string{"old", "mid"},
		},
		"negative MaxContainers is no limit": {
			containers: threeDead,
			policy:     Policy{MaxPerPodContainer: -1, MaxContainers: -1},
		},
		"somebody else's container is left alone": {
			containers: []*runtimeapi.Container{
				{Id: "no labels", State: exited}, instance("", "app", "no pod", 10, exited), instance("", "app", "no pod either", 20, exited),
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			plan := planContainers(test.containers, goneIs("gone"), test.policy, now)
			assert.Equal(t, append([]string{}, test.want...), containerIDs(plan))
		})
	}
}

func TestSandboxPlan(t *testing.T) {
	sandbox := func(pod, id string, attempt uint32, state runtimeapi.PodSandboxState) *runtimeapi.PodSandbox {
		return &runtimeapi.PodSandbox{
			Id: id, State: state, CreatedAt: int64(attempt),
			Metadata: &runtimeapi.PodSandboxMetadata{Attempt: attempt},
			Labels:   map[string]string{cri.LabelPodUID: pod},
		}
	}
	tests := map[string]struct {
		sandboxes []*runtimeapi.PodSandbox
		occupied  string
		want      []string
	}{
		"nothing there": {},
		"the newest of a live pod is kept": {
			sandboxes: []*runtimeapi.PodSandbox{
				sandbox("live", "2", 2, notReady), sandbox("live", "0", 0, notReady), sandbox("live", "1", 1, notReady),
			},
			want: []string{"0", "1"},
		},
		"older ones go beside one that is ready": {
			sandboxes: []*runtimeapi.PodSandbox{sandbox("live", "0", 0, notReady), sandbox("live", "1", 1, ready)},
			want:      []string{"0"},
		},
		"one that is ready is never removed": {
			sandboxes: []*runtimeapi.PodSandbox{
				sandbox("live", "0", 0, ready), sandbox("live", "1", 1, ready), sandbox("gone", "2", 2, ready),
			},
		},
		"one that holds a container is never removed": {
			sandboxes: []*runtimeapi.PodSandbox{
				sandbox("live", "held", 0, notReady), sandbox("live", "1", 1, notReady), sandbox("gone", "2", 2, notReady),
			},
			occupied: "held",
			want:     []string{"2"},
		},
		"of a pod that is gone all inactive ones go": {
			sandboxes: []*runtimeapi.PodSandbox{sandbox("gone", "0", 0, notReady), sandbox("gone", "1", 1, notReady)},
			want:      []string{"0", "1"},
		},
		"the attempt tells the newest whatever the clock said": {
			sandboxes: []*runtimeapi.PodSandbox{
				{Id: "0", CreatedAt: 99, State: notReady, Labels: map[string]string{cri.LabelPodUID: "live"}},
				sandbox("live", "1", 1, notReady),
			},
			want: []string{"0"},
		},
		"somebody else's sandbox is left alone": {
			sandboxes: []*runtimeapi.PodSandbox{sandbox("", "0", 0, notReady), sandbox("", "1", 1, notReady)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			containers := []*runtimeapi.Container{{Id: "c", PodSandboxId: test.occupied}}
			ids := []string{}
			for _, doomed := range planSandboxes(test.sandboxes, containers, goneIs("gone")) {
				ids = append(ids, doomed.GetId())
			}
			assert.Equal(t, append([]string{}, test.want...), ids)
		})
	}
}

func TestPolicyRefusesNegativeMinAge(t *testing.T) {
	require.NoError(t, Policy{}.Validate())
	require.ErrorContains(t, Policy{MinAge: -time.Second}.Validate(), "MinAge is -1s")
}

// FuzzContainerPlan makes containers of three pods, one of them gone, out of
// three bytes each: which unit, which state, which age.
func FuzzContainerPlan(f *testing.F) {
	f.Add([]byte{0, 2, 10, 0, 2, 20, 4, 1, 5}, 0, 0, int64(0))
	f.Add([]byte{0, 0, 1, 0, 2, 2, 0, 2, 3, 1, 3, 4, 5, 2, 9}, 1, 1, int64(time.Minute))
	f.Fuzz(func(t *testing.T, data []byte, perPod, total int, minAge int64) {
		policy := Policy{MinAge: time.Duration(max(0, minAge)), MaxPerPodContainer: perPod, MaxContainers: total}
		pods, names := []string{"live", "other", "gone"}, []string{"app", "log"}
		var all []*runtimeapi.Container
		for ; len(data) >= 3 && len(all) < 64; data = data[3:] {
			u, state := int(data[0])%6, runtimeapi.ContainerState(data[1]%4)
			all = append(all, instance(pods[u/2], names[u%2], fmt.Sprint(len(all)), int(data[2]), state))
		}

		plan := planContainers(all, goneIs("gone"), policy, now)

		doomed := make(map[string]bool)
		for _, c := range plan {
			require.False(t, doomed[c.GetId()], "planned twice")
			doomed[c.GetId()] = true
			require.NotEqual(t, running, c.GetState())
			require.LessOrEqual(t, c.GetCreatedAt(), now.Add(-policy.MinAge).UnixNano())
		}
		for u, instances := range unitsOf(all) {
			if u.pod == "gone" {
				continue
			}
			require.False(t, doomed[instances[0].GetId()] && instances[0].GetState() == created, "about to start")
			dead := slices.DeleteFunc(slices.Clone(instances), func(c *runtimeapi.Container) bool {
				return c.GetState() == running || c.GetState() == created
			})
			if len(dead) > 0 {
				require.False(t, doomed[dead[0].GetId()], "newest dead of a live pod")
			}
		}
		if policy.MinAge == 0 && perPod == 0 {
			for u, instances := range unitsOf(all) {
				left := slices.DeleteFunc(slices.Clone(instances), func(c *runtimeapi.Container) bool {
					return doomed[c.GetId()] || c.GetState() == running || c.GetState() == created
				})
				require.LessOrEqual(t, len(left), 1, "unit %v keeps more than its limit", u)
			}
		}
	})
}

func FuzzPodOfDirectory(f *testing.F) {
	f.Add("default_web_0b1c")
	f.Add("lost+found")
	f.Add("a__")
	f.Fuzz(func(t *testing.T, name string) {
		uid, ok := podOfDirectory(name)
		require.Equal(t, ok, uid != "")
		if ok {
			require.Equal(t, string(uid), name[len(name)-len(uid):])
		}
	})
}
