//go:build linux

package containerd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// install is the folder that .ci/install-containerd fills.
type install string

// folderVariable names the environment variable with the install folder.
const folderVariable = "EDGED_CONTAINERD_DIR"

// Versions lists the versions of containerd that are installed, such as "1.6" and "2.1", in ascending order. They are
// looked for in the folder that the environment variable EDGED_CONTAINERD_DIR names, else in .ci/cache/containerd of
// the module that the test belongs to. With none installed the test fails: an e2e test that was asked for must not pass
// by doing nothing.
func Versions(tb testing.TB) []string {
	tb.Helper()
	return findInstall(tb).versions()
}

func findInstall(tb testing.TB) install {
	tb.Helper()
	folder := os.Getenv(folderVariable)
	if folder == "" {
		root, err := moduleRoot()
		if err != nil {
			tb.Fatalf("find the module's folder: %v", err)
		}
		folder = filepath.Join(root, ".ci", "cache", "containerd")
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		tb.Fatalf("resolve %s: %v", folderVariable, err)
	}
	if len(install(folder).versions()) == 0 {
		tb.Fatalf("no containerd in %s: run make e2e-deps", folder)
	}
	return install(folder)
}

func moduleRoot() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("no go.mod in any folder above")
		}
		folder = parent
	}
}

func (i install) versions() []string {
	binaries, _ := filepath.Glob(filepath.Join(string(i), "*", "bin", "containerd"))
	var versions []string
	for _, binary := range binaries {
		versions = append(versions, filepath.Base(filepath.Dir(filepath.Dir(binary))))
	}
	return versions
}

func (i install) tools() string           { return filepath.Join(string(i), "tools", "bin") }
func (i install) tool(name string) string { return filepath.Join(i.tools(), name) }
func (i install) cni() string             { return filepath.Join(string(i), "tools", "cni") }

// command is one of a version's programs, with its own shim and the installed runc before any other in its PATH.
func (i install) command(version, name string, args ...string) *exec.Cmd {
	bin := filepath.Join(string(i), version, "bin")
	cmd := exec.Command(filepath.Join(bin, name), args...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("PATH=%s:%s:%s", bin, i.tools(), os.Getenv("PATH")))
	return cmd
}
