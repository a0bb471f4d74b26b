package eviction_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edged-project/edged/gc/eviction"
)

// imageFs is a runtime with its images in a directory, or none that it tells.
type imageFs string

func (i imageFs) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	if i == "" {
		return nil, errors.New("the runtime is away")
	}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: []*runtimeapi.FilesystemUsage{
		{FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: string(i)}},
	}}, nil
}

// write makes files below a new directory.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return dir
}

var proc = map[string]string{
	"meminfo":                "MemTotal:       1000 kB\nMemFree:  300 kB\nInactive:  120 kB\nInactive(file): 100 kB\n",
	"sys/kernel/pid_max":     "32768\n",
	"sys/kernel/threads-max": "1000\n",
	"loadavg":                "0.20 0.18 0.12 1/80 11206\n",
}

func TestTheNodeIsMeasured(t *testing.T) {
	root := t.TempDir()
	amounts, err := eviction.NewNode(imageFs(root), eviction.NodeConfig{Root: root, Proc: write(t, proc)}).Measure(t.Context())
	require.NoError(t, err)
	assert.Equal(t, eviction.Amount{Available: 400 << 10, Capacity: 1000 << 10}, amounts[eviction.MemoryAvailable])
	assert.Equal(t, eviction.Amount{Available: 920, Capacity: 1000}, amounts[eviction.PIDAvailable])
	for _, space := range []eviction.Signal{eviction.NodeFsAvailable, eviction.ImageFsAvailable} {
		assert.Positive(t, amounts[space].Capacity)
		assert.LessOrEqual(t, amounts[space].Available, amounts[space].Capacity)
	}
	assert.Equal(t, amounts[eviction.NodeFsAvailable].Capacity, amounts[eviction.ImageFsAvailable].Capacity)
}

func TestWhatCannotBeMeasuredHidesNothingElse(t *testing.T) {
	broken := map[string]string{"meminfo": "nothing", "sys/kernel/pid_max": "many"}
	amounts, err := eviction.NewNode(imageFs(""), eviction.NodeConfig{Root: t.TempDir(), Proc: write(t, broken)}).Measure(t.Context())
	for _, want := range []string{"meminfo: no MemTotal", "pid_max", "the runtime is away"} {
		assert.ErrorContains(t, err, want)
	}
	assert.Contains(t, amounts, eviction.NodeFsAvailable)
	assert.NotContains(t, amounts, eviction.MemoryAvailable)
	assert.NotContains(t, amounts, eviction.PIDAvailable)
	assert.NotContains(t, amounts, eviction.ImageFsAvailable)
	assert.False(t, eviction.NewNode(imageFs(""), eviction.NodeConfig{Root: t.TempDir()}).OwnImageFs(t.Context()))
	assert.False(t, eviction.NewNode(imageFs("/no/such/place"), eviction.NodeConfig{Root: t.TempDir()}).OwnImageFs(t.Context()))
}

func TestTheMemoryOfACgroupIsMeasured(t *testing.T) {
	ofNode := eviction.Amount{Available: 400 << 10, Capacity: 1000 << 10}
	for name, row := range map[string]struct {
		files map[string]string
		want  eviction.Amount
	}{
		"version 1": {map[string]string{
			"memory.limit_in_bytes": "1000\n", "memory.usage_in_bytes": "600\n", "memory.stat": "inactive_file 1\ntotal_inactive_file 50\n",
		}, eviction.Amount{Available: 450, Capacity: 1000}},
		"version 2":       {map[string]string{"memory.max": "1000\n", "memory.current": "600\n", "memory.stat": "inactive_file 50\n"}, eviction.Amount{Available: 450, Capacity: 1000}},
		"without a limit": {map[string]string{"memory.max": "max\n", "memory.current": "600\n", "memory.stat": ""}, ofNode},
		"1, without a limit": {map[string]string{
			"memory.limit_in_bytes": "9223372036854771712\n", "memory.usage_in_bytes": "600\n", "memory.stat": "",
		}, ofNode},
		"the root of 2":      {map[string]string{"memory.stat": "inactive_file 50\n", "cgroup.controllers": "memory\n"}, ofNode},
		"more than the node": {map[string]string{"memory.max": "1073741824\n", "memory.current": "600\n", "memory.stat": ""}, ofNode},
		"over its limit":     {map[string]string{"memory.max": "10\n", "memory.current": "600\n", "memory.stat": ""}, eviction.Amount{Capacity: 10}},
		"less on the node":   {map[string]string{"memory.max": "1000000\n", "memory.current": "0\n", "memory.stat": ""}, eviction.Amount{Available: 400 << 10, Capacity: 1000000}},
		"all of it is cache": {map[string]string{"memory.max": "10\n", "memory.current": "6\n", "memory.stat": "inactive_file 8\n"}, eviction.Amount{Available: 10, Capacity: 10}},
	} {
		t.Run(name, func(t *testing.T) {
			node := eviction.NewNode(imageFs(t.TempDir()), eviction.NodeConfig{Root: t.TempDir(), Proc: write(t, proc), MemoryCgroup: write(t, row.files)})
			amounts, err := node.Measure(t.Context())
			require.NoError(t, err)
			assert.Equal(t, row.want, amounts[eviction.MemoryAvailable])
		})
	}
	_, err := eviction.NewNode(imageFs(t.TempDir()), eviction.NodeConfig{Root: t.TempDir(), Proc: write(t, proc), MemoryCgroup: t.TempDir()}).Measure(t.Context())
	assert.ErrorContains(t, err, "memory.stat", "a directory that is no cgroup")
}
