//go:build linux

package csitest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// driver has the volumes: <Data>/<hash of the ID>/files.
type driver struct {
	cfg Config
	mu  sync.Mutex // one call at a time changes the folder or mounts
}

func (d *driver) dir(id string) string {
	sum := sha256.Sum256([]byte(id))
	return filepath.Join(d.cfg.Data, hex.EncodeToString(sum[:8]))
}

func (d *driver) files(id string) string { return filepath.Join(d.dir(id), "files") }

func (d *driver) note(id, name string) string { return filepath.Join(d.dir(id), name) }

// make makes a volume with a note, which comes last.
func (d *driver) make(id, note, text string) error {
	if err := os.MkdirAll(d.files(id), 0o777); err != nil {
		return err
	}
	if err := os.Chmod(d.files(id), 0o777); err != nil { // whatever the umask
		return err
	}
	return os.WriteFile(d.note(id, note), []byte(text), 0o644)
}

func (d *driver) known(id string) error {
	if _, err := os.Stat(d.files(id)); err != nil {
		return status.Errorf(codes.NotFound, "volume %q: %v", id, err)
	}
	return nil
}

// node mounts volumes and unmounts them.
type node struct {
	csipb.UnimplementedNodeServer
	*driver
}

func (n node) NodeGetInfo(context.Context, *csipb.NodeGetInfoRequest) (*csipb.NodeGetInfoResponse, error) {
	return &csipb.NodeGetInfoResponse{NodeId: n.cfg.NodeID, AccessibleTopology: &csipb.Topology{
		Segments: map[string]string{n.cfg.Name + "/node": n.cfg.NodeID},
	}}, nil
}

func (node) NodeGetCapabilities(context.Context, *csipb.NodeGetCapabilitiesRequest) (*csipb.NodeGetCapabilitiesResponse, error) {
	return &csipb.NodeGetCapabilitiesResponse{Capabilities: []*csipb.NodeServiceCapability{{
		Type: &csipb.NodeServiceCapability_Rpc{Rpc: &csipb.NodeServiceCapability_RPC{Type: csipb.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME}},
	}}}, nil
}

// NodeStageVolume mounts the volume where the agent has made a directory for it.
func (n node) NodeStageVolume(_ context.Context, r *csipb.NodeStageVolumeRequest) (*csipb.NodeStageVolumeResponse, error) {
	if err := needs(r.GetVolumeId(), r.GetStagingTargetPath(), r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.known(r.VolumeId); err != nil {
		return nil, err
	}
	return &csipb.NodeStageVolumeResponse{}, bind(n.files(r.VolumeId), r.StagingTargetPath, false)
}

// NodeUnstageVolume leaves the directory to the agent.
func (n node) NodeUnstageVolume(_ context.Context, r *csipb.NodeUnstageVolumeRequest) (*csipb.NodeUnstageVolumeResponse, error) {
	if err := needs(r.GetVolumeId(), r.GetStagingTargetPath(), &csipb.VolumeCapability{}); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return &csipb.NodeUnstageVolumeResponse{}, unbind(r.StagingTargetPath)
}

// NodePublishVolume makes the target and mounts there what is staged, or for an
// inline volume a new one.
func (n node) NodePublishVolume(_ context.Context, r *csipb.NodePublishVolumeRequest) (*csipb.NodePublishVolumeResponse, error) {
	if err := needs(r.GetVolumeId(), r.GetTargetPath(), r.GetVolumeCapability()); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	from := r.GetStagingTargetPath()
	if r.GetVolumeContext()["csi.storage.k8s.io/ephemeral"] == "true" {
		if err := n.make(r.VolumeId, "ephemeral", ""); err != nil {
			return nil, err
		}
		from = n.files(r.VolumeId)
	}
	if err := n.known(r.VolumeId); err != nil {
		return nil, err
	}
	if from == "" {
		return nil, status.Error(codes.FailedPrecondition, "staging target path is missing")
	}
	if err := os.Mkdir(r.TargetPath, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return &csipb.NodePublishVolumeResponse{}, bind(from, r.TargetPath, r.Readonly)
}

// NodeUnpublishVolume removes the target, and with it an inline volume.
func (n node) NodeUnpublishVolume(_ context.Context, r *csipb.NodeUnpublishVolumeRequest) (*csipb.NodeUnpublishVolumeResponse, error) {
	if err := needs(r.GetVolumeId(), r.GetTargetPath(), &csipb.VolumeCapability{}); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := unbind(r.TargetPath); err != nil {
		return nil, err
	}
	if err := os.Remove(r.TargetPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := os.Stat(n.note(r.VolumeId, "ephemeral")); err == nil {
		return &csipb.NodeUnpublishVolumeResponse{}, os.RemoveAll(n.dir(r.VolumeId))
	}
	return &csipb.NodeUnpublishVolumeResponse{}, nil
}

func needs(id, path string, capability *csipb.VolumeCapability) error {
	switch {
	case id == "":
		return status.Error(codes.InvalidArgument, "volume ID is missing")
	case path == "":
		return status.Error(codes.InvalidArgument, "target path is missing")
	case capability == nil:
		return status.Error(codes.InvalidArgument, "volume capability is missing")
	case capability.GetBlock() != nil:
		return status.Error(codes.InvalidArgument, "block volumes are not served")
	}
	return nil
}

// bind mounts a directory unless it is mounted there.
func bind(from, to string, readOnly bool) error {
	a, err := os.Stat(from)
	if err != nil {
		return err
	}
	b, err := os.Stat(to)
	if err != nil {
		return err
	}
	if !os.SameFile(a, b) {
		if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount at %s: %w", to, err)
		}
	}
	if readOnly {
		if err := unix.Mount("", to, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make the mount at %s read-only: %w", to, err)
		}
	}
	return nil
}

// unbind unmounts what is mounted at a path, if anything is.
func unbind(path string) error {
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}
