package cri_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

func sandbox(id string, attempt uint32, createdAt int64, state runtimeapi.PodSandboxState) *runtimeapi.PodSandboxStatus {
	return &runtimeapi.PodSandboxStatus{
		Id: id, CreatedAt: createdAt, State: state, Metadata: &runtimeapi.PodSandboxMetadata{Attempt: attempt},
	}
}

func container(id, name string, createdAt int64, state runtimeapi.ContainerState) *cri.Container {
	return &cri.Container{ContainerStatus: &runtimeapi.ContainerStatus{
		Id: id, CreatedAt: createdAt, State: state, Labels: map[string]string{cri.LabelContainerName: name},
	}}
}

func containerIDs(containers []*cri.Container) []string {
	var ids []string
	for _, c := range containers {
		ids = append(ids, c.GetId())
	}
	return ids
}

func TestBareID(t *testing.T) {
	for id, want := range map[string]string{"containerd://0123": "0123", "0123": "0123", "": "", "://": ""} {
		assert.Equal(t, want, cri.BareID(id))
	}
}

func TestSortPutsTheNewestFirstWhateverTheClockSays(t *testing.T) {
	state := cri.PodState{Sandboxes: []*runtimeapi.PodSandboxStatus{
		sandbox("first", 0, 900, runtimeapi.PodSandboxState_SANDBOX_NOTREADY), // the clock was set back after it
		sandbox("third-b", 2, 100, runtimeapi.PodSandboxState_SANDBOX_READY),
		sandbox("third-a", 2, 100, runtimeapi.PodSandboxState_SANDBOX_READY),
		sandbox("second", 1, 50, runtimeapi.PodSandboxState_SANDBOX_NOTREADY),
	}, Containers: []*cri.Container{
		container("old", "app", 1, runtimeapi.ContainerState_CONTAINER_EXITED),
		container("new-b", "app", 5, runtimeapi.ContainerState_CONTAINER_RUNNING),
		container("new-a", "web", 5, runtimeapi.ContainerState_CONTAINER_RUNNING),
	}}
	state.Sort()

	var sandboxes []string
	for _, s := range state.Sandboxes {
		sandboxes = append(sandboxes, s.GetId())
	}
	assert.Equal(t, []string{"third-a", "third-b", "second", "first"}, sandboxes)
	assert.Equal(t, []string{"new-a", "new-b", "old"}, containerIDs(state.Containers))
	assert.Len(t, state.ReadySandboxes(), 2)
	assert.Equal(t, []string{"new-b", "old"}, containerIDs(state.ContainersNamed("app")))
	assert.Equal(t, "new-b", state.Newest("app").GetId())
	assert.Nil(t, state.Newest("absent"))
	assert.Equal(t, []string{"new-a", "new-b"}, containerIDs(state.Running()))
}

func TestTheNewestContainerIsThatOfTheLastRestartWhateverTheClockSays(t *testing.T) {
	run := func(id string, attempt uint32, createdAt int64) *cri.Container {
		c := container(id, "app", createdAt, runtimeapi.ContainerState_CONTAINER_EXITED)
		c.Metadata = &runtimeapi.ContainerMetadata{Attempt: attempt}
		return c
	}
	state := cri.PodState{Containers: []*cri.Container{run("second", 1, 900), run("third", 2, 100), run("first", 0, 800)}}
	state.Sort()
	assert.Equal(t, []string{"third", "second", "first"}, containerIDs(state.Containers), "the clock was set back before the third")
	assert.Equal(t, "third", state.Newest("app").GetId())
}

func TestContainerNameIsTheLabelAndFallsBackOnTheMetadata(t *testing.T) {
	labelled := container("1", "app", 0, 0)
	labelled.Metadata = &runtimeapi.ContainerMetadata{Name: "other"}
	assert.Equal(t, "app", labelled.Name())
	labelled.Labels = nil
	assert.Equal(t, "other", labelled.Name())
}

func TestTimesThatTheRuntimeDoesNotKnowAreZero(t *testing.T) {
	c := &cri.Container{ContainerStatus: &runtimeapi.ContainerStatus{StartedAt: 1_000_000_007}}
	assert.True(t, c.FinishedTime().IsZero())
	assert.Equal(t, time.Unix(1, 7), c.StartedTime())
}

func TestSandboxIPsStartWithThePrimaryOne(t *testing.T) {
	dual := &runtimeapi.PodSandboxStatus{Network: &runtimeapi.PodSandboxNetworkStatus{
		Ip: "10.0.0.1", AdditionalIps: []*runtimeapi.PodIP{{Ip: "fd00::1"}},
	}}
	assert.Equal(t, []string{"10.0.0.1", "fd00::1"}, cri.SandboxIPs(dual))
	assert.Empty(t, cri.SandboxIPs(&runtimeapi.PodSandboxStatus{Network: &runtimeapi.PodSandboxNetworkStatus{}}))
	assert.Empty(t, cri.SandboxIPs(&runtimeapi.PodSandboxStatus{}))
}

func TestTheNetworkFitsWhenItIsTheOneWantedOrNotTold(t *testing.T) {
	with := func(mode runtimeapi.NamespaceMode) *runtimeapi.PodSandboxStatus {
		return &runtimeapi.PodSandboxStatus{Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{
			Options: &runtimeapi.NamespaceOption{Network: mode},
		}}}
	}
	host, own := with(runtimeapi.NamespaceMode_NODE), with(runtimeapi.NamespaceMode_POD)
	assert.True(t, cri.NetworkFits(host, true))
	assert.False(t, cri.NetworkFits(host, false))
	assert.True(t, cri.NetworkFits(own, false))
	assert.False(t, cri.NetworkFits(own, true))
	assert.True(t, cri.NetworkFits(&runtimeapi.PodSandboxStatus{}, true))
}
