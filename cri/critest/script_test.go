package critest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/cri/critest"
)

const (
	running = "CONTAINER_RUNNING"
	created = "CONTAINER_CREATED"
)

func TestContainerPlaysOneRunPerStartAndRepeatsTheLast(t *testing.T) {
	script := runs(critest.Run{Duration: 3 * time.Second, ExitCode: 1}, critest.Run{})
	inBubble(t, node(script), func(t *testing.T, w *world) {
		sandbox := w.sandbox("web")
		first := w.start(sandbox, "app")
		require.Equal(t, running, w.end(first))
		time.Sleep(3 * time.Second)
		require.Equal(t, "1 Error after 3s", w.end(first))

		second := w.restart(sandbox, "app", 1)
		time.Sleep(100 * time.Hour)
		require.Equal(t, running, w.end(second))
		require.NoError(t, w.Exit(second, 0))
		third := w.restart(sandbox, "app", 2)
		time.Sleep(100 * time.Hour)
		require.Equal(t, running, w.end(third))
	})
}

func TestRunsAreCountedByPodAndContainer(t *testing.T) {
	script := runs(critest.Run{Duration: time.Second, ExitCode: 1}, critest.Run{})
	inBubble(t, node(script), func(t *testing.T, w *world) {
		one, other, elsewhere := w.sandbox("one"), w.sandbox("two"), ""
		first := w.start(one, "app")
		elsewhere = w.start(other, "app")
		sidecar := w.start(one, "sidecar")
		time.Sleep(time.Second)
		for _, id := range []string{first, elsewhere, sidecar} {
			require.Equal(t, "1 Error after 1s", w.end(id))
		}
	})
}

func TestEndOfARun(t *testing.T) {
	for name, test := range map[string]struct {
		run  critest.Run
		want string
	}{
		"code 0":      {critest.Run{Duration: time.Second}, "0 Completed after 1s"},
		"code not 0":  {critest.Run{Duration: time.Second, ExitCode: 7}, "7 Error after 1s"},
		"own reason":  {critest.Run{Duration: time.Second, ExitCode: 137, Reason: "OOMKilled"}, "137 OOMKilled after 1s"},
		"at once":     {critest.Run{Duration: time.Nanosecond, ExitCode: 2}, "2 Error after 1ns"},
		"never":       {critest.Run{ExitCode: 2}, running},
		"not started": {critest.Run{FailStart: "no such file"}, "128 StartError after 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, node(runs(test.run)), func(t *testing.T, w *world) {
				id := w.create(w.sandbox("web"), containerConfig("app"))
				err := w.client.StartContainer(context.Background(), id)
				require.Equal(t, test.run.FailStart != "", err != nil)
				time.Sleep(time.Minute)
				require.Equal(t, test.want, w.end(id))
				require.Equal(t, test.run.FailStart, w.status(id).Message)
			})
		})
	}
}

func TestStartTakesTheTimeOfItsScript(t *testing.T) {
	inBubble(t, node(runs(critest.Run{StartDelay: 5 * time.Second, Duration: time.Second})), func(t *testing.T, w *world) {
		begin := time.Now()
		id := w.app()
		require.Equal(t, 5*time.Second, time.Since(begin))
		time.Sleep(time.Second)
		require.Equal(t, "0 Completed after 1s", w.end(id))
	})
}

func TestStartThatTheCallerGivesUpFails(t *testing.T) {
	inBubble(t, node(runs(critest.Run{StartDelay: time.Hour})), func(t *testing.T, w *world) {
		id := w.create(w.sandbox("web"), containerConfig("app"))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.Error(t, w.client.StartContainer(ctx, id))
		time.Sleep(time.Millisecond)
		require.Equal(t, "128 StartError after 0s", w.end(id))
	})
}

func TestLastScriptThatMatchesDecides(t *testing.T) {
	exits := func(code int32) []critest.Run {
		return []critest.Run{{Duration: time.Second, ExitCode: code}}
	}
	for name, test := range map[string]struct {
		script critest.Script
		taken  bool
	}{
		"any":                  {critest.Script{}, true},
		"pod":                  {critest.Script{Pod: "web"}, true},
		"other pod":            {critest.Script{Pod: "db"}, false},
		"namespace":            {critest.Script{Namespace: "default"}, true},
		"other namespace":      {critest.Script{Namespace: "kube-system"}, false},
		"container":            {critest.Script{Container: "app"}, true},
		"other container":      {critest.Script{Container: "sidecar"}, false},
		"image, short":         {critest.Script{Image: "app"}, true},
		"image, in full":       {critest.Script{Image: "docker.io/library/app:latest"}, true},
		"other image":          {critest.Script{Image: "app:v2"}, false},
		"all":                  {critest.Script{Namespace: "default", Pod: "web", Container: "app", Image: "app"}, true},
		"all but one":          {critest.Script{Namespace: "default", Pod: "web", Container: "app", Image: "ap"}, false},
		"one that comes later": {critest.Script{Runs: exits(9)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, node(critest.Script{Runs: exits(1)}), func(t *testing.T, w *world) {
				test.script.Runs = exits(9)
				w.AddScript(test.script)
				id := w.app()
				time.Sleep(time.Minute)
				if test.taken {
					require.Equal(t, "9 Error after 1s", w.end(id))
				} else {
					require.Equal(t, "1 Error after 1s", w.end(id))
				}
			})
		})
	}
}

func TestScriptMatchesTheImageOfAContainerThatNamesItByID(t *testing.T) {
	script := critest.Script{Image: "app", Runs: []critest.Run{{Duration: time.Second}}}
	inBubble(t, node(script), func(t *testing.T, w *world) {
		image, err := w.client.ImageStatus(context.Background(), &runtimeapi.ImageSpec{Image: "app"}, false)
		require.NoError(t, err)
		for _, spec := range []*runtimeapi.ImageSpec{
			{Image: image.Image.Id},
			{Image: image.Image.Id, UserSpecifiedImage: "docker.io/library/app"},
		} {
			sandbox := w.sandbox(spec.UserSpecifiedImage + "web")
			config := containerConfig("app")
			config.Image = spec
			id := w.create(sandbox, config)
			require.NoError(t, w.client.StartContainer(context.Background(), id))
			time.Sleep(time.Second)
			require.Equal(t, "0 Completed after 1s", w.end(id))
		}
	})
}

func TestCommandsThatAreShellDemosAreSimulated(t *testing.T) {
	for name, test := range map[string]struct {
		command []string
		want    string
	}{
		"sleep":                {[]string{"sleep", "5"}, "0 Completed after 5s"},
		"shell":                {[]string{"sh", "-c", "echo hi; sleep 3; exit 1"}, "1 Error after 3s"},
		"for ever":             {[]string{"sh", "-c", "while true; do echo hi; sleep 1; done"}, running},
		"what nobody can tell": {[]string{"nginx", "-g", "daemon off;"}, running},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, node(), func(t *testing.T, w *world) {
				id := w.app(test.command...)
				time.Sleep(time.Hour)
				require.Equal(t, test.want, w.end(id))
			})
		})
	}
}

func TestArgumentsWithoutACommandAreTheCommand(t *testing.T) {
	inBubble(t, node(), func(t *testing.T, w *world) {
		config := containerConfig("app")
		config.Args = []string{"sh", "-c", "exit $CODE"}
		config.Envs = []*runtimeapi.KeyValue{{Key: "CODE", Value: []byte("4")}}
		id := w.create(w.sandbox("web"), config)
		require.NoError(t, w.client.StartContainer(context.Background(), id))
		time.Sleep(time.Second)
		require.Equal(t, int32(4), w.status(id).ExitCode)
	})
}
