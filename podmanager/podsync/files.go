package podsync

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edged-project/edged/cri"
	"github.com/edged-project/edged/podmanager/podspec"
)

// files are those that the agent keeps for a pod and mounts into its containers,
// below <root>/pods/<uid> as the kubelet has them:
//
//	etc-hosts                      /etc/hosts
//	containers/<name>/<8 hex>      where the termination message goes, a new one for each start
type files struct {
	root string
}

func (f files) podDirectory(uid types.UID) string {
	return filepath.Join(f.root, "pods", string(uid))
}

// hosts writes the pod's /etc/hosts and returns where.
func (f files) hosts(pod *corev1.Pod, podIPs []string, clusterDomain string) (string, error) {
	var nodeHosts []byte
	if pod.Spec.HostNetwork {
		var err error
		if nodeHosts, err = os.ReadFile("/etc/hosts"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("read the node's hosts file: %w", err)
		}
	}
	path := filepath.Join(f.podDirectory(pod.UID), "etc-hosts")
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", fmt.Errorf("make hosts file: %w", err)
	}
	content := podspec.HostsFile(pod, podIPs, clusterDomain, nodeHosts)
	if holds(path, content) {
		return path, nil // a restart is to cost the flash nothing, and running containers no empty moment
	}
	// Written in place: running containers have the file mounted, not its name.
	return path, writeFile(path, content, 0o644)
}

// holds reports whether the file is this already. No more of it is read than that takes:
// its containers can make it larger than the node's memory.
func holds(path string, content []byte) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	present, err := io.ReadAll(io.LimitReader(file, int64(len(content))+1))
	return err == nil && bytes.Equal(present, content)
}

func (f files) terminationDirectory(pod *corev1.Pod, container string) string {
	return filepath.Join(f.podDirectory(pod.UID), "containers", container)
}

// dropTerminations removes the files of the container's earlier starts that no
// container of the state has mounted. A runtime may tell the path that it resolved,
// but not another name.
func (f files) dropTerminations(pod *corev1.Pod, container string, state *cri.PodState) error {
	mounted := map[string]bool{}
	for _, c := range state.Containers {
		for _, mount := range c.GetMounts() {
			mounted[filepath.Base(mount.GetHostPath())] = true
		}
	}
	dir := f.terminationDirectory(pod, container)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, entry := range entries {
		if !mounted[entry.Name()] {
			errs = append(errs, os.Remove(filepath.Join(dir, entry.Name())))
		}
	}
	return errors.Join(errs...)
}

// termination makes the file for a container's termination message.
func (f files) termination(pod *corev1.Pod, container string) (string, error) {
	dir := f.terminationDirectory(pod, container)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("make termination message file: %w", err)
	}
	var name [4]byte
	_, _ = rand.Read(name[:]) // never fails
	path := filepath.Join(dir, hex.EncodeToString(name[:]))
	return path, writeFile(path, nil, 0o666)
}

// writeFile gives the file exactly this mode: any user of a container is to
// write to it or read it, whatever the agent's umask.
func writeFile(path string, content []byte, mode fs.FileMode) error {
	if err := os.WriteFile(path, content, mode); err != nil {
		return fmt.Errorf("write file for containers: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("write file for containers: %w", err)
	}
	return nil
}
