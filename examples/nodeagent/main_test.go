package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// Who runs the agent with "go run" has no nodeagent in the PATH.
func TestATrialSaysWhatToTypeAndLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	core, logs := observer.New(zap.InfoLevel)
	_ = inTemporaryRoot(ctx, options{runtime: memory, nodeName: "edge", manifests: t.TempDir()}, zap.New(core))
	said := logs.All()[0].ContextMap()
	assert.Equal(t, os.Args[0]+" pods -root "+said["root"].(string), said["see"])
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// An empty folder is what a variable that is not set makes of -manifests. It would be
// the working directory, where there are no pods, and end all that run.
func TestAFolderOfManifestsIsNeverTheWorkingDirectoryByMistake(t *testing.T) {
	_, err := parse([]string{"-manifests", ""})
	require.ErrorContains(t, err, "-manifests is empty")
	opts, err := parse([]string{"-manifests", "."})
	require.NoError(t, err)
	assert.NotEqual(t, ".", opts.manifests, "good for another working directory")
}

func TestWhatAFlagCannotBeIsRefusedByItsName(t *testing.T) {
	for name, row := range map[string]struct {
		args []string
		want string
	}{
		"no name of a node":    {[]string{"-node-name", "my_node"}, `-node-name "my_node": a lowercase RFC 1123 subdomain`},
		"no address":           {[]string{"-cluster-dns", "192.0.2.53,dns.example.org"}, `-cluster-dns: "dns.example.org" is not an IP address`},
		"no signal":            {[]string{"-eviction-hard", "memory.free<1"}, `-eviction-hard: eviction threshold "memory.free<1": unknown signal`},
		"more than all":        {[]string{"-image-gc-high-threshold", "101"}, "-image-gc-high-threshold 101, -image-gc-low-threshold 80: want percents"},
		"nothing":              {[]string{"-image-gc-low-threshold", "0"}, "-image-gc-high-threshold 85, -image-gc-low-threshold 0: want percents"},
		"high below low":       {[]string{"-image-gc-high-threshold", "70"}, "-image-gc-high-threshold 70, -image-gc-low-threshold 80: want percents"},
		"one log":              {[]string{"-container-log-max-files", "1"}, "-container-log-max-files 1: want 2 at least"},
		"logs of no size":      {[]string{"-container-log-max-size", "0"}, "-container-log-max-size 0: want bytes"},
		"no pause for a crash": {[]string{"-max-crash-delay", "0s"}, "-max-crash-delay 0s: want a pause"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(append([]string{"-node-name", "edge"}, row.args...))
			require.ErrorContains(t, err, row.want)
		})
	}
	for _, args := range [][]string{
		nil, {"-cluster-dns", "192.0.2.53,2001:db8::53"}, {"-eviction-hard", ""},
		{"-image-gc-high-threshold", "100"}, {"-container-log-max-size", "-1"},
	} {
		_, err := parse(append([]string{"-node-name", "edge"}, args...))
		require.NoError(t, err, args)
	}
}
