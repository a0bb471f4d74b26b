package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
)

// Unmount takes the volume from the pod, by what is on disk. It blocks for a call to
// the driver and is idempotent. Until the driver is registered the error is
// ErrNotRegistered.
func (p *Plugin) Unmount(ctx context.Context, _ types.UID, dir string) error {
	r, err := load(dir)
	if err != nil {
		return err
	}
	target := filepath.Join(dir, mountName)
	if r == nil {
		return removeTarget(target)
	}
	err = p.withNode(r.driver, func(node csipb.NodeClient) error {
		_, err := node.NodeUnpublishVolume(ctx, &csipb.NodeUnpublishVolumeRequest{VolumeId: r.handle, TargetPath: target})
		return unlessGone(err, target)
	})
	if err != nil {
		return err
	}
	return removeTarget(target)
}

// Detach gives up the pod's claim on the volume, unstages the volume when no other
// pod has one, by what is on disk, and removes dir. It blocks for a few calls to the
// driver, and while another pod's Attach or Detach is at the same volume. It is
// idempotent. ErrNotRegistered is among its errors.
func (p *Plugin) Detach(ctx context.Context, _ types.UID, dir string) error {
	r, err := load(dir)
	if err != nil {
		return err
	}
	if err := removeTarget(filepath.Join(dir, mountName)); err != nil {
		return err
	}
	if r == nil || r.mode == Ephemeral {
		return forget(dir)
	}
	done, err := p.turns.take(ctx, r.driver+"/"+r.handle)
	if err != nil {
		return fmt.Errorf("wait for another pod that has the volume: %w", err)
	}
	defer done()
	if err := p.unstage(ctx, r, dir); err != nil {
		return err
	}
	return forget(dir)
}

// unstage does nothing for a volume that was never staged.
func (p *Plugin) unstage(ctx context.Context, r *record, dir string) error {
	staging := p.stagingDir(r.driver, r.handle)
	// The path itself is not looked at: that would block when the mount is dead.
	names, err := list(filepath.Dir(staging))
	if err != nil {
		return err
	}
	if !slices.Contains(names, filepath.Base(staging)) {
		return forget(filepath.Dir(staging))
	}
	others, unreadable, err := p.claims(r.driver, r.handle, dir)
	if others || err != nil {
		return err
	}
	if unreadable != nil {
		return fmt.Errorf("it is not known who has the volume: %w", unreadable)
	}
	err = p.withNode(r.driver, func(node csipb.NodeClient) error {
		able, err := abilitiesOf(ctx, node)
		if err != nil || !able.stages() { // it did before an update: what it left mounted stays
			return err
		}
		_, err = node.NodeUnstageVolume(ctx, &csipb.NodeUnstageVolumeRequest{VolumeId: r.handle, StagingTargetPath: staging})
		return unlessGone(err, staging)
	})
	if err != nil {
		return err
	}
	return removeStaging(staging)
}

// claims looks for another pod's claim on a persistent volume. Of records that
// cannot be read only those matter behind which something is mounted.
func (p *Plugin) claims(driver, handle, except string) (found bool, unreadable, err error) {
	pods := filepath.Join(p.cfg.Root, "pods")
	uids, err := list(pods)
	if err != nil {
		return false, nil, err
	}
	own, _ := os.Stat(except)
	for _, uid := range uids {
		volumes := filepath.Join(pods, uid, "volumes", strings.ReplaceAll(Name, "/", "~"))
		names, err := list(volumes)
		if err != nil {
			return false, nil, err
		}
		for _, name := range names {
			dir := filepath.Join(volumes, name)
			if info, err := os.Stat(dir); err != nil || os.SameFile(info, own) {
				continue
			}
			r, err := load(dir)
			if err != nil {
				if has, unknown := mounted(filepath.Join(dir, mountName)); has || unknown != nil {
					unreadable = errors.Join(unreadable, err)
				}
				continue
			}
			if r != nil && r.driver == driver && r.handle == handle {
				return true, nil, nil
			}
		}
	}
	return false, unreadable, nil
}

// list returns the names of the directories in one, none if there is no such directory.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// unlessGone takes it for done when the driver does not know the volume any more
// and has nothing mounted of it.
func unlessGone(err error, point string) error {
	if status.Code(err) != codes.NotFound {
		return err
	}
	if has, unknown := mounted(point); has || unknown != nil {
		return errors.Join(err, unknown)
	}
	return nil
}

// removeTarget removes what a driver may have left of a mount point. While
// something is mounted there, or the driver has left data there, it stays.
func removeTarget(point string) error {
	has, err := mounted(point)
	if err != nil {
		return err
	}
	if has {
		return fmt.Errorf("%s is still mounted", point)
	}
	return remove(point)
}

// removeStaging removes the directories of a volume that is not staged any more.
func removeStaging(staging string) error {
	if err := removeTarget(staging); err != nil {
		return err
	}
	// The kubelet keeps a file of the same name there.
	return forget(filepath.Dir(staging))
}
