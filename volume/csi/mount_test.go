package csi_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	"github.com/edged-project/edged/volume"
	"github.com/edged-project/edged/volume/csi"
)

func TestWhatIsServed(t *testing.T) {
	p := csi.New(csi.Config{})
	s := &site{t: t, cfg: csi.Config{Root: t.TempDir()}}
	assert.Equal(t, "kubernetes.io/csi", p.Name())
	assert.True(t, p.Serves(s.claimed("a", "vol")))
	assert.True(t, p.Serves(s.inlined("a")))
	other := s.claimed("a", "vol")
	other.Persistent.Spec.CSI = nil
	assert.False(t, p.Serves(other))
	assert.False(t, p.Serves(&volume.Volume{Spec: &corev1.Volume{}}))
}

func TestPersistentVolumeIsStagedAndPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{Secrets: secrets{"keys/stage": "s1", "keys/publish": "s2"}})
		v := s.claimed("a", "vol")
		v.ReadOnly = true
		v.Persistent.Spec.MountOptions = []string{"noatime"}
		from := v.Persistent.Spec.CSI
		from.FSType, from.VolumeAttributes = "ext4", map[string]string{"tier": "fast"}
		from.NodeStageSecretRef = &corev1.SecretReference{Namespace: "keys", Name: "stage"}
		from.NodePublishSecretRef = &corev1.SecretReference{Namespace: "keys", Name: "publish"}

		require.NoError(t, s.Attach(t.Context(), v))
		path, err := s.Mount(t.Context(), v)
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(v.Dir, "mount"), path)
		assert.Equal(t, []string{"NodeStageVolume vol", "NodePublishVolume vol"}, s.driver.took())

		capability := &csipb.VolumeCapability{
			AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER},
			AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{FsType: "ext4", MountFlags: []string{"noatime"}}},
		}
		staging := filepath.Join(s.cfg.Root, "plugins/kubernetes.io/csi/disk.example.org", sum("vol"), "globalmount")
		assert.True(t, proto.Equal(&csipb.NodeStageVolumeRequest{
			VolumeId: "vol", StagingTargetPath: staging, VolumeCapability: capability,
			VolumeContext: map[string]string{"tier": "fast"}, Secrets: map[string]string{"key": "s1"},
		}, s.driver.stage), "%v", s.driver.stage)
		assert.True(t, proto.Equal(&csipb.NodePublishVolumeRequest{
			VolumeId: "vol", StagingTargetPath: staging, TargetPath: path, VolumeCapability: capability, Readonly: true,
			VolumeContext: map[string]string{"tier": "fast"}, Secrets: map[string]string{"key": "s2"},
		}, s.driver.pub), "%v", s.driver.pub)
		assert.DirExists(t, staging)
		assert.JSONEq(t, `{"driverName":"disk.example.org","nodeName":"node","published":"true","specVolID":"pv-1","volumeHandle":"vol","volumeLifecycleMode":"Persistent"}`, data(t, v))

		require.NoError(t, s.unmount(v))
		assert.Equal(t, []string{"NodeUnpublishVolume vol", "NodeUnstageVolume vol"}, s.driver.took())
		assert.Empty(t, s.remains())
		require.NoError(t, s.unmount(v), "it may be repeated")
		assert.Empty(t, s.driver.took())
	})
}

func TestVolumeOfADriverThatDoesNotStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(), csi.Config{})
		v := s.claimed("a", "vol")
		require.NoError(t, s.mount(v))
		assert.Empty(t, s.driver.pub.StagingTargetPath)
		require.NoError(t, s.unmount(v))
		assert.Equal(t, []string{"NodePublishVolume vol", "NodeUnpublishVolume vol"}, s.driver.took())
		assert.Empty(t, s.remains())
	})
}

func TestInlineVolumeIsOnlyPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := ephemeral("")
		spec.PodInfoOnMount = true
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{
			Driver:  func(string) csi.DriverSpec { return spec },
			Secrets: secrets{"shop/login": "s"},
		})
		v := s.inlined("a")
		v.Spec.CSI.ReadOnly, v.Spec.CSI.FSType = ptr(true), ptr("xfs")
		v.Spec.CSI.VolumeAttributes = map[string]string{"size": "1Gi", "csi.storage.k8s.io/pod.name": "forged"}
		v.Spec.CSI.NodePublishSecretRef = &corev1.LocalObjectReference{Name: "login"}
		require.NoError(t, s.mount(v))
		handle := "csi-" + sum("ascratch")
		assert.Equal(t, []string{"NodePublishVolume " + handle}, s.driver.took())
		assert.True(t, proto.Equal(&csipb.NodePublishVolumeRequest{
			VolumeId: handle, TargetPath: filepath.Join(v.Dir, "mount"), Readonly: true,
			VolumeCapability: &csipb.VolumeCapability{
				AccessMode: &csipb.VolumeCapability_AccessMode{Mode: csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
				AccessType: &csipb.VolumeCapability_Mount{Mount: &csipb.VolumeCapability_MountVolume{FsType: "xfs"}},
			},
			VolumeContext: map[string]string{
				"size": "1Gi", "csi.storage.k8s.io/pod.name": "web", "csi.storage.k8s.io/pod.namespace": "shop",
				"csi.storage.k8s.io/pod.uid": "a", "csi.storage.k8s.io/serviceAccount.name": "seller", "csi.storage.k8s.io/ephemeral": "true",
			},
			Secrets: map[string]string{"key": "s"},
		}, s.driver.pub), "%v", s.driver.pub)
		assert.Contains(t, data(t, v), `"volumeLifecycleMode":"Ephemeral"`)
		require.NoError(t, s.unmount(v))
		assert.Equal(t, []string{"NodeUnpublishVolume " + handle}, s.driver.took())
		assert.Empty(t, s.remains())
	})
}

func TestPodInfoOfAPersistentVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(), csi.Config{Driver: func(string) csi.DriverSpec { return csi.DriverSpec{PodInfoOnMount: true} }})
		require.NoError(t, s.mount(s.claimed("a", "vol")))
		assert.Equal(t, "false", s.driver.pub.VolumeContext["csi.storage.k8s.io/ephemeral"])
		assert.Equal(t, "web", s.driver.pub.VolumeContext["csi.storage.k8s.io/pod.name"])
	})
}

func TestWhatTheControllerSaysReachesTheDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attached := errors.New("no VolumeAttachment yet")
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{
			Driver: ephemeral,
			PublishContext: func(_ context.Context, pv *corev1.PersistentVolume) (map[string]string, error) {
				return map[string]string{"device": pv.Name}, attached
			},
		})
		v := s.claimed("a", "vol")
		require.EqualError(t, s.mount(v), `CSI driver "disk.example.org": persistent volume "pv-1" is not attached to the node: no VolumeAttachment yet`)
		require.NoError(t, s.mount(s.inlined("b")), "it has no controller")
		assert.Empty(t, s.driver.pub.PublishContext)
		attached = nil
		require.NoError(t, s.mount(v))
		assert.Equal(t, map[string]string{"device": "pv-1"}, s.driver.stage.PublishContext)
		assert.Equal(t, map[string]string{"device": "pv-1"}, s.driver.pub.PublishContext)
		attached = errors.New("not any more")
		_, err := s.Mount(t.Context(), s.claimed("c", "vol"))
		require.ErrorContains(t, err, "not any more")
	})
}

func TestAccessModes(t *testing.T) {
	const snw, snsw, snmw = csipb.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csipb.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER, csipb.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	const readers, writers = csipb.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY, csipb.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	for _, test := range []struct {
		mode          corev1.PersistentVolumeAccessMode
		simple, exact csipb.VolumeCapability_AccessMode_Mode
	}{
		{corev1.ReadWriteOnce, snw, snmw},
		{corev1.ReadWriteOncePod, snw, snsw},
		{corev1.ReadOnlyMany, readers, readers},
		{corev1.ReadWriteMany, writers, writers},
		{"", snw, snmw},
	} {
		t.Run(string(test.mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, t.TempDir(), newFake(), csi.Config{})
				v := s.claimed("a", "vol")
				v.Persistent.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{test.mode, corev1.ReadOnlyMany}
				if test.mode == "" {
					v.Persistent.Spec.AccessModes = nil
				}
				require.NoError(t, s.mount(v))
				assert.Equal(t, test.simple, s.driver.pub.VolumeCapability.AccessMode.Mode)
				s.driver.able = append(s.driver.able, singleWriter)
				require.NoError(t, s.mount(v))
				assert.Equal(t, test.exact, s.driver.pub.VolumeCapability.AccessMode.Mode)
			})
		})
	}
}

func TestReadOnly(t *testing.T) {
	for name, spoil := range map[string]func(*volume.Volume){
		"volume":            func(v *volume.Volume) { v.ReadOnly = true },
		"persistent volume": func(v *volume.Volume) { v.Persistent.Spec.CSI.ReadOnly = true },
		"neither":           func(*volume.Volume) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, t.TempDir(), newFake(), csi.Config{})
				v := s.claimed("a", "vol")
				spoil(v)
				require.NoError(t, s.mount(v))
				assert.Equal(t, name != "neither", s.driver.pub.Readonly)
			})
		})
	}
}

func TestVolumesThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*volume.Volume)
		want  string
	}{
		"driver is a path": {func(v *volume.Volume) { v.Persistent.Spec.CSI.Driver = "../../../etc" }, `persistent volume "pv-1": spec.csi.driver: "../../../etc" cannot be the name`},
		"no handle":        {func(v *volume.Volume) { v.Persistent.Spec.CSI.VolumeHandle = "" }, "spec.csi.volumeHandle is empty"},
		"block":            {func(v *volume.Volume) { v.Persistent.Spec.VolumeMode = ptr(corev1.PersistentVolumeBlock) }, "spec.volumeMode: volumes of the mode Block are not supported"},
		"access mode": {func(v *volume.Volume) {
			v.Persistent.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{"Often"}
		}, `spec.accessModes: "Often" is not known`},
		"not of CSI": {func(v *volume.Volume) { v.Persistent.Spec.CSI = nil }, `persistent volume "pv-1": spec.csi is not set`},
		"no source":  {func(v *volume.Volume) { v.Persistent = nil }, "csi is not set"},
		"inline driver is a path": {func(v *volume.Volume) {
			v.Persistent, v.Spec.CSI = nil, &corev1.CSIVolumeSource{Driver: "a/b"}
		}, `csi.driver: "a/b" cannot be the name`},
		"inline not declared": {func(v *volume.Volume) {
			v.Persistent, v.Spec.CSI = nil, &corev1.CSIVolumeSource{Driver: "disk.example.org"}
		}, `CSI driver "disk.example.org" is not declared to serve volumes of the lifecycle mode Ephemeral`},
		"another driver": {func(v *volume.Volume) { v.Persistent.Spec.CSI.Driver = "other" }, `CSI driver "other" is not registered on this node`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, t.TempDir(), newFake(stages), csi.Config{})
				v := s.claimed("a", "vol")
				test.spoil(v)
				require.ErrorContains(t, s.Attach(t.Context(), v), test.want)
				_, err := s.Mount(t.Context(), v)
				require.ErrorContains(t, err, test.want)
				assert.Empty(t, s.driver.took())
				assert.Empty(t, s.remains())
			})
		})
	}
}

func TestPersistentVolumeOfADriverForInlineVolumesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(), csi.Config{Driver: func(string) csi.DriverSpec {
			return csi.DriverSpec{VolumeLifecycleModes: []csi.LifecycleMode{csi.Ephemeral}}
		}})
		require.ErrorContains(t, s.mount(s.claimed("a", "vol")), "lifecycle mode Persistent")
	})
}

// secrets have one key each.
type secrets map[string]string

func (s secrets) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	value, found := s[namespace+"/"+name]
	if !found {
		return nil, errors.New("not found")
	}
	return &corev1.Secret{Data: map[string][]byte{"key": []byte(value)}}, nil
}

func TestSecretThatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, have := range []csi.Secrets{nil, secrets{"keys/other": "hunter2"}} {
			s := newSite(t, t.TempDir(), newFake(stages), csi.Config{Secrets: have})
			v := s.claimed("a", "vol")
			v.Persistent.Spec.CSI.NodeStageSecretRef = &corev1.SecretReference{Namespace: "keys", Name: "s"}
			require.ErrorContains(t, s.mount(v), `secret "keys/s"`)
			v.Persistent.Spec.CSI.NodeStageSecretRef = nil
			v.Persistent.Spec.CSI.NodePublishSecretRef = &corev1.SecretReference{Namespace: "keys", Name: "p"}
			require.ErrorContains(t, s.mount(v), `secret "keys/p"`)
			assert.Equal(t, []string{"NodeStageVolume vol"}, s.driver.took())
			require.NoError(t, s.unmount(v))
			assert.Empty(t, s.remains())
		}
	})
}

func TestNoSecretIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, t.TempDir(), newFake(stages), csi.Config{Secrets: secrets{"keys/s": "hunter2"}})
		s.driver.fail("NodePublishVolume", codes.Unavailable)
		v := s.claimed("a", "vol")
		v.Persistent.Spec.CSI.NodeStageSecretRef = &corev1.SecretReference{Namespace: "keys", Name: "s"}
		v.Persistent.Spec.CSI.NodePublishSecretRef = v.Persistent.Spec.CSI.NodeStageSecretRef
		err := s.mount(v)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "hunter2")
		assert.NotContains(t, data(t, v), "hunter2")
	})
}

func TestFSGroup(t *testing.T) {
	for name, test := range map[string]struct {
		policy csi.FSGroupPolicy
		change func(*fake, *volume.Volume)
		want   bool
	}{
		"file system, single writer": {"", nil, true},
		"the same by name":           {csi.ReadWriteOnceWithFSType, nil, true},
		"no file system":             {"", func(_ *fake, v *volume.Volume) { v.Persistent.Spec.CSI.FSType = "" }, false},
		"many writers": {"", func(_ *fake, v *volume.Volume) {
			v.Persistent.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
		}, false},
		"policy File": {csi.FileFSGroupPolicy, func(_ *fake, v *volume.Volume) {
			v.Persistent.Spec.CSI.FSType, v.Persistent.Spec.AccessModes = "", nil
		}, true},
		"policy None":            {csi.NoneFSGroupPolicy, nil, false},
		"no group":               {"", func(_ *fake, v *volume.Volume) { v.Pod.Spec.SecurityContext = nil }, false},
		"read-only":              {"", func(_ *fake, v *volume.Volume) { v.ReadOnly = true }, false},
		"driver takes the group": {csi.FileFSGroupPolicy, func(f *fake, _ *volume.Volume) { f.able = append(f.able, takesGroup) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, t.TempDir(), newFake(stages), csi.Config{Driver: func(string) csi.DriverSpec {
					return csi.DriverSpec{FSGroupPolicy: test.policy}
				}})
				v := s.claimed("a", "vol")
				v.Pod.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr[int64](2000)}
				v.Persistent.Spec.CSI.FSType, v.Persistent.Spec.AccessModes = "ext4", []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
				if test.change != nil {
					test.change(s.driver, v)
				}
				require.NoError(t, s.mount(v))
				applies, err := s.AppliesFSGroup(v)
				require.NoError(t, err)
				assert.Equal(t, test.want, applies)
				want := ""
				if name == "driver takes the group" {
					want = "2000"
				}
				assert.Equal(t, want, s.driver.stage.VolumeCapability.GetMount().VolumeMountGroup)
				assert.Equal(t, want, s.driver.pub.VolumeCapability.GetMount().VolumeMountGroup)
			})
		})
	}
}
