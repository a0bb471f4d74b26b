package critest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/cri/critest"
)

func TestStopContainerAsksThenKills(t *testing.T) {
	for name, test := range map[string]struct {
		run     critest.Run
		timeout int64
		want    string
	}{
		"ends at once":             {critest.Run{}, 10, "0 Completed after 1m0s"},
		"ends with a code":         {critest.Run{Term: critest.Term{ExitCode: 3}}, 10, "3 Error after 1m0s"},
		"takes its time":           {critest.Run{Term: critest.Term{After: 4 * time.Second}}, 10, "0 Completed after 1m4s"},
		"takes too long":           {critest.Run{Term: critest.Term{After: 40 * time.Second}}, 10, "137 Error after 1m10s"},
		"ends in the nick of time": {critest.Run{Term: critest.Term{After: 10 * time.Second}}, 10, "0 Completed after 1m10s"},
		"does not listen":          {critest.Run{Term: critest.Term{Ignore: true}}, 10, "137 Error after 1m10s"},
		"is not asked":             {critest.Run{}, 0, "137 Error after 1m0s"},
		"is not asked either":      {critest.Run{}, -1, "137 Error after 1m0s"},
		"would have ended sooner":  {critest.Run{Duration: 62 * time.Second, ExitCode: 5, Term: critest.Term{After: 4 * time.Second}}, 10, "5 Error after 1m2s"},
		"has ended":                {critest.Run{Duration: time.Second}, 10, "0 Completed after 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, node(runs(test.run)), func(t *testing.T, w *world) {
				id := w.app()
				time.Sleep(time.Minute)
				require.NoError(t, w.client.StopContainer(context.Background(), id, test.timeout))
				require.Equal(t, test.want, w.end(id))
				require.NoError(t, w.client.StopContainer(context.Background(), id, test.timeout), "again")
				require.Equal(t, test.want, w.end(id))
			})
		})
	}
}

func TestProcessWithoutAHandlerIsSafeFromSIGTERMOnlyInItsOwnPIDNamespace(t *testing.T) {
	for mode, want := range map[runtimeapi.NamespaceMode]string{
		runtimeapi.NamespaceMode_CONTAINER: "137 Error after 10s",
		runtimeapi.NamespaceMode_POD:       "143 Error after 0s",
	} {
		t.Run(mode.String(), func(t *testing.T) {
			inBubble(t, node(), func(t *testing.T, w *world) {
				config := containerConfig("app", "sleep", "3600")
				config.Linux = &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
					NamespaceOptions: &runtimeapi.NamespaceOption{Pid: mode},
				}}
				id := w.create(w.sandbox("web"), config)
				require.NoError(t, w.client.StartContainer(context.Background(), id))
				require.NoError(t, w.client.StopContainer(context.Background(), id, 10))
				require.Equal(t, want, w.end(id))
			})
		})
	}
}

func TestStopThatTheCallerGivesUpHasAskedAndDoesNotKill(t *testing.T) {
	inBubble(t, node(runs(critest.Run{Term: critest.Term{After: time.Hour}})), func(t *testing.T, w *world) {
		id := w.app()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.Error(t, w.client.StopContainer(ctx, id, 10))
		time.Sleep(time.Minute)
		require.Equal(t, running, w.end(id))
		time.Sleep(time.Hour)
		require.Equal(t, "0 Completed after 1h0m0s", w.end(id))
	})
}

func TestSecondStopWithAShorterTimeoutTakesEffect(t *testing.T) {
	inBubble(t, node(runs(critest.Run{Term: critest.Term{Ignore: true}})), func(t *testing.T, w *world) {
		id := w.app()
		patient := make(chan error)
		go func() { patient <- w.client.StopContainer(context.Background(), id, 60) }()
		synctest.Wait()
		require.NoError(t, w.client.StopContainer(context.Background(), id, 2))
		require.NoError(t, <-patient)
		require.Equal(t, "137 Error after 2s", w.end(id))
	})
}

func TestStatusTellsWhatTheContainerWasMadeOf(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		config := containerConfig("app")
		config.Metadata.Attempt = 3
		config.Annotations = map[string]string{"note": "two\nlines"}
		config.LogPath = "app/3.log"
		config.Mounts = []*runtimeapi.Mount{{ContainerPath: "/data", HostPath: "/host/data", Readonly: true}}
		config.Linux = &runtimeapi.LinuxContainerConfig{Resources: &runtimeapi.LinuxContainerResources{CpuShares: 512, MemoryLimitInBytes: 1 << 20}}
		pod := podConfig("web")
		pod.LogDirectory = "/var/log/pods/web"
		sandbox := w.sandbox("web")
		id, err := w.client.CreateContainer(context.Background(), sandbox, config, pod)
		require.NoError(t, err)

		status := w.status(id)
		require.Equal(t, created, w.end(id))
		require.Equal(t, "app", status.Metadata.Name)
		require.Equal(t, uint32(3), status.Metadata.Attempt)
		require.Equal(t, config.Labels, status.Labels)
		require.Equal(t, config.Annotations, status.Annotations)
		require.Equal(t, "/var/log/pods/web/app/3.log", status.LogPath)
		require.Equal(t, "/host/data", status.Mounts[0].HostPath)
		require.True(t, status.Mounts[0].Readonly)
		require.Equal(t, "docker.io/library/app:latest", status.Image.Image)
		require.Equal(t, status.ImageId, status.ImageRef)
		require.Equal(t, int64(512), status.Resources.Linux.CpuShares)
		require.Equal(t, int64(1<<20), status.Resources.Linux.MemorySwapLimitInBytes)
		require.Equal(t, time.Now().UnixNano(), status.CreatedAt)
		require.Zero(t, status.StartedAt)
		require.Zero(t, status.FinishedAt)

		require.NoError(t, w.client.UpdateContainerResources(context.Background(), id, &runtimeapi.ContainerResources{
			Linux: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 2 << 20},
		}))
		require.Equal(t, int64(512), w.status(id).Resources.Linux.CpuShares)
		require.Equal(t, int64(2<<20), w.status(id).Resources.Linux.MemoryLimitInBytes)
	})
}

func TestContainerNameIsTakenUntilTheContainerIsRemoved(t *testing.T) {
	for profile, code := range map[critest.Profile]codes.Code{
		critest.Newest:       codes.FailedPrecondition,
		critest.Containerd16: codes.Unknown,
	} {
		cfg := node(runs(critest.Run{Duration: time.Second}))
		cfg.Profile = profile
		inBubble(t, cfg, func(t *testing.T, w *world) {
			sandbox := w.sandbox("web")
			id := w.start(sandbox, "app")
			time.Sleep(time.Minute)
			_, err := w.client.CreateContainer(context.Background(), sandbox, containerConfig("app"), podConfig("web"))
			require.Equal(t, code, status.Code(err))
			require.ErrorContains(t, err, `name "app_web_default_web-uid_0" is reserved for "`+id+`"`)
			require.NoError(t, w.client.RemoveContainer(context.Background(), id))
			w.start(sandbox, "app")
		})
	}
}

func TestContainersCreatedAtTheSameTimeStillHaveAnOrder(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		sandbox := w.sandbox("web")
		first := w.start(sandbox, "app")
		require.NoError(t, w.Exit(first, 0))
		second := w.restart(sandbox, "app", 1)
		require.Greater(t, w.status(second).CreatedAt, w.status(first).CreatedAt)
		require.Equal(t, second, w.ContainerID("web", "app"))
	})
}

func TestCreateContainerRefusals(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		sandbox := w.sandbox("web")
		missing, bad, nameless := containerConfig("app"), containerConfig("app"), containerConfig("app")
		missing.Image = &runtimeapi.ImageSpec{Image: "nope"}
		bad.Image = &runtimeapi.ImageSpec{Image: "Not A Name"}
		nameless.Metadata = nil
		for _, config := range []*runtimeapi.ContainerConfig{missing, bad} {
			_, err := w.client.CreateContainer(context.Background(), sandbox, config, podConfig("web"))
			require.True(t, cri.IsNotFound(err), err)
		}
		_, err := w.client.CreateContainer(context.Background(), sandbox, nameless, podConfig("web"))
		require.ErrorContains(t, err, "container config must include metadata")
		_, err = w.client.CreateContainer(context.Background(), "nope", containerConfig("app"), podConfig("web"))
		require.True(t, cri.IsNotFound(err), err)
		w.start(sandbox, "app")
	})
}

func TestStartContainerRefusals(t *testing.T) {
	inBubble(t, node(runs(critest.Run{Duration: time.Minute})), func(t *testing.T, w *world) {
		sandbox := w.sandbox("web")
		id := w.start(sandbox, "app")
		require.ErrorContains(t, w.client.StartContainer(context.Background(), id), "container is in CONTAINER_RUNNING state")
		late := w.create(sandbox, containerConfig("late"))
		require.NoError(t, w.client.StopPodSandbox(context.Background(), sandbox))
		require.ErrorContains(t, w.client.StartContainer(context.Background(), id), "container is in CONTAINER_EXITED state")
		require.ErrorContains(t, w.client.StartContainer(context.Background(), late), "is not running")
	})
}

func TestCallsForUnknownContainers(t *testing.T) {
	for profile, stop := range map[critest.Profile]codes.Code{
		critest.Newest:       codes.OK,
		critest.Containerd21: codes.OK,
		critest.Containerd16: codes.NotFound,
	} {
		inBubble(t, critest.Config{Profile: profile}, func(t *testing.T, w *world) {
			ctx := context.Background()
			_, err := w.client.ContainerStatus(ctx, "nope", false)
			require.Equal(t, codes.NotFound, status.Code(err))
			_, err = w.client.ContainerStatus(ctx, "", false)
			require.Equal(t, codes.Unknown, status.Code(err))
			_, _, err = w.client.ExecSync(ctx, "nope", []string{"true"}, time.Second)
			require.Equal(t, codes.NotFound, status.Code(err))
			_, err = w.client.ContainerStats(ctx, "nope")
			require.Equal(t, codes.NotFound, status.Code(err))
			require.Equal(t, codes.NotFound, status.Code(w.client.StartContainer(ctx, "nope")))
			require.Equal(t, codes.NotFound, status.Code(w.client.ReopenContainerLog(ctx, "nope")))
			require.Equal(t, codes.NotFound, status.Code(w.client.UpdateContainerResources(ctx, "nope", &runtimeapi.ContainerResources{})))
			require.NoError(t, w.client.RemoveContainer(ctx, "nope"))
			require.Equal(t, stop, status.Code(w.client.StopContainer(ctx, "nope", 1)))
		})
	}
}

func TestRemoveContainerKillsWhatRuns(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		id := w.app()
		require.NoError(t, w.client.RemoveContainer(context.Background(), id))
		_, err := w.client.ContainerStatus(context.Background(), id, false)
		require.True(t, cri.IsNotFound(err))
		require.NoError(t, w.client.RemoveContainer(context.Background(), id), "again")
	})
}

func TestIDMayBeCutShort(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		id := w.app()
		require.Len(t, id, 64)
		require.Equal(t, id, w.status(id[:12]).Id)
		listed, err := w.client.ListContainers(context.Background(), &runtimeapi.ContainerFilter{Id: id[:12]})
		require.NoError(t, err)
		require.Len(t, listed, 1)
	})
}

func TestListContainersFilters(t *testing.T) {
	for _, profile := range []critest.Profile{critest.Newest, critest.Containerd16} {
		cfg := node(critest.Script{Container: "job", Runs: []critest.Run{{Duration: time.Second}}})
		cfg.Profile = profile
		inBubble(t, cfg, func(t *testing.T, w *world) {
			web, db := w.sandbox("web"), w.sandbox("db")
			app, job, other := w.start(web, "app"), w.start(web, "job"), w.start(db, "app")
			time.Sleep(time.Minute)
			exited := &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_EXITED}
			for name, test := range map[string]struct {
				filter *runtimeapi.ContainerFilter
				want   []string
			}{
				"none":    {nil, []string{app, job, other}},
				"id":      {&runtimeapi.ContainerFilter{Id: app}, []string{app}},
				"no id":   {&runtimeapi.ContainerFilter{Id: "nope"}, nil},
				"sandbox": {&runtimeapi.ContainerFilter{PodSandboxId: web}, []string{app, job}},
				"state":   {&runtimeapi.ContainerFilter{State: exited}, []string{job}},
				"label":   {&runtimeapi.ContainerFilter{LabelSelector: map[string]string{cri.LabelContainerName: "app"}}, []string{app, other}},
				"several": {&runtimeapi.ContainerFilter{PodSandboxId: web, State: exited}, []string{job}},
			} {
				listed, err := w.client.ListContainers(context.Background(), test.filter)
				require.NoError(t, err)
				var ids []string
				for _, c := range listed {
					ids = append(ids, c.Id)
				}
				require.ElementsMatch(t, test.want, ids, name)
			}
		})
	}
}
