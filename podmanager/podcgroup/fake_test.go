package podcgroup_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// fakeKernel keeps cgroups in a directory: each has its files from the beginning,
// and is not removed while it has others in it, or a process.
type fakeKernel struct {
	mount   string
	unified bool
	failing error
}

// The files of a new cgroup and what they hold.
var (
	v1Files = map[string]map[string]string{
		"cpu":    {"cpu.shares": "1024\n", "cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"},
		"memory": {"memory.limit_in_bytes": "9223372036854771712\n"},
		"hugetlb": {"hugetlb.2MB.limit_in_bytes": "9223372036852678656\n", "hugetlb.1GB.limit_in_bytes": "9223372036852678656\n",
			"hugetlb.2MB.rsvd.limit_in_bytes": "9223372036852678656\n"},
		"pids": {},
	}
	v2Files = map[string]map[string]string{
		"cpu":     {"cpu.weight": "100\n", "cpu.max": "max 100000\n"},
		"memory":  {"memory.max": "max\n"},
		"hugetlb": {"hugetlb.2MB.max": "max\n", "hugetlb.2MB.rsvd.max": "max\n"},
	}
)

// newV1 is a node with a hierarchy for each controller.
func newV1(t *testing.T) *fakeKernel {
	t.Helper()
	k := &fakeKernel{mount: t.TempDir()}
	for controller := range v1Files {
		dir := filepath.Join(k.mount, controller)
		if controller == "cpu" { // as it is usual
			dir = filepath.Join(k.mount, "cpu,cpuacct")
			require.NoError(t, os.Symlink(dir, filepath.Join(k.mount, "cpu")))
		}
		require.NoError(t, k.Mkdir(dir))
	}
	return k
}

// newV2 is a node with one hierarchy for all.
func newV2(t *testing.T) *fakeKernel {
	t.Helper()
	k := &fakeKernel{mount: t.TempDir(), unified: true}
	require.NoError(t, os.WriteFile(filepath.Join(k.mount, "cgroup.controllers"), []byte("cpuset cpu memory hugetlb\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(k.mount, "cgroup.subtree_control"), []byte("memory\n"), 0o644))
	return k
}

func (k *fakeKernel) Mkdir(path string) error {
	if k.failing != nil {
		return k.failing
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	files := map[string]string{"cgroup.procs": ""}
	if k.unified {
		files["cgroup.subtree_control"] = ""
		for _, of := range v2Files {
			for name, content := range of {
				files[name] = content
			}
		}
	} else {
		relative, _ := filepath.Rel(k.mount, path)
		controller, _, _ := strings.Cut(relative, string(filepath.Separator))
		controller, _, _ = strings.Cut(controller, ",")
		for name, content := range v1Files[controller] {
			files[name] = content
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(path, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (k *fakeKernel) Rmdir(path string) error {
	if procs, err := os.ReadFile(filepath.Join(path, "cgroup.procs")); err == nil && len(procs) > 0 {
		return &fs.PathError{Op: "rmdir", Path: path, Err: syscall.EBUSY}
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			return &fs.PathError{Op: "rmdir", Path: path, Err: syscall.EBUSY}
		}
	}
	return os.RemoveAll(path)
}

// read is the content of a file of a cgroup, "absent" without it.
func (k *fakeKernel) read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(k.mount, path))
	if errors.Is(err, fs.ErrNotExist) {
		return "absent"
	}
	require.NoError(t, err)
	return strings.TrimSpace(string(content))
}

// write is what somebody else writes.
func (k *fakeKernel) write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(k.mount, path), []byte(content), 0o644))
}

func (k *fakeKernel) has(path string) bool {
	_, err := os.Stat(filepath.Join(k.mount, path))
	return err == nil
}

// tells is a runtime with this answer.
type tells struct {
	response *runtimeapi.RuntimeConfigResponse
	err      error
	asked    int
}

func (r *tells) RuntimeConfig(context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	r.asked++
	return r.response, r.err
}

func driver(d runtimeapi.CgroupDriver) *tells {
	return &tells{response: &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: d}}}
}
