package conformance

import (
	"errors"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

func runtimeExpectations() []expectation {
	return []expectation{
		{"version answers the kubelet API version and names the runtime", version},
		{"status says that runtime and network are ready", ready},
		{"runtime config tells the cgroup driver or is unimplemented", runtimeConfig},
		{"pod CIDR is accepted", updateRuntimeConfig},
		{"unknown IDs are not found", unknownIDs},
		{"stopping what is unknown is no error or not found", stopUnknown},
		{"removing what is unknown is no error", removeUnknown},
		{"listing by an unknown ID is empty", listUnknown},
	}
}

func version(s *subject) {
	for _, asked := range []string{"0.1.0", "some other"} {
		answer, err := s.rt.Version(s.ctx, asked)
		require.NoError(s.t, err)
		assert.Equal(s.t, "0.1.0", answer.GetVersion())
		assert.NotEmpty(s.t, answer.GetRuntimeName())
		assert.NotEmpty(s.t, answer.GetRuntimeVersion())
		assert.Equal(s.t, "v1", answer.GetRuntimeApiVersion())
	}
}

func ready(s *subject) {
	answer, err := s.rt.Status(s.ctx, false)
	require.NoError(s.t, err)
	conditions := map[string]bool{}
	for _, condition := range answer.GetStatus().GetConditions() {
		conditions[condition.GetType()] = condition.GetStatus()
	}
	assert.True(s.t, conditions[runtimeapi.RuntimeReady], conditions)
	assert.True(s.t, conditions[runtimeapi.NetworkReady], conditions)
}

// containerd 1.6 does not know the call.
func runtimeConfig(s *subject) {
	answer, err := s.rt.RuntimeConfig(s.ctx)
	if cri.IsUnimplemented(err) {
		return
	}
	require.NoError(s.t, err)
	require.NotNil(s.t, answer.GetLinux())
}

func updateRuntimeConfig(s *subject) {
	config := &runtimeapi.RuntimeConfig{NetworkConfig: &runtimeapi.NetworkConfig{PodCidr: "10.99.0.0/24"}}
	require.NoError(s.t, s.rt.UpdateRuntimeConfig(s.ctx, config))
}

// unknownID looks like an ID and is none.
const unknownID = "edgededgededgededgededgededgededgededgededgededgededgededgededge"

func unknownIDs(s *subject) {
	for call, err := range map[string]error{
		"PodSandboxStatus": errOf(s.rt.PodSandboxStatus(s.ctx, unknownID, false)),
		"ContainerStatus":  errOf(s.rt.ContainerStatus(s.ctx, unknownID, false)),
		"StartContainer":   s.rt.StartContainer(s.ctx, unknownID),
		"Exec": errOf(s.rt.Exec(s.ctx, &runtimeapi.ExecRequest{
			ContainerId: unknownID, Cmd: []string{"true"}, Stdout: true,
		})),
		"Attach":      errOf(s.rt.Attach(s.ctx, &runtimeapi.AttachRequest{ContainerId: unknownID, Stdout: true})),
		"PortForward": errOf(s.rt.PortForward(s.ctx, &runtimeapi.PortForwardRequest{PodSandboxId: unknownID})),
		"UpdateContainerResources": s.rt.UpdateContainerResources(s.ctx, unknownID, &runtimeapi.ContainerResources{
			Linux: &runtimeapi.LinuxContainerResources{CpuShares: 100},
		}),
		"ReopenContainerLog": s.rt.ReopenContainerLog(s.ctx, unknownID),
		"ContainerStats":     errOf(s.rt.ContainerStats(s.ctx, unknownID)),
		"PodSandboxStats":    errOf(s.rt.PodSandboxStats(s.ctx, unknownID)),
		"CreateContainer": errOf(s.rt.CreateContainer(s.ctx, unknownID,
			s.containerConfig("app", Program{}), s.podConfig("pod"))),
	} {
		assert.True(s.t, cri.IsNotFound(err), "%s: %v", call, err)
	}
	_, _, err := s.rt.ExecSync(s.ctx, unknownID, []string{"true"}, 0)
	assert.True(s.t, cri.IsNotFound(err), "ExecSync: %v", err)
}

func errOf[T any](_ T, err error) error { return err }

// containerd 1.6 answers NotFound, newer ones succeed.
func stopUnknown(s *subject) {
	for call, err := range map[string]error{
		"StopPodSandbox": s.rt.StopPodSandbox(s.ctx, unknownID),
		"StopContainer":  s.rt.StopContainer(s.ctx, unknownID, shortGrace),
	} {
		assert.True(s.t, err == nil || cri.IsNotFound(err), "%s: %v", call, err)
	}
}

func removeUnknown(s *subject) {
	require.NoError(s.t, errors.Join(
		s.rt.RemovePodSandbox(s.ctx, unknownID),
		s.rt.RemoveContainer(s.ctx, unknownID),
	))
}

func listUnknown(s *subject) {
	s.start(s.runPod("pod"), "app", Program{Lasts: Forever})
	assert.Empty(s.t, s.sandboxes(&runtimeapi.PodSandboxFilter{Id: unknownID}))
	assert.Empty(s.t, s.containers(&runtimeapi.ContainerFilter{Id: unknownID}))
	assert.Empty(s.t, s.containers(&runtimeapi.ContainerFilter{PodSandboxId: unknownID}))
}
