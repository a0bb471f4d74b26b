package conformance

import (
	"os"
	"path/filepath"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
)

func containerExpectations() []expectation {
	return []expectation{
		{"a created container tells what it was made of", containerEcho},
		{"a container goes from created to running to exited", containerLife},
		{"an exit code other than 0 is an error", containerFails},
		{"a container is listed with what it was made of", containerListed},
		{"containers are listed by ID, sandbox, labels and state", containerFilters},
		{"an exited container stays until it is removed", containerStays},
		{"a second container of the same name and attempt is refused", containerDuplicate},
		{"the next attempt runs beside the exited one", containerAttempts},
		{"a name and attempt is taken in every sandbox of a pod", containerNamePerPod},
		{"the same name is free in another pod", containerNames},
		{"a container of a missing image is not created", containerMissingImage},
		{"a container of an image by ID tells the image", containerByImageID},
		{"without a command the image's own runs", containerImageCommand},
		{"a container is started once", containerStartTwice},
		{"a container that cannot be started has exited with code 128", containerMissingProgram},
		{"a missing folder to mount is made", containerMissingMount},
		{"resources are updated in place", containerResources},
		{"a running container has statistics", containerStats},
	}
}

func containerEcho(s *subject) {
	p := s.runPod("echo")
	folder := filepath.Join(s.given.LogDir, "mounted")
	require.NoError(s.t, os.Mkdir(folder, 0o755))
	config := s.containerConfig("app", Program{Lasts: Forever})
	config.Metadata.Attempt = 4
	config.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/writable", HostPath: folder},
		{ContainerPath: "/readonly", HostPath: folder, Readonly: true},
	}
	status := s.status(s.createFrom(p, config))

	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_CREATED, status.GetState())
	assert.Equal(s.t, config.Metadata.String(), status.GetMetadata().String())
	assert.Equal(s.t, config.Labels, status.GetLabels())
	assert.Equal(s.t, config.Annotations, status.GetAnnotations())
	assert.Equal(s.t, s.target.Image, status.GetImage().GetImage())
	assert.Equal(s.t, s.imageID(s.target.Image), status.GetImageRef(), "of an image without a digest")
	assert.Equal(s.t, filepath.Join(p.config.LogDirectory, config.LogPath), status.GetLogPath())
	assert.Equal(s.t, int64(100), status.GetResources().GetLinux().GetCpuShares())
	require.Len(s.t, status.GetMounts(), len(config.Mounts))
	for i, mount := range status.GetMounts() {
		assert.Equal(s.t, config.Mounts[i].String(), mount.String())
	}
}

// How the times of start and end relate is not stated: containerd takes a container's start when it knows of it, which
// may be after a short one's end.
func containerLife(s *subject) {
	p := s.runPod("life")
	app := s.create(p, "app", Program{Lasts: 3 * time.Second}) // longer than a busy machine stands still
	created := s.status(app)
	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_CREATED, created.GetState())
	assert.Zero(s.t, created.GetStartedAt())
	assert.Zero(s.t, created.GetFinishedAt())
	assert.Empty(s.t, created.GetReason())
	s.requireNow(created.GetCreatedAt())

	require.NoError(s.t, s.rt.StartContainer(s.ctx, app))
	running := s.status(app)
	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_RUNNING, running.GetState())
	assert.Equal(s.t, created.GetCreatedAt(), running.GetCreatedAt())
	assert.Zero(s.t, running.GetFinishedAt())
	assert.Empty(s.t, running.GetReason())
	s.requireNow(running.GetStartedAt())

	exited := s.awaitState(app, runtimeapi.ContainerState_CONTAINER_EXITED)
	assert.Zero(s.t, exited.GetExitCode())
	assert.Equal(s.t, "Completed", exited.GetReason())
	assert.Equal(s.t, running.GetCreatedAt(), exited.GetCreatedAt())
	assert.Equal(s.t, running.GetStartedAt(), exited.GetStartedAt())
	s.requireNow(exited.GetFinishedAt())
}

func containerFails(s *subject) {
	s.requireEnd(s.finished(s.runPod("fails"), "app", Program{ExitCode: 3}), 3, "Error")
}

func containerListed(s *subject) {
	p := s.runPod("listed")
	config := s.containerConfig("app", Program{Lasts: Forever})
	app := s.createFrom(p, config)
	items, err := s.rt.ListContainers(s.ctx, &runtimeapi.ContainerFilter{Id: app})
	require.NoError(s.t, err)
	require.Len(s.t, items, 1)
	status := s.status(app)
	assert.Equal(s.t, app, items[0].GetId())
	assert.Equal(s.t, p.id, items[0].GetPodSandboxId())
	assert.Equal(s.t, config.Metadata.String(), items[0].GetMetadata().String())
	assert.Equal(s.t, config.Labels, items[0].GetLabels())
	assert.Equal(s.t, config.Annotations, items[0].GetAnnotations())
	assert.Equal(s.t, s.target.Image, items[0].GetImage().GetImage())
	assert.Equal(s.t, status.GetImageRef(), items[0].GetImageRef())
	assert.Equal(s.t, status.GetCreatedAt(), items[0].GetCreatedAt())
	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_CREATED, items[0].GetState())
}

func containerFilters(s *subject) {
	one, two := s.runPod("one"), s.runPod("two")
	running := s.start(one, "running", Program{Lasts: Forever})
	created := s.create(one, "created", Program{})
	elsewhere := s.start(two, "running", Program{Lasts: Forever})
	inState := func(state runtimeapi.ContainerState) []string {
		return s.containers(&runtimeapi.ContainerFilter{
			PodSandboxId: one.id, State: &runtimeapi.ContainerStateValue{State: state},
		})
	}

	assert.Subset(s.t, s.containers(nil), []string{running, created, elsewhere})
	assert.Equal(s.t, []string{created}, s.containers(&runtimeapi.ContainerFilter{Id: created}))
	assert.ElementsMatch(s.t, []string{running, created}, s.containers(&runtimeapi.ContainerFilter{PodSandboxId: one.id}))
	assert.ElementsMatch(s.t, []string{running, elsewhere},
		s.containers(&runtimeapi.ContainerFilter{LabelSelector: map[string]string{"container": "running"}}))
	assert.Equal(s.t, []string{running}, inState(runtimeapi.ContainerState_CONTAINER_RUNNING))
	assert.Equal(s.t, []string{created}, inState(runtimeapi.ContainerState_CONTAINER_CREATED))
	assert.Empty(s.t, inState(runtimeapi.ContainerState_CONTAINER_EXITED))
}

func containerStays(s *subject) {
	p := s.runPod("stays")
	app := s.finished(p, "app", Program{ExitCode: 3})
	assert.Contains(s.t, s.containers(nil), app)
	for range 2 {
		require.NoError(s.t, s.rt.RemoveContainer(s.ctx, app))
		_, err := s.rt.ContainerStatus(s.ctx, app, false)
		assert.True(s.t, cri.IsNotFound(err), "%v", err)
		assert.NotContains(s.t, s.containers(nil), app)
	}
}

// The code is Unknown in containerd 1.6, FailedPrecondition in newer ones; the text names the holder in all.
func containerDuplicate(s *subject) {
	p := s.runPod("twice")
	config := s.containerConfig("app", Program{})
	app := s.createFrom(p, config)
	_, err := s.rt.CreateContainer(s.ctx, p.id, config, p.config)
	require.ErrorContains(s.t, err, app)
	require.NoError(s.t, s.rt.StartContainer(s.ctx, app))
	s.awaitState(app, runtimeapi.ContainerState_CONTAINER_EXITED)
	_, err = s.rt.CreateContainer(s.ctx, p.id, config, p.config)
	require.ErrorContains(s.t, err, app, "an exited one holds its name")

	require.NoError(s.t, s.rt.RemoveContainer(s.ctx, app))
	s.createFrom(p, config)
}

func containerAttempts(s *subject) {
	p := s.runPod("again")
	first := s.finished(p, "app", Program{ExitCode: 3})
	config := s.containerConfig("app", Program{Lasts: Forever})
	config.Metadata.Attempt++
	second := s.createFrom(p, config)
	require.NoError(s.t, s.rt.StartContainer(s.ctx, second))
	s.requireEnd(first, 3, "Error")
	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_RUNNING, s.state(second))
}

// An agent that makes a pod's sandbox anew counts the attempts of its containers on, or removes the old ones first.
func containerNamePerPod(s *subject) {
	first := s.runPod("anew")
	app := s.finished(first, "app", Program{})
	require.NoError(s.t, s.rt.StopPodSandbox(s.ctx, first.id))
	config := s.podConfig("anew")
	config.Metadata.Attempt++
	second := s.run(config)
	_, err := s.rt.CreateContainer(s.ctx, second.id, s.containerConfig("app", Program{}), second.config)
	require.ErrorContains(s.t, err, app)
	require.NoError(s.t, s.rt.RemoveContainer(s.ctx, app))
	s.create(second, "app", Program{})
}

func containerNames(s *subject) {
	s.create(s.runPod("one"), "app", Program{})
	s.create(s.runPod("two"), "app", Program{})
}

func containerMissingImage(s *subject) {
	p := s.runPod("missing")
	for _, image := range []string{s.target.MissingImage, "Not An Image"} {
		config := s.containerConfig("app", Program{})
		config.Image = &runtimeapi.ImageSpec{Image: image}
		_, err := s.rt.CreateContainer(s.ctx, p.id, config, p.config)
		assert.True(s.t, cri.IsNotFound(err), "%v", err)
		assert.ErrorContains(s.t, err, image)
	}
	assert.Empty(s.t, s.containers(&runtimeapi.ContainerFilter{PodSandboxId: p.id}))
	s.create(p, "app", Program{})
}

func containerByImageID(s *subject) {
	config := s.containerConfig("app", Program{})
	config.Image = &runtimeapi.ImageSpec{Image: s.imageID(s.target.Image)}
	status := s.status(s.createFrom(s.runPod("byid"), config))
	assert.Equal(s.t, s.target.Image, status.GetImage().GetImage())
	assert.Equal(s.t, s.imageID(s.target.Image), status.GetImageRef())
}

func (s *subject) imageID(name string) string {
	s.t.Helper()
	image := s.image(name)
	require.NotNil(s.t, image, "image %s is not there", name)
	return image.GetId()
}

// The image's command is a shell, which ends when it has no input.
func containerImageCommand(s *subject) {
	p := s.runPod("command")
	config := s.containerConfig("app", Program{})
	config.Command = nil
	app := s.createFrom(p, config)
	require.NoError(s.t, s.rt.StartContainer(s.ctx, app))
	s.awaitState(app, runtimeapi.ContainerState_CONTAINER_EXITED)
	s.requireEnd(app, 0, "Completed")
}

func containerStartTwice(s *subject) {
	p := s.runPod("twice")
	running := s.start(p, "running", Program{Lasts: Forever})
	require.ErrorContains(s.t, s.rt.StartContainer(s.ctx, running), "CONTAINER_RUNNING")
	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_RUNNING, s.state(running))
	exited := s.finished(p, "exited", Program{ExitCode: 3})
	require.ErrorContains(s.t, s.rt.StartContainer(s.ctx, exited), "CONTAINER_EXITED")
	s.requireEnd(exited, 3, "Error")
}

func containerMissingProgram(s *subject) {
	p := s.runPod("broken")
	app := s.create(p, "app", Program{Missing: true})
	err := s.rt.StartContainer(s.ctx, app)
	require.ErrorContains(s.t, err, missingProgram)
	require.ErrorContains(s.t, err, "no such file or directory")

	s.requireEnd(app, 128, "StartError")
	status := s.status(app)
	assert.Contains(s.t, status.GetMessage(), missingProgram)
	assert.Contains(s.t, cri.Message(err), status.GetMessage())
	assert.Zero(s.t, status.GetStartedAt())
	require.Error(s.t, s.rt.StartContainer(s.ctx, app), "it is not tried again")
	require.NoError(s.t, s.rt.StopContainer(s.ctx, app, shortGrace))
	require.NoError(s.t, s.rt.RemoveContainer(s.ctx, app))
}

func containerMissingMount(s *subject) {
	folder := filepath.Join(s.given.LogDir, "to", "be", "made")
	config := s.containerConfig("app", Program{})
	config.Mounts = []*runtimeapi.Mount{{ContainerPath: "/made", HostPath: folder}}
	app := s.createFrom(s.runPod("mounts"), config)
	require.NoError(s.t, s.rt.StartContainer(s.ctx, app))
	assert.DirExists(s.t, folder)
}

func containerResources(s *subject) {
	p := s.runPod("resources")
	update := &runtimeapi.ContainerResources{Linux: &runtimeapi.LinuxContainerResources{
		CpuShares: 512, MemoryLimitInBytes: 64 << 20,
	}}
	running := s.start(p, "running", Program{Lasts: Forever})
	for _, app := range []string{running, s.create(p, "created", Program{}), s.finished(p, "exited", Program{})} {
		require.NoError(s.t, s.rt.UpdateContainerResources(s.ctx, app, update))
	}
	told := s.status(running).GetResources().GetLinux()
	assert.Equal(s.t, int64(512), told.GetCpuShares())
	assert.Equal(s.t, int64(64<<20), told.GetMemoryLimitInBytes())
	assert.Equal(s.t, runtimeapi.ContainerState_CONTAINER_RUNNING, s.state(running))
}

// Whether exited containers are in the list too is not stated: in that of containerd they are, without numbers.
func containerStats(s *subject) {
	p := s.runPod("stats")
	config := s.containerConfig("app", Program{Lasts: Forever})
	app := s.createFrom(p, config)
	require.NoError(s.t, s.rt.StartContainer(s.ctx, app))

	stats, err := s.rt.ContainerStats(s.ctx, app)
	require.NoError(s.t, err)
	assert.Equal(s.t, app, stats.GetAttributes().GetId())
	assert.Equal(s.t, config.Metadata.String(), stats.GetAttributes().GetMetadata().String())
	assert.Equal(s.t, config.Labels, stats.GetAttributes().GetLabels())
	assert.NotNil(s.t, stats.GetCpu().GetUsageCoreNanoSeconds())
	assert.NotNil(s.t, stats.GetMemory().GetWorkingSetBytes())

	all, err := s.rt.ListContainerStats(s.ctx, &runtimeapi.ContainerStatsFilter{PodSandboxId: p.id})
	require.NoError(s.t, err)
	ids := []string{}
	for _, stats := range all {
		ids = append(ids, stats.GetAttributes().GetId())
	}
	assert.Contains(s.t, ids, app)
}
