package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/edged-project/edged/volume"
)

// Attach stages a persistent volume on the node, if its driver does that, and claims
// it for the pod. It does nothing for a pod that has its volume. It blocks for a few
// calls to the driver, and while another pod's Attach or Detach is at the same
// volume. It is idempotent. ErrNotRegistered is among its errors.
func (p *Plugin) Attach(ctx context.Context, v *volume.Volume) error {
	s, err := p.sourceOf(v)
	if err != nil {
		return err
	}
	if s.mode == Ephemeral {
		return nil
	}
	if has, err := hasVolume(v.Dir, s); has || err != nil {
		return err
	}
	return p.withNode(s.driver, func(node csipb.NodeClient) error {
		able, err := abilitiesOf(ctx, node)
		if err != nil || !able.stages() {
			return err
		}
		secrets, attached, err := p.toldWith(ctx, v, s.stageSecret)
		if err != nil {
			return err
		}
		done, err := p.turns.take(ctx, s.driver+"/"+s.handle)
		if err != nil {
			return fmt.Errorf("wait for another pod that has the volume: %w", err)
		}
		defer done()
		return p.stage(ctx, node, v.Dir, s, &csipb.NodeStageVolumeRequest{
			VolumeId: s.handle, StagingTargetPath: p.stagingDir(s.driver, s.handle), VolumeCapability: s.capability(able),
			VolumeContext: s.attributes, PublishContext: attached, Secrets: secrets,
		})
	})
}

// stage saves the claim before the driver hears of the volume, and takes it back
// when this was the first that it heard and it has refused for good.
func (p *Plugin) stage(ctx context.Context, node csipb.NodeClient, dir string, s *source, request *csipb.NodeStageVolumeRequest) error {
	r, err := load(dir)
	if err != nil {
		return err
	}
	first := r == nil
	if first {
		if err := save(dir, p.recordOf(s)); err != nil {
			return fmt.Errorf("save the claim on the volume: %w", err)
		}
	}
	if err := makeStaging(request.StagingTargetPath); err != nil {
		return err
	}
	_, err = node.NodeStageVolume(ctx, request)
	if err == nil || uncertain(err) || !first {
		return err
	}
	if others, _, unknown := p.claims(s.driver, s.handle, dir); others || unknown != nil {
		return errors.Join(err, unknown, forget(dir))
	}
	return errors.Join(err, removeStaging(request.StagingTargetPath), forget(dir))
}

// Mount publishes the volume for the pod, and returns the path. It does nothing for
// a pod that has its volume, unless the driver wants to be called again: when that
// fails, the path comes together with the error. It blocks for a few calls to the
// driver and is idempotent. ErrNotRegistered is among its errors.
func (p *Plugin) Mount(ctx context.Context, v *volume.Volume) (string, error) {
	s, err := p.sourceOf(v)
	if err != nil {
		return "", err
	}
	has, err := hasVolume(v.Dir, s)
	if err != nil {
		return "", err
	}
	target, spec := filepath.Join(v.Dir, mountName), p.cfg.Driver(s.driver)
	if has && !spec.RequiresRepublish {
		return target, nil
	}
	err = p.withNode(s.driver, func(node csipb.NodeClient) error {
		able, err := abilitiesOf(ctx, node)
		if err != nil {
			return err
		}
		secrets, attached, err := p.toldWith(ctx, v, s.publishSecret)
		if err != nil {
			return err
		}
		request := &csipb.NodePublishVolumeRequest{
			VolumeId: s.handle, TargetPath: target, VolumeCapability: s.capability(able), Readonly: s.readOnly,
			VolumeContext: s.context(v.Pod, spec), PublishContext: attached, Secrets: secrets,
		}
		if able.stages() && s.mode == Persistent {
			request.StagingTargetPath = p.stagingDir(s.driver, s.handle)
		}
		if has {
			_, err := node.NodePublishVolume(ctx, request)
			return err
		}
		now := p.recordOf(s)
		now.grouped = request.VolumeCapability.GetMount().GetVolumeMountGroup() != ""
		return publish(ctx, node, v.Dir, now, request)
	})
	if err != nil && !has {
		return "", err
	}
	return target, err
}

// makeStaging does not look at what is there already: that would block when the
// mount is dead.
func makeStaging(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// publish saves what is needed to take the volume down before the driver hears of
// it. When this was the first that it heard and it has refused for good, nothing is
// left.
func publish(ctx context.Context, node csipb.NodeClient, dir string, r record, request *csipb.NodePublishVolumeRequest) error {
	before, err := load(dir)
	if err != nil {
		return err
	}
	if err := save(dir, r); err != nil {
		return fmt.Errorf("save what the volume is: %w", err)
	}
	if _, err := node.NodePublishVolume(ctx, request); err != nil {
		if uncertain(err) {
			return err
		}
		return errors.Join(err, withdraw(dir, before == nil))
	}
	r.published = true
	if err := save(dir, r); err != nil {
		return fmt.Errorf("save that the volume is mounted: %w", err)
	}
	return nil
}

func withdraw(dir string, first bool) error {
	if err := removeTarget(filepath.Join(dir, mountName)); err != nil || !first {
		return err
	}
	return forget(dir)
}

func (p *Plugin) recordOf(s *source) record {
	return record{name: s.name, driver: s.driver, handle: s.handle, node: p.cfg.NodeName, mode: s.mode}
}

// hasVolume reports whether the pod has its volume: the driver has said so, and
// what it has mounted is still there. A record of another volume must not be lost.
func hasVolume(dir string, s *source) (bool, error) {
	r, err := load(dir)
	if err != nil || r == nil {
		return false, err
	}
	if r.driver != s.driver || r.handle != s.handle || r.mode != s.mode {
		return false, fmt.Errorf("%s has the volume %q of the driver %q, which is to be unmounted first", dir, r.handle, r.driver)
	}
	if !r.published {
		return false, nil
	}
	return mounted(filepath.Join(dir, mountName))
}

// AppliesFSGroup reports whether the caller is to give a volume to the pod's
// fsGroup, after Mount: the pod has one, the driver has not taken care of it, the
// volume may be written, and the driver's FSGroupPolicy wants it. It reads a file.
func (p *Plugin) AppliesFSGroup(v *volume.Volume) (bool, error) {
	s, err := p.sourceOf(v)
	if err != nil || s.group == nil || s.readOnly || !s.wantsGroup(p.cfg.Driver(s.driver).FSGroupPolicy) {
		return false, err
	}
	r, err := load(v.Dir)
	return err == nil && r != nil && !r.grouped, err
}
