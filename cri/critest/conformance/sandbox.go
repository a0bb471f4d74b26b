package conformance

import (
	"os"
	"path/filepath"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

func sandboxExpectations() []expectation {
	return []expectation{
		{"a sandbox is ready and tells what it was made of", sandboxEcho},
		{"a sandbox is listed with what it was made of", sandboxListed},
		{"each sandbox has an address of its own", sandboxAddresses},
		{"a sandbox in the host's network has no address", sandboxHostNetwork},
		{"namespace options are told as they were asked for", sandboxNamespaces},
		{"sandboxes are listed by ID, labels and state", sandboxFilters},
		{"a second sandbox of the same name and attempt is refused", sandboxDuplicate},
		{"another attempt of the same pod runs beside the first", sandboxAttempts},
		{"a sandbox without metadata is refused", sandboxWithoutMetadata},
		{"an unknown runtime handler is refused and leaves nothing", sandboxUnknownHandler},
		{"a sandbox starts without its log folder", sandboxWithoutLogFolder},
		{"a stopped sandbox is not ready, keeps its identity and loses its address", sandboxStopped},
		{"stopping a sandbox kills its containers at once", sandboxStopKills},
		{"stopping a sandbox leaves created containers, which cannot be started", sandboxStopCreated},
		{"a container is not started in a stopped sandbox", sandboxStoppedCreate},
		{"a stopped sandbox is listed until it is removed", sandboxRemoved},
		{"removing a ready sandbox kills and removes its containers", sandboxRemovedReady},
	}
}

func sandboxEcho(s *subject) {
	config := s.podConfig("echo")
	config.Metadata.Attempt = 7
	config.Labels["io.kubernetes.pod.uid"] = "some-uid"
	config.Annotations["example.org/odd"] = "two\nlines, \"quotes\" and {json: [1]}"
	p := s.run(config)

	status := s.sandboxStatus(p.id)
	assert.Equal(s.t, p.id, status.GetId())
	assert.Equal(s.t, config.Metadata.String(), status.GetMetadata().String())
	assert.Equal(s.t, runtimeapi.PodSandboxState_SANDBOX_READY, status.GetState())
	assert.Equal(s.t, config.Labels, status.GetLabels())
	assert.Equal(s.t, config.Annotations, status.GetAnnotations())
	assert.NotEmpty(s.t, status.GetNetwork().GetIp())
	s.requireNow(status.GetCreatedAt())
}

func sandboxListed(s *subject) {
	p := s.runPod("listed")
	items, err := s.rt.ListPodSandbox(s.ctx, &runtimeapi.PodSandboxFilter{Id: p.id})
	require.NoError(s.t, err)
	require.Len(s.t, items, 1)
	assert.Equal(s.t, p.id, items[0].GetId())
	assert.Equal(s.t, p.config.Metadata.String(), items[0].GetMetadata().String())
	assert.Equal(s.t, runtimeapi.PodSandboxState_SANDBOX_READY, items[0].GetState())
	assert.Equal(s.t, p.config.Labels, items[0].GetLabels())
	assert.Equal(s.t, p.config.Annotations, items[0].GetAnnotations())
	assert.Equal(s.t, s.sandboxStatus(p.id).GetCreatedAt(), items[0].GetCreatedAt())
}

func sandboxAddresses(s *subject) {
	one, two := s.runPod("one"), s.runPod("two")
	assert.NotEqual(s.t, s.sandboxStatus(one.id).GetNetwork().GetIp(), s.sandboxStatus(two.id).GetNetwork().GetIp())
}

// A host name is not set: real runtimes refuse it in the host's network, as it would be the host's.
func sandboxHostNetwork(s *subject) {
	config := s.podConfig("host")
	config.Hostname = ""
	config.Linux.SecurityContext.NamespaceOptions.Network = runtimeapi.NamespaceMode_NODE
	status := s.sandboxStatus(s.run(config).id)
	assert.Equal(s.t, runtimeapi.PodSandboxState_SANDBOX_READY, status.GetState())
	assert.Empty(s.t, status.GetNetwork().GetIp())
}

func sandboxNamespaces(s *subject) {
	host, shared, own := runtimeapi.NamespaceMode_NODE, runtimeapi.NamespaceMode_POD, runtimeapi.NamespaceMode_CONTAINER
	for name, options := range map[string]*runtimeapi.NamespaceOption{
		"own":    {Network: shared, Pid: own, Ipc: shared},
		"shared": {Network: shared, Pid: shared, Ipc: shared},
		"host":   {Network: host, Pid: host, Ipc: host},
	} {
		config := s.podConfig(name)
		config.Hostname = ""
		config.Linux.SecurityContext.NamespaceOptions = options
		told := s.sandboxStatus(s.run(config).id).GetLinux().GetNamespaces().GetOptions()
		require.NotNil(s.t, told)
		assert.Equal(s.t, options.String(), told.String())
	}
}

func sandboxFilters(s *subject) {
	one, two := s.runPod("one"), s.runPod("two")
	require.NoError(s.t, s.rt.StopPodSandbox(s.ctx, two.id))
	ready := &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY}
	notReady := &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_NOTREADY}

	assert.Subset(s.t, s.sandboxes(nil), []string{one.id, two.id})
	assert.Equal(s.t, []string{two.id}, s.sandboxes(&runtimeapi.PodSandboxFilter{Id: two.id}))
	assert.Equal(s.t, []string{one.id}, s.sandboxes(&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"pod": "one"}}))
	assert.Empty(s.t, s.sandboxes(&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"pod": "one", "other": ""}}))
	assert.Contains(s.t, s.sandboxes(&runtimeapi.PodSandboxFilter{State: ready}), one.id)
	assert.NotContains(s.t, s.sandboxes(&runtimeapi.PodSandboxFilter{State: ready}), two.id)
	assert.Contains(s.t, s.sandboxes(&runtimeapi.PodSandboxFilter{State: notReady}), two.id)
	assert.Empty(s.t, s.sandboxes(&runtimeapi.PodSandboxFilter{State: notReady, Id: one.id}))
}

// The code is Unknown in containerd 1.6, FailedPrecondition in newer ones; the text names the holder in all.
func sandboxDuplicate(s *subject) {
	p := s.runPod("twice")
	_, err := s.rt.RunPodSandbox(s.ctx, p.config, "")
	require.ErrorContains(s.t, err, p.id)
	require.NoError(s.t, s.rt.StopPodSandbox(s.ctx, p.id))
	_, err = s.rt.RunPodSandbox(s.ctx, p.config, "")
	require.ErrorContains(s.t, err, p.id, "a stopped one holds its name")

	require.NoError(s.t, s.rt.RemovePodSandbox(s.ctx, p.id))
	again := s.run(p.config)
	assert.NotEqual(s.t, p.id, again.id)
}

func sandboxAttempts(s *subject) {
	first := s.runPod("again")
	config := s.podConfig("again")
	config.Metadata.Attempt++
	second := s.run(config)
	ready := &runtimeapi.PodSandboxFilter{
		LabelSelector: map[string]string{"pod": "again"},
		State:         &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY},
	}
	assert.ElementsMatch(s.t, []string{first.id, second.id}, s.sandboxes(ready))
}

func sandboxWithoutMetadata(s *subject) {
	config := s.podConfig("nameless")
	config.Metadata = nil
	_, err := s.rt.RunPodSandbox(s.ctx, config, "")
	require.Error(s.t, err)
}

func sandboxUnknownHandler(s *subject) {
	config := s.podConfig("handler")
	_, err := s.rt.RunPodSandbox(s.ctx, config, "no-such-handler")
	require.ErrorContains(s.t, err, "no-such-handler")
	assert.Empty(s.t, s.sandboxes(&runtimeapi.PodSandboxFilter{LabelSelector: config.Labels}))
	s.run(config)
}

func sandboxWithoutLogFolder(s *subject) {
	config := s.podConfig("logless")
	config.LogDirectory = filepath.Join(s.given.LogDir, "not", "there")
	s.run(config)
	_, err := os.Stat(config.LogDirectory)
	assert.ErrorIs(s.t, err, os.ErrNotExist)
}

func sandboxStopped(s *subject) {
	p := s.runPod("stopped")
	before := s.sandboxStatus(p.id)
	for range 2 {
		require.NoError(s.t, s.rt.StopPodSandbox(s.ctx, p.id))
		status := s.sandboxStatus(p.id)
		assert.Equal(s.t, runtimeapi.PodSandboxState_SANDBOX_NOTREADY, status.GetState())
		assert.Empty(s.t, status.GetNetwork().GetIp())
		assert.Equal(s.t, before.GetMetadata().String(), status.GetMetadata().String())
		assert.Equal(s.t, before.GetLabels(), status.GetLabels())
		assert.Equal(s.t, before.GetAnnotations(), status.GetAnnotations())
		assert.Equal(s.t, before.GetCreatedAt(), status.GetCreatedAt())
		assert.Equal(s.t, before.GetLinux().String(), status.GetLinux().String())
	}
}

// There is no grace: who wants one stops the containers first.
func sandboxStopKills(s *subject) {
	p := s.runPod("killed")
	app := s.start(p, "app", Program{Lasts: Forever, OnTerm: true, TermCode: 3})
	ended := s.finished(p, "ended", Program{ExitCode: 5})
	require.NoError(s.t, s.rt.StopPodSandbox(s.ctx, p.id))
	s.requireEnd(app, 137, "Error")
	s.requireEnd(ended, 5, "Error")
}

func sandboxStopCreated(s *subject) {
	p := s.runPod("created")
	app := s.create(p, "app", Program{})
	require.NoError(s.t, s.rt.StopPodSandbox(s.ctx, p.id))
	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_CREATED, s.state(app))
	require.Error(s.t, s.rt.StartContainer(s.ctx, app))
	s.requireEnd(app, 128, "StartError")
}

// containerd 1.6 refuses to create the container, newer ones only to start it.
func sandboxStoppedCreate(s *subject) {
	p := s.runPod("late")
	require.NoError(s.t, s.rt.StopPodSandbox(s.ctx, p.id))
	app, err := s.rt.CreateContainer(s.ctx, p.id, s.containerConfig("app", Program{}), p.config)
	if err == nil {
		err = s.rt.StartContainer(s.ctx, app)
	}
	require.Error(s.t, err)
}

func sandboxRemoved(s *subject) {
	p := s.runPod("gone")
	app := s.finished(p, "app", Program{})
	require.NoError(s.t, s.rt.StopPodSandbox(s.ctx, p.id))
	assert.Contains(s.t, s.sandboxes(nil), p.id)
	for range 2 {
		require.NoError(s.t, s.rt.RemovePodSandbox(s.ctx, p.id))
		s.requireGone(p, app)
	}
}

func sandboxRemovedReady(s *subject) {
	p := s.runPod("gone")
	app := s.start(p, "app", Program{Lasts: Forever})
	require.NoError(s.t, s.rt.RemovePodSandbox(s.ctx, p.id))
	s.requireGone(p, app)
}

func (s *subject) requireGone(p pod, container string) {
	s.t.Helper()
	_, err := s.rt.PodSandboxStatus(s.ctx, p.id, false)
	require.True(s.t, cri.IsNotFound(err), "%v", err)
	_, err = s.rt.ContainerStatus(s.ctx, container, false)
	require.True(s.t, cri.IsNotFound(err), "%v", err)
	require.NotContains(s.t, s.sandboxes(nil), p.id)
	require.NotContains(s.t, s.containers(nil), container)
}
