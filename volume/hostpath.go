package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// checkKey names a check of what a volume of a pod is on the host.
type checkKey struct{ volume, path string }

// onHost has a path of the host checked, or made, when an agent first mounts it for a
// pod: what becomes of it later does not keep the pod's containers from a restart. On a
// dead network mount a check may hang for ever; the next Mount waits for the same one.
func (m *Manager) onHost(ctx context.Context, r *record, volume, path string, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	key := checkKey{volume, path}
	outcome := r.checks[key]
	if outcome == nil {
		outcome = make(chan error, 1)
		r.checks[key] = outcome
		go func() {
			if err := check(); err != nil {
				outcome <- err
			}
			close(outcome) // all is well, if nothing else was said
		}()
	}
	select {
	case err := <-outcome:
		if err != nil {
			delete(r.checks, key)
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("the file system of %s does not answer: %w", path, ctx.Err())
	}
}

func (m *Manager) mountHostPath(ctx context.Context, r *record, volume string, source *corev1.HostPathVolumeSource) (string, error) {
	return source.Path, m.onHost(ctx, r, volume, source.Path, func() error { return prepareHostPath(source) })
}

// prepareHostPath checks that there is on the host what the volume's type says,
// and makes it where the type says so. Without a type there is nothing to do.
func prepareHostPath(source *corev1.HostPathVolumeSource) error {
	if !filepath.IsAbs(source.Path) {
		return fmt.Errorf("host path %q is not absolute", source.Path)
	}
	if source.Type == nil {
		return nil
	}
	switch kind := *source.Type; kind {
	case corev1.HostPathUnset:
		return nil
	case corev1.HostPathDirectoryOrCreate:
		return createAndExpect(source.Path, kind, createDirectory)
	case corev1.HostPathFileOrCreate:
		return createAndExpect(source.Path, kind, createFile)
	case corev1.HostPathDirectory, corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev:
		return expect(source.Path, string(kind))
	default:
		return fmt.Errorf("host path %q has the unknown type %q", source.Path, kind)
	}
}

func createAndExpect(path string, kind corev1.HostPathType, create func(string) error) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return fmt.Errorf("create host path: %w", err)
		}
	}
	return expect(path, strings.TrimSuffix(string(kind), "OrCreate"))
}

// createDirectory and createFile set the rights anew, to be independent of the
// agent's umask.
func createDirectory(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

// createFile takes no file that has come meanwhile: it may be one that must not
// be opened, such as a pipe.
func createFile(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(file.Chmod(0o644), file.Close())
}

// expect returns an error unless the path leads, through links if need be, to
// what is expected.
func expect(path, want string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("host path %q: expected %s: %w", path, want, err)
	}
	if found := typeOf(info.Mode()); found != want {
		return fmt.Errorf("host path %q: expected %s, found %s", path, want, found)
	}
	return nil
}

// typeOf names the type of a file as types of hostPath volumes are named.
func typeOf(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return string(corev1.HostPathFile)
	case mode.IsDir():
		return string(corev1.HostPathDirectory)
	case mode&fs.ModeSocket != 0:
		return string(corev1.HostPathSocket)
	case mode&fs.ModeCharDevice != 0:
		return string(corev1.HostPathCharDev)
	case mode&fs.ModeDevice != 0:
		return string(corev1.HostPathBlockDev)
	case mode&fs.ModeNamedPipe != 0:
		return "NamedPipe"
	default:
		return "a file of unknown type"
	}
}
